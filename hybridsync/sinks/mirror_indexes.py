"""The indexes of a mirror: which are ours, which are missing, which would delete its documents.

An index that is unique, partial, sparse, collated, hidden or expiring is not ours, whatever its field: a query by the
field finds too little with it, or cannot use it, or a write is refused because of it. Ours is made beside it.
Readers want these indexes, hybridsync itself does not, so nobody waits long for one and none stops a sync.
https://www.mongodb.com/docs/manual/reference/command/createIndexes/
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from hybridsync.errors import SinkError
from hybridsync.mongodb import MongoDB

BUILD_SECONDS = 300.0

WAIT_SECONDS = 2.0
"""A full sync waits so long for an index: on a new mirror it is there at once."""

_PLAIN = frozenset({"key", "v", "ns", "background"})

log = structlog.get_logger("hybridsync")

IndexInformation = Mapping[str, Mapping[str, Any]]
"""Name → what `listIndexes` says of it."""


def missing_indexes(there: IndexInformation, fields: Sequence[str]) -> list[dict[str, Any]]:
    """What `createIndexes` needs for each of the fields that has no plain ascending index of its own."""
    plain = [list(index["key"]) for index in there.values() if index.keys() <= _PLAIN]
    return [_wanted(field, there) for field in fields if [(field, 1)] not in plain]


def expiring_index(there: IndexInformation) -> str | None:
    """The name of an index that deletes documents."""
    return next((name for name, index in there.items() if "expireAfterSeconds" in index), None)


def _wanted(field: str, there: IndexInformation) -> dict[str, Any]:
    usual = f"{field}_1"
    name = usual if usual not in there else f"hybridsync_{usual}"
    return {"key": {field: 1}, "name": name}


class IndexBuilder:
    """Makes the indexes of one mirror, one build at a time."""

    def __init__(self, mongodb: MongoDB, collection: str) -> None:
        self._mongodb = mongodb
        self._collection = collection
        self._building: asyncio.Task[None] | None = None

    async def ensure(self, missing: Sequence[Mapping[str, Any]]) -> None:
        """Begins to make them, unless it is under way, and waits for a moment. Never raises; failures are logged."""
        if missing and (self._building is None or self._building.done()):
            self._building = asyncio.create_task(self._build(missing))
        if self._building is not None:
            await asyncio.wait({self._building}, timeout=WAIT_SECONDS)

    def not_seen(self, error: SinkError) -> None:
        """Says that the indexes may not be looked at."""
        log.warning("the indexes of a mirror cannot be seen", collection=self._collection, error=str(error))

    def close(self) -> None:
        """No longer waits for a build; the server goes on with it."""
        if self._building is not None:
            self._building.cancel()

    async def _build(self, missing: Sequence[Mapping[str, Any]]) -> None:
        command: dict[str, Any] = {"createIndexes": self._collection, "indexes": list(missing)}
        try:
            if await self._mongodb.numbers_writes():  # a standalone server knows no quorum
                command["commitQuorum"] = "majority"  # by default members that are down are waited for
            await self._mongodb.command(command, BUILD_SECONDS)
        except SinkError as error:
            log.warning(
                "an index of a mirror could not be made; the next full sync tries again",
                collection=self._collection,
                indexes=[index["name"] for index in missing],
                error=str(error),
            )
