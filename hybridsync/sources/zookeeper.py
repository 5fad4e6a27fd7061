"""A ZooKeeper tree as a source: listed by multiRead, watched by one persistent recursive watch."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

from hybridsync.dirty import DirtySet
from hybridsync.errors import ConfigurationError, SourceError
from hybridsync.model import ANY, Batch, Change, Dirty, Listing, Put, Record, Remove
from hybridsync.sources.exclude import Exclude
from hybridsync.sources.hidden import Hidden
from hybridsync.znode import prefix_below
from hybridsync.zookeeper.lifetime import Armed
from hybridsync.zookeeper.session import Session
from hybridsync.zookeeper.settings import SessionSettings
from hybridsync.zookeeper.walk import Everything, Piece, pieces_of, read_paths, walk
from hybridsync.zookeeper.wire import CHANGED, CREATED, DELETED

HINT_CREATED = "created"
"""The last event of this key was its creation: the sink most likely holds nothing of it."""

_HINTS = {CREATED: HINT_CREATED, CHANGED: "changed", DELETED: "deleted"}

BATCH_RECORDS = 500
BATCH_BYTES = 4 * 1024 * 1024
MAX_PROBE_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 5.0
"""How often a proof looks at hidden subtrees again."""


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
        self._hidden = Hidden()
        self._dirty: DirtySet | None = None
        self._root_deleted = False
        who = (
            "the user of HYBRIDSYNC_ZOOKEEPER_AUTH"
            if session.auth
            else "everybody (HYBRIDSYNC_ZOOKEEPER_AUTH is not set)"
        )
        self._no_read = f"its access list (ACL) gives {who} no READ"

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
        """See `sources/base.py`. A complete listing replaces it; reading and looking again add and take away."""
        return self._hidden.live

    @property
    def trouble(self) -> str | None:
        """See `sources/base.py`."""
        return self._session.trouble

    @property
    def place(self) -> str | None:
        """Nothing is resumed."""
        return None

    @property
    def removal_seen(self) -> bool:
        """See `sources/base.py`. The event counts, not what is found later: events may be forgotten."""
        return self._root_deleted

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
            if path == self._root:
                self._root_deleted = kind == DELETED
            if self._contains(path):
                dirty.mark(path, _HINTS.get(kind))

        self._dirty = dirty
        armed = await self._session.arm(self._root, mark, epoch=self._session.epoch)
        try:
            yield ZooKeeperWatch(self._session, armed, self._root, lambda: self._look_again(dirty, armed.epoch))
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
        forbidden: list[str] = []
        too_long: dict[str, str] = {}
        self._hidden.listing_begins()
        try:
            async with aclosing(walk(self._session, self._root, self._exclude, epoch=epoch)) as pieces:
                async for piece in pieces:
                    self._look_for_root(piece, listing)
                    forbidden += piece.forbidden
                    too_long |= piece.too_long
                    listing.unreadable += [*piece.forbidden, *piece.too_long]
                    records += piece.found
                    size += sum([len(one.value) for one in piece.found])
                    if len(records) >= BATCH_RECORDS or size >= BATCH_BYTES:
                        yield Batch(records)
                        records, size = [], 0
            self._hidden.listing_ended(forbidden, self._no_read, too_long)
        finally:
            self._hidden.listing_dropped()
        if records:
            yield Batch(records)

    def _look_for_root(self, piece: Piece, listing: Listing) -> None:
        """Notes whether the root is there. It is in the first piece, alone."""
        if self._root in piece.gone:
            listing.root_missing = True
        elif piece.found and piece.found[0].key == self._root:
            self._root_deleted = False

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
                self._root_deleted = self._root_deleted and one.key != self._root
            changes.extend(Remove(path, as_of=piece.zxid, subtree=True) for path in piece.gone if self._may_go(path))
            again = self._note(piece)
            if again and self._dirty is not None:
                self._owe_listing(self._dirty, again)
        return changes

    def _may_go(self, path: str) -> bool:
        """Whether the absence of a znode is news. Of the root it is when its end was seen: else it never was there."""
        return path != self._root or self._root_deleted

    def _note(self, piece: Piece) -> Sequence[str]:
        """Takes in what may not be read, and what may be again; tells of which the latter was hidden before."""
        for path in piece.forbidden:
            self._hidden.note(path, self._no_read, again=True)
        for path, why in piece.too_long.items():
            self._hidden.note(path, why, again=False)
        for path in piece.gone:
            self._hidden.seen(path)
        return [one.key for one in piece.found if self._hidden.seen(one.key)]

    async def _look_again(self, dirty: DirtySet, epoch: int) -> None:
        """Asks for some of the hidden roots; of what can be read again, or is gone, events may have been missed."""
        roots = self._hidden.next_turn()
        if not roots:
            return
        async with aclosing(pieces_of(self._session, roots, Everything(), epoch=epoch)) as pieces:
            async for piece in pieces:
                for path in piece.gone:
                    if path != self._root:
                        dirty.mark(path)
                again = [one.key for one in piece.found]
                again += [path for path in piece.gone if path == self._root]
                if again:
                    self._owe_listing(dirty, again)
                    return

    def _owe_listing(self, dirty: DirtySet, again: Sequence[str]) -> None:
        for path in again:
            self._hidden.told(path)
        dirty.overflow(f"a subtree may be read again: {again[0]}")

    async def close(self) -> None:
        """Closes the session on the server when it answers in time; see `sources/base.py`."""
        await self._session.close()

    def _contains(self, path: str) -> bool:
        return (path == self._root or path.startswith(self._below)) and not self._exclude.excluded(path)


async def _nothing() -> None:
    """What a watch looks at again when nobody said."""


class ZooKeeperWatch:
    """An armed recursive watch on one connection."""

    def __init__(
        self, session: Session, armed: Armed, root: str, look_again: Callable[[], Awaitable[None]] = _nothing
    ) -> None:
        self._session = session
        self._look_again = look_again
        self._looked_at = -math.inf
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
        now = asyncio.get_running_loop().time()
        if now - self._looked_at >= LOOK_AGAIN_SECONDS:
            self._looked_at = now  # before: a look that fails must not make every proof fail
            await self._look_again()

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
