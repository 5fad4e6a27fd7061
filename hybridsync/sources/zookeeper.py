"""A ZooKeeper tree as a source: listed by multiRead, watched by one persistent recursive watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

from hybridsync.dirty import DirtySet
from hybridsync.errors import ConfigurationError, SourceError
from hybridsync.model import ANY, Batch, Change, Dirty, Listing, Put, Record, Remove
from hybridsync.sources.exclude import Exclude
from hybridsync.znode import prefix_below
from hybridsync.zookeeper.session import Armed, Session
from hybridsync.zookeeper.settings import SessionSettings
from hybridsync.zookeeper.walk import read_paths, walk
from hybridsync.zookeeper.wire import CHANGED, CREATED, DELETED

HINT_CREATED = "created"
"""The last event of this key was its creation: the sink most likely holds nothing of it."""

_HINTS = {CREATED: HINT_CREATED, CHANGED: "changed", DELETED: "deleted"}

BATCH_RECORDS = 500
BATCH_BYTES = 4 * 1024 * 1024
MAX_PROBE_SECONDS = 10.0


class ZooKeeperSource:
    """The znode `path` and everything below it, less what `exclude` names.

    Each source has a session of its own: a standard watch in the same session would kill the
    recursive one. Raises `ConfigurationError` when something given cannot be used.
    """

    def __init__(self, session: SessionSettings, *, path: str, exclude: Sequence[str] = ()) -> None:
        self._root = _checked(path)
        self._below = prefix_below(path)
        self._exclude = Exclude(exclude)
        self._session = Session(session)

    @property
    def description(self) -> str:
        """Kind, path and servers."""
        return f"zookeeper {self._root} ({self._session.where})"

    @property
    def invalid(self) -> Mapping[str, str]:
        """Nothing: a znode may hold what it likes."""
        return {}

    @property
    def unreadable(self) -> Mapping[str, str]:
        """See `sources/base.py`."""
        return {}

    @property
    def trouble(self) -> str | None:
        """See `sources/base.py`."""
        return None

    @property
    def place(self) -> str | None:
        """Nothing is resumed."""
        return None

    @property
    def removal_seen(self) -> bool:
        """See `sources/base.py`."""
        return False

    @property
    def proof_seconds(self) -> float:
        """It answers at once."""
        return 0.0

    async def connect(self) -> None:
        """Returns once requests can be sent; see `sources/base.py`."""
        await self._session.connect()

    @asynccontextmanager
    async def watch(self, dirty: DirtySet, resume: str | None = None) -> AsyncIterator[ZooKeeperWatch]:
        """Arms the watch on the present connection. The root need not exist. Never resumes: nothing is replayed.

        Raises `SourceDisconnected`, `PositionExpired`, or `SourceUnsupported`.
        """

        def mark(kind: int, path: str) -> None:
            if self._contains(path):
                dirty.mark(path, _HINTS.get(kind))

        armed = await self._session.arm(self._root, mark, epoch=self._session.epoch)
        try:
            yield ZooKeeperWatch(self._session, armed, self._root)
        finally:
            self._session.disarm(armed)

    async def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
        """Streams the tree as it is from now on; see `sources/base.py`.

        It belongs to the connection on which it began: after a gap it ends with `SourceDisconnected`.
        """
        epoch = self._session.epoch
        listing.position = str(await self._session.sync(self._root, epoch=epoch))
        records: list[Record] = []
        size = 0
        async with aclosing(walk(self._session, self._root, self._exclude, epoch=epoch)) as pieces:
            async for piece in pieces:
                listing.unreadable.extend(piece.forbidden)
                records += piece.found
                size += sum([len(one.value) for one in piece.found])
                if len(records) >= BATCH_RECORDS or size >= BATCH_BYTES:
                    yield Batch(records)
                    records, size = [], 0
        if records:
            yield Batch(records)

    def outline(self, listing: Listing) -> None:
        """Nothing cheaper than a listing."""

    async def read(self, keys: Sequence[Dirty]) -> Sequence[Change]:
        """The present state of the keys; see `sources/base.py`."""
        hints = {key: hint for key, hint in keys if self._contains(key)}
        epoch = self._session.epoch
        changes: list[Change] = [Remove(key, as_of=0) for key, _ in keys if key not in hints]
        for piece in await read_paths(self._session, hints, self._exclude, epoch=epoch):
            for one in piece.found:
                changes.append(Put(one, None if hints[one.key] == HINT_CREATED else ANY))
            changes.extend(Remove(path, as_of=piece.zxid, subtree=True) for path in piece.gone)
        return changes

    async def close(self) -> None:
        """Closes the session on the server when it answers in time; see `sources/base.py`."""
        await self._session.close()

    def _contains(self, path: str) -> bool:
        return (path == self._root or path.startswith(self._below)) and not self._exclude.excluded(path)


class ZooKeeperWatch:
    """An armed recursive watch on one connection."""

    def __init__(self, session: Session, armed: Armed, root: str) -> None:
        self._session = session
        self._armed = armed
        self._root = root

    @property
    def lost(self) -> asyncio.Future[None]:
        """See `sources/base.py`."""
        return self._armed.lost

    @property
    def position(self) -> str | None:
        """None: ZooKeeper replays nothing to a watch."""
        return None

    @property
    def resumed(self) -> bool:
        """Never."""
        return False

    async def probe(self) -> None:
        """See `sources/base.py`. The deadline is a third of the session timeout, at most 10 s."""
        seconds = min(MAX_PROBE_SECONDS, self._session.timeout_seconds / 3)
        await self._session.prove(self._root, epoch=self._armed.epoch, seconds=seconds)

    def lose(self, error: SourceError) -> None:
        """See `sources/base.py`. The connection is dropped, so that nothing of it counts any more."""
        if not self.lost.done():
            self.lost.set_exception(error)
            self._session.drop_connection(self._armed.epoch)


def _checked(path: str) -> str:
    """A path as ZooKeeper writes it. Raises `ConfigurationError`."""
    components = path.split("/")[1:]
    if path != "/" and (not path.startswith("/") or not {"", ".", ".."}.isdisjoint(components)):
        raise ConfigurationError(f"ZooKeeper path {path!r}: allowed is an absolute path such as /services, or /")
    return path
