"""Looks after the collections that hold mirrors: whether they are still the same ones, and still fit to hold one.

A collection that was dropped, renamed or made anew raises no error: the next write makes another one, in which all that
was acknowledged before is missing. So every few seconds one `listCollections` for all mirrors of the process asks for
their UUIDs and options. A mirror's `generation` grows when it has another UUID, is gone, or cannot hold a mirror
any more; the engine makes that good by a full sync, whose `prepare` names what is in the way.

Indexes are not in that answer, and one that expires documents empties a mirror, too. They are asked for one
mirror after the other, each within about a minute: as often as MongoDB itself looks for what has expired.

Answers may overtake each other (a look of ours, one of `prepare`), so each has a number from the moment of asking,
and one that was asked for before another that is known already counts for nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import structlog
from bson.binary import Binary

from hybridsync.errors import SinkError, SinkUnavailable
from hybridsync.mongodb import MongoDB
from hybridsync.mongodb_errors import is_refusal
from hybridsync.sinks.mirror_indexes import expiring_index

LOOK_SECONDS = 5.0

ANSWER_SECONDS = 5.0
"""How long one look may take."""

INDEXES_WITHIN_LOOKS = 12

log = structlog.get_logger("hybridsync")


class Collected(NamedTuple):
    """What a mirror's collection is. `unfit`: why it cannot hold a mirror, in the words that follow "it"."""

    uuid: str | None
    unfit: str | None


@dataclass(slots=True)
class Mirror:
    """One mirror: `known` is its collection as it was seen last, `None` while none is there.

    `expires`: the name of an index that deletes its documents.
    """

    name: str
    generation: int = 0
    known: Collected | None = None
    expires: str | None = None
    seen: int = -1

    @property
    def expires_by(self) -> str | None:
        """Whether an index deletes its documents, in the words that follow "it"."""
        return None if self.expires is None else f"has an index that deletes documents ({self.expires})"

    def take(self, asked: int, found: Collected | None) -> None:
        """What was found by a look with that number. A collection that appears is no loss: it is ours, or to come."""
        if asked < self.seen:
            return
        self.seen = asked
        before, self.known = self.known, found
        if found is None or before is None or found.uuid != before.uuid:
            self.expires = None  # indexes go with their collection
        if before is None or found == before:
            return
        if found is None:
            self._lost("is gone")
        elif found.uuid != before.uuid:
            self._lost("is another one now")
        elif found.unfit is not None:
            self._lost(found.unfit)

    def take_expiring(self, index: str | None) -> None:
        """What was found of an index that expires documents: its name."""
        before, self.expires = self.expires, index
        if self.expires_by is not None and index != before:
            self._lost(self.expires_by)

    def _lost(self, why: str) -> None:
        self.generation += 1
        log.warning("a mirror was taken away", collection=self.name, why=f"it {why}")


class MirrorWatch:
    """The mirrors of one process in one database. `forbidden`: why the last look was refused, `None` if it was not."""

    def __init__(self, mongodb: MongoDB) -> None:
        self.forbidden: str | None = None
        self._mongodb = mongodb
        self._mirrors: dict[str, Mirror] = {}
        self._numbers = count()
        self._next_indexes = 0
        self._failing = False

    def register(self, collection: str) -> Mirror:
        """What is known of that mirror, from now on."""
        return self._mirrors.setdefault(collection, Mirror(collection))

    async def run(self) -> None:
        """Looks again and again, without end. A look that fails is told once, and the next one is made all the same."""
        while True:
            try:
                await self.look_once()
            except SinkError as error:
                if not self._failing:
                    log.warning("the collections of the mirrors cannot be looked at", error=str(error))
                self._failing = True
                self.forbidden = None if isinstance(error, SinkUnavailable) else str(error)
            else:
                if self._failing:
                    log.info("the collections of the mirrors can be looked at again")
                self._failing = False
                self.forbidden = None
            await asyncio.sleep(LOOK_SECONDS)

    async def look_once(self) -> None:
        """One turn: all collections, and the indexes of some. Raises `SinkUnavailable` or `SinkError`."""
        await self.look(list(self._mirrors.values()))
        await self._look_at_indexes()

    async def look(self, mirrors: Sequence[Mirror]) -> None:
        """Asks what the collections of those mirrors are now. Raises `SinkUnavailable` or `SinkError`."""
        if not mirrors:
            return
        asked = next(self._numbers)
        infos = await self._mongodb.collection_infos([mirror.name for mirror in mirrors], ANSWER_SECONDS)
        found = {info["name"]: collected(info) for info in infos}
        for mirror in mirrors:
            mirror.take(asked, found.get(mirror.name))

    async def _look_at_indexes(self) -> None:
        mirrors = list(self._mirrors.values())
        for _ in range(math.ceil(len(mirrors) / INDEXES_WITHIN_LOOKS)):
            mirror = mirrors[self._next_indexes % len(mirrors)]
            self._next_indexes += 1
            if mirror.known is None or mirror.known.unfit is not None:
                continue
            try:
                collection = self._mongodb.collection(mirror.name)
                indexes = await self._mongodb.run(collection.index_information, ANSWER_SECONDS)
            except SinkError as error:
                if not is_refusal(error.__cause__):
                    raise
                continue  # `prepare` tells of it
            mirror.take_expiring(expiring_index(indexes))


def collected(info: Mapping[str, Any]) -> Collected:
    """What one entry of `listCollections` says."""
    uuid = info.get("info", {}).get("uuid")
    named = str(uuid.as_uuid()) if isinstance(uuid, Binary) and uuid.subtype == 4 else None
    return Collected(named, _unfit(info.get("type", "collection"), info.get("options", {})))


def _unfit(kind: str, options: Mapping[str, Any]) -> str | None:
    if kind != "collection":
        return f"is a {'time series' if kind == 'timeseries' else kind}"
    if options.get("capped"):
        return "is capped: it drops its oldest documents"
    if "collation" in options:
        locale = options["collation"].get("locale", "?")
        return f"compares its keys by a collation ({locale}), not byte by byte"
    if "expireAfterSeconds" in options:
        return "deletes its documents after some time (expireAfterSeconds)"
    return None
