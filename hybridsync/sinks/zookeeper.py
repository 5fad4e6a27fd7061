"""Records published as znodes: one directly below `path` for each key. The `Sink` of publishing.

A znode's name is its key, encoded (`znode_name`); its bytes are the record's. Znodes with a name that
is no key's, and whatever is deeper, are none of ours: not counted, not written, not deleted. What is
not known is read before it is written, and equal bytes are never written.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import chain

from hybridsync.canonical import content_version
from hybridsync.errors import SinkError
from hybridsync.model import Applied, Change, Index, Record
from hybridsync.sinks.publish_batch import MAX_PATH_CHARACTERS, PublishBatch
from hybridsync.sinks.publish_jobs import UNREADABLE, Job, Look
from hybridsync.sinks.published import Published
from hybridsync.sinks.published_names import Names, checked
from hybridsync.znode import stat_of
from hybridsync.zookeeper.acl import access_of
from hybridsync.zookeeper.session import Session
from hybridsync.zookeeper.settings import SessionSettings
from hybridsync.zookeeper.walk import Everything, Piece, read_paths, walk
from hybridsync.zookeeper.writes import Writes

INDEX_PIECE = 10_000


class ZooKeeperSink:
    """The znodes directly below `path`, which is created with its parents when it is missing.

    `acl`: of the znodes it creates, see `access_of`. The sink has a session of its own. Raises
    `ConfigurationError` when something given cannot be used.
    """

    def __init__(self, session: SessionSettings, *, path: str, acl: str = "open") -> None:
        access = access_of(acl, session.auth)
        self._path = checked(path)
        self._session = Session(replace(session, auth=access.auth))
        self._published = Published()
        self._writes = Writes(self._session, self._path, access.entries, self._published.forget)
        self._names = Names(self._path, at_root=self._session.server_path(self._path) == "/")

    @property
    def description(self) -> str:
        """Kind, path and servers."""
        return f"zookeeper {self._path} ({self._session.where})"

    @property
    def keeps_newest(self) -> bool:
        """No: a version is a hash, and hashes have no order."""
        return False

    @property
    def trouble(self) -> str | None:
        """See `Sink.trouble`."""
        return self._session.trouble

    async def identity(self) -> str | None:
        """The moment at which the znode `path` was created: who deletes it takes all below it along."""
        return await self._writes.retrying(self._writes.identity)

    async def prepare(self) -> None:
        """Creates `path` and its parents where they are missing. Raises `SinkUnavailable` or `SinkError`."""
        await self._writes.retrying(self._writes.prepare_anew)

    async def count(self) -> int:
        """How many znodes below `path` have the name of a key. Raises `SinkUnavailable` or `SinkError`."""
        return self._names.count(await self._writes.retrying(self._writes.children))

    @property
    def generation(self) -> int:
        """Another number after a session that ended, and after `path` was missing."""
        return self._writes.generation

    async def index(self) -> AsyncGenerator[Index, None]:
        """Streams key → version of the content; of what may not be read it is `UNREADABLE`.

        Raises `SinkUnavailable` or `SinkError`.
        """
        index = await self._writes.retrying(self._list)
        keys = list(index)
        for start in range(0, len(keys), INDEX_PIECE):
            yield {key: index[key] for key in keys[start : start + INDEX_PIECE]}

    async def _list(self, epoch: int) -> Index:
        """Everything that is there, of a state not older than the question."""
        found: Index = {}
        unreadable: set[str] = set()
        self._names.listing_begins()
        listing = self._published.listing_begins()
        try:
            await self._session.sync(self._path, epoch=epoch)
            async with aclosing(walk(self._session, self._path, self._names, epoch=epoch)) as pieces:
                async for piece in pieces:
                    self._take_in(piece, found, unreadable)
            self._published.listing_ended(listing, found, unreadable)
        finally:
            self._published.listing_dropped(listing)
        self._names.listing_ended()
        return found | dict.fromkeys(unreadable, UNREADABLE)

    def _take_in(self, piece: Piece, found: Index, unreadable: set[str]) -> None:
        if self._path in piece.forbidden:
            raise SinkError(
                f"{self._session.where} does not permit reading {self._path}: its access list (ACL) gives no READ"
            )
        for one in piece.found:
            key = self._names.key_of(one.key)
            if key is not None:
                found[key] = content_version(one.value)
        hidden = chain(piece.forbidden, piece.too_long)
        unreadable.update(key for path in hidden if (key := self._names.key_of(path)) is not None)

    async def differing(self, records: Sequence[Record]) -> list[str]:
        """Keys of those records whose znode is missing, or holds other bytes."""
        held = await self.held([record.key for record in records])
        return [record.key for record in records if held.get(record.key) != content_version(record.value)]

    async def held(self, keys: Sequence[str]) -> Index:
        """See `Sink.held`."""
        looks = await self._writes.retrying(lambda epoch: self._read(keys, epoch))
        return {key: look.version for key, look in looks.items() if look.version is not None}

    async def _read(self, keys: Iterable[str], epoch: int) -> dict[str, Look]:
        """What is there for each of the keys."""
        looks: dict[str, Look] = {}
        paths = {self._names.path_of(key): key for key in keys}
        for path in [path for path in paths if len(path) > MAX_PATH_CHARACTERS]:
            looks[paths.pop(path)] = Look(None)
        for piece in await read_paths(self._session, paths, Everything(), epoch=epoch):
            looks.update((paths[path], Look(UNREADABLE)) for path in chain(piece.forbidden, piece.too_long))
            looks.update((paths[path], Look(None)) for path in piece.gone)
            for one in piece.found:
                stat = stat_of(one.meta)
                looks[paths[one.key]] = Look(content_version(one.value), stat.version, stat.numChildren)
        return looks

    async def apply(self, changes: Sequence[Change]) -> Applied:
        """See `Sink.apply`. While connected, what is known to be so already is not even asked for."""
        jobs = [Job(change, self._session.server_path(self._names.path_of(change.key))) for change in changes]
        batch = PublishBatch(jobs, self._writes, self._published, self._read)
        if not (self._writes.connected and batch.settle()):
            await self._writes.retrying(batch.work)
        return batch.applied

    async def close(self) -> None:
        """Closes the session. Never raises, never hangs; may be called twice."""
        await self._writes.close()
