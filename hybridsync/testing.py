"""In-memory twins of the seams: a source, a sink and a state store that can be told to fail.

For tests of the engine, here and in applications that embed hybridsync; no server needed. Everything
runs on one event loop and yields to it where the real thing would wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from hybridsync.clock import utc_now
from hybridsync.dirty import DirtySet
from hybridsync.errors import ListingFailed, PositionExpired, SinkUnavailable, SourceDisconnected, SourceError
from hybridsync.model import Applied, Batch, Change, Dirty, Index, Listing, Put, Record, Remove
from hybridsync.state import SyncState


class MemoryWatch:
    """An armed watch of a `MemorySource`; `resumed` when it missed nothing since the position it was given."""

    def __init__(self, source: MemorySource, *, resumed: bool = False) -> None:
        self.resumed = resumed
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost.add_done_callback(lambda future: future.exception())
        self._source = source

    @property
    def position(self) -> str | None:
        """How much of the history this watch has told; `None` while the source cannot resume."""
        return self._source.resume_point

    async def probe(self) -> None:
        """Answers unless the connection is cut; a cut one is noticed here."""
        await asyncio.sleep(0)
        if self._source.silent and not self.lost.done():
            self._source.disconnect()
        if self.lost.done():
            self.lost.result()
        if self._source.failing_proofs > 0:
            self._source.failing_proofs -= 1
            raise ListingFailed("memory: no proof")

    def lose(self, error: SourceError) -> None:
        """Ends the watch."""
        if not self.lost.done():
            self.lost.set_exception(error)


class MemorySource:
    """A dictionary that can be listed and watched, and that loses connections on demand.

    `history` holds (moment, key, value or None) of every change, oldest first, so that a test can say
    what was true when. `silent`: the connection is half-open: events are lost, nobody knows yet.
    `offline`: no connection can be made. `failing_reads`: so many next reads or listings fail half-way.
    `resumable`: a watch may resume where an earlier one was, unless `forget_history` was called since.
    `hidden`: roots that may not be read. `failing_proofs`: so many next proofs fail on a connection that stays.
    `root_missing` and the other names of `Source`: what it says.
    """

    description = "memory"

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.history: list[tuple[datetime, str, bytes | None]] = []
        self.hidden: set[str] = set()
        self.silent = False
        self.offline = False
        self.failing_reads = 0
        self.failing_proofs = 0
        self.list_batch = 3
        self.resumable = False
        self.proof_seconds = 0.0
        self.invalid: dict[str, str] = {}
        self.trouble: str | None = None
        self.place: str | None = None
        self.removal_seen = False
        self.root_missing = False
        self.listings = 0
        self.last_listing_complete = False
        self._position = 0
        self._told = 0
        self._forgotten = 0
        self._life = 0
        self._expired = False
        self._watches: dict[MemoryWatch, DirtySet] = {}
        self._connection = asyncio.Event()

    @property
    def unreadable(self) -> dict[str, str]:
        """What is `hidden`."""
        return dict.fromkeys(sorted(self.hidden), "memory: hidden")

    @property
    def watched(self) -> bool:
        """Whether a watch is armed and hears of every change."""
        return bool(self._watches) and not self.silent

    @property
    def resume_point(self) -> str | None:
        """How much of the history every watch has been told, as the position to resume from."""
        return str(self._told) if self.resumable else None

    def forget_history(self) -> None:
        """Makes every position that was given out so far too old to resume from."""
        self._forgotten = len(self.history) + 1

    # -- what happens to it ---------------------------------------------------------------------

    def put(self, key: str, value: bytes) -> None:
        """Creates or changes a record."""
        self._position += 1
        self.records[key] = Record(key, value, self._version())
        self._changed(key, value)

    def remove(self, key: str) -> None:
        """Deletes a record, if it is there."""
        if self.records.pop(key, None) is not None:
            self._position += 1
            self._changed(key, None)

    def reset_history(self) -> None:
        """Counts positions from the start again, as a server restored from a backup does."""
        self._position = 0
        self._life += 1
        self.forget_history()
        for key, record in list(self.records.items()):
            self._position += 1
            self.records[key] = record._replace(version=self._version())

    def _version(self) -> int:
        """Never the same twice, also when positions start again."""
        return self._life << 64 | self._position

    def _changed(self, key: str, value: bytes | None) -> None:
        self.history.append((utc_now(), key, value))
        if not self.silent:
            self._told = len(self.history)
            for dirty in self._watches.values():
                dirty.mark(key)

    def disconnect(self) -> None:
        """Cuts the connection in a way that both sides notice."""
        self.silent = False
        for watch in list(self._watches):
            watch.lose(SourceDisconnected("memory: connection cut"))
        self._watches.clear()

    def expire(self) -> None:
        """Ends the session."""
        self._expired = True
        self.disconnect()

    # -- the seam -------------------------------------------------------------------------------

    async def connect(self) -> None:
        """See `Source`."""
        await asyncio.sleep(0)
        if self.offline:
            raise SourceDisconnected("memory: offline")
        if self._expired:
            self._expired = False
            raise PositionExpired("memory: session expired")

    @asynccontextmanager
    async def watch(self, dirty: DirtySet, resume: str | None = None) -> AsyncIterator[MemoryWatch]:
        """See `Source`."""
        if self.offline:
            raise SourceDisconnected("memory: offline")
        resumed = self.resumable and resume is not None
        if resumed and int(resume or 0) < self._forgotten:
            raise PositionExpired("memory: history lost")
        for _, key, _ in self.history[int(resume or 0) :] if resumed else ():
            dirty.mark(key)
        self._told = len(self.history)
        watch = MemoryWatch(self, resumed=resumed)
        self._watches[watch] = dirty
        try:
            yield watch
        finally:
            self._watches.pop(watch, None)

    async def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
        """See `Source`. Lists key by key in order, so changes during the listing interleave with it."""
        self.listings += 1
        self.last_listing_complete = False
        connected = set(self._watches)
        position = len(self.history) if self.resumable else None
        listing.unreadable.extend(sorted(self.hidden))
        listing.root_missing = self.root_missing
        after = ""
        while True:
            await asyncio.sleep(0)
            self._maybe_fail()
            if connected and not connected & set(self._watches):
                raise SourceDisconnected("memory: connection cut")
            keys = sorted(key for key in self.records if key > after and not self._is_hidden(key))[: self.list_batch]
            if not keys:
                break
            after = keys[-1]
            yield Batch([self.records[key] for key in keys])
        self.last_listing_complete = True
        listing.position = str(self._position if position is None else position)

    def outline(self, listing: Listing) -> None:
        """Nothing cheaper than a listing."""

    async def read(self, keys: Sequence[Dirty]) -> Sequence[Change]:
        """See `Source`."""
        await asyncio.sleep(0)
        self._maybe_fail()
        changes: list[Change] = []
        for key, _ in keys:
            record = self.records.get(key)
            if not self._is_hidden(key):
                changes.append(Put(record) if record else Remove(key, as_of=self._position, subtree=False))
        return changes

    async def close(self) -> None:
        """See `Source`."""
        self.disconnect()

    def _is_hidden(self, key: str) -> bool:
        return any(key == root or key.startswith(root + "/") for root in self.hidden)

    def _maybe_fail(self) -> None:
        if self.failing_reads > 0:
            self.failing_reads -= 1
            raise ListingFailed("memory: read failed")


class MemorySink:
    """A dictionary that is kept equal. `failing_writes`: so many next calls of `apply` fail half-way.

    `sweeps` counts removals by a full sync; `on_sweep` is called before each.
    """

    description = "memory"

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.offline = False
        self.failing_writes = 0
        self.writes = 0
        self.generation = 0
        self.trouble: str | None = None
        self.home: str | None = None
        self.sweeps = 0
        self.on_sweep: Callable[[], None] = lambda: None

    @property
    def keeps_newest(self) -> bool:
        """As the guards say."""
        return True

    async def identity(self) -> str | None:
        """What a test calls its `home`."""
        await self._reach()
        return self.home

    async def prepare(self) -> None:
        """See `Sink`."""
        await self._reach()

    async def count(self) -> int:
        """See `Sink`."""
        await self._reach()
        return len(self.records)

    async def index(self) -> AsyncGenerator[Index, None]:
        """See `Sink`."""
        await self._reach()
        yield {key: record.version for key, record in self.records.items()}

    async def apply(self, changes: Sequence[Change]) -> Applied:
        """See `Sink`; obeys the guards of `Put` and `Remove` with the version as the position."""
        applied = Applied()
        half = len(changes) // 2
        for number, change in enumerate(changes):
            await self._reach()
            if self.failing_writes > 0 and number >= half:
                self.failing_writes -= 1
                raise SinkUnavailable("memory: write failed")
            if isinstance(change, Put):
                self._put(change, applied)
            else:
                self._remove(change, applied)
        return applied

    def _put(self, put: Put, applied: Applied) -> None:
        held = self.records.get(put.key)
        newer = held is not None and _position(held.version) > _position(put.record.version)
        if held is not None and newer and held.version != put.replaces:
            applied.unchanged += 1
            return
        self.writes += 1
        self.records[put.key] = put.record
        if held is None:
            applied.inserted += 1
        else:
            applied.updated += 1

    def _remove(self, remove: Remove, applied: Applied) -> None:
        if remove.seen is not None:
            self.sweeps += 1
            self.on_sweep()
        held = self.records.get(remove.key)
        if held is None or (remove.seen is not None and held.version != remove.seen):
            return
        if remove.as_of is not None and _position(held.version) > remove.as_of:
            return
        self.writes += 1
        del self.records[remove.key]
        applied.deleted += 1

    async def differing(self, records: Sequence[Record]) -> list[str]:
        """See `Sink`."""
        await self._reach()
        return [
            record.key
            for record in records
            if (held := self.records.get(record.key)) is None or held.value != record.value
        ]

    async def held(self, keys: Sequence[str]) -> Index:
        """See `Sink`."""
        await self._reach()
        return {key: self.records[key].version for key in keys if key in self.records}

    async def close(self) -> None:
        """See `Sink`."""

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if self.offline:
            raise SinkUnavailable("memory: sink offline")


def _position(version: int) -> int:
    return version & (1 << 64) - 1


class MemoryStore:
    """Keeps states; `offline` makes every call fail. `saved` is every state ever saved, oldest first."""

    def __init__(self) -> None:
        self.states: dict[str, SyncState] = {}
        self.saved: list[SyncState] = []
        self.offline = False

    async def load(self, resource: str) -> SyncState | None:
        """See `StateStore`."""
        await asyncio.sleep(0)
        if self.offline:
            raise SinkUnavailable("memory: store offline")
        return self.states.get(resource)

    async def save(self, state: SyncState) -> None:
        """See `StateStore`."""
        await asyncio.sleep(0)
        if self.offline:
            raise SinkUnavailable("memory: store offline")
        self.states[state.resource_type] = state
        self.saved.append(state)
