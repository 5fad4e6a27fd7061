"""Brings dirty keys into the sink: take the oldest, read what is there now, write it, acknowledge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from hybridsync.dirty import DirtySet, Taken
from hybridsync.errors import HybridSyncError
from hybridsync.exceptions import shown_key
from hybridsync.model import Change, Put, Record, Remove
from hybridsync.refused_keys import RefusedKeys, Settled
from hybridsync.sinks.base import Sink
from hybridsync.sources.base import Source
from hybridsync.status import Counters

BATCH_KEYS = 1000

TOLD_KEYS = 100
"""So many keys of one outcome are named in the log; the rest is counted."""

IN_FLIGHT = 4
"""Batches that are being written at once, where the sink keeps the newest of two states."""


class DirtyWriter:
    """Empties a `DirtySet` batch by batch; nothing leaves the set before it is acknowledged.

    While some batches are being written the next one is read. Puts may overtake each other, where the sink
    keeps the newest version; a removal waits for everything before it, because a put that came late
    would bring back what was removed. Any other sink gets one batch at a time. `refused` are the keys that
    the sink could not store, to be tried again. `before_write` is awaited before each batch, `on_written` called after
    each acknowledgement; `committed_at` and `on_propagation`: see `Resource`.
    """

    def __init__(
        self,
        dirty: DirtySet,
        source: Source,
        sink: Sink,
        counters: Counters,
        log: structlog.stdlib.BoundLogger,
        committed_at: Callable[[Record], float | None],
    ) -> None:
        self.on_propagation: list[Callable[[float], None]] = []
        self.refused = RefusedKeys()
        self.before_write: Callable[[], Awaitable[None]] = _nothing
        self.on_written: Callable[[], None] = lambda: None
        self._dirty = dirty
        self._source = source
        self._sink = sink
        self._counters = counters
        self._log = log
        self._committed_at = committed_at
        self._in_flight = IN_FLIGHT if sink.keeps_newest else 1
        self._writing: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None
        self._turn = 0

    async def write_some(self) -> None:
        """Reads one batch and starts to write it, as soon as there is room.

        Raises what the source raised for this batch, or the sink for an earlier one. After an
        error nothing is being written, and every key that was not acknowledged is dirty as before.
        """
        while len(self._writing) >= self._in_flight:
            await asyncio.wait(set(self._writing), return_when=asyncio.FIRST_COMPLETED)
        if self._failure is not None:
            await self.drain()
        taken = self._dirty.take(BATCH_KEYS)
        try:
            changes = await self._source.read(taken)
            if any(isinstance(change, Remove) for change in changes):
                await self.drain()
            await self.before_write()
        except BaseException:
            self._dirty.give_back(taken)
            raise
        self._turn += 1
        task = asyncio.create_task(self._write(taken, changes, self._turn))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, taken: Taken, changes: Sequence[Change], turn: int) -> None:
        try:
            applied = await self._sink.apply(changes)
        except BaseException as error:
            if isinstance(error, Exception):
                self._failure = error
            self._dirty.give_back(taken)
            if not isinstance(error, Exception):
                raise
            return
        self._dirty.acknowledge(taken)
        self._counters.count_changes(applied)
        keys = [change.key for change in changes]
        self._tell(self.refused.settle(keys, applied.failed, time.monotonic(), turn))
        self._report_propagation(changes)
        self.on_written()

    def synced(self, failed: Mapping[str, str]) -> None:
        """Takes what a full sync could not store: key → reason. It has tried everything."""
        self._tell(self.refused.after_sync(failed, time.monotonic(), self._turn))

    def _tell(self, settled: Settled) -> None:
        """A refusal is told when it begins, and when it ends."""
        for key in settled.begun[:TOLD_KEYS]:
            self._log.error("a document could not be stored", key=shown_key(key), reason=self.refused.reasons[key])
        for key in settled.ended[:TOLD_KEYS]:
            self._log.error("a document is no longer refused", key=shown_key(key))
        for what, keys in (("could not be stored", settled.begun), ("are no longer refused", settled.ended)):
            if len(keys) > TOLD_KEYS:
                self._log.error(f"more documents {what}", count=len(keys) - TOLD_KEYS)

    async def drain(self) -> None:
        """Waits until nothing is being written. Raises what the sink raised meanwhile."""
        while self._writing:
            await asyncio.wait(set(self._writing))
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    async def abandon(self) -> None:
        """Gives up what is being written; whatever becomes of it, its keys are dirty as before."""
        for task in self._writing:
            task.cancel()
        while self._writing:
            await asyncio.wait(set(self._writing))
        self._failure = None

    async def flush(self, seconds: float) -> None:
        """Writes what is pending, as far as the time for it reaches; the next start makes the rest good."""
        try:
            async with asyncio.timeout(seconds):
                while self._dirty.waiting:
                    await self.write_some()
                await self.drain()
        except (TimeoutError, HybridSyncError) as error:
            self._log.warning("stopped with changes pending", pending=len(self._dirty), error=str(error))

    def _report_propagation(self, changes: Sequence[Change]) -> None:
        if not self.on_propagation:
            return
        now = time.time()
        for change in changes:
            committed = self._committed_at(change.record) if isinstance(change, Put) else None
            if committed is not None:
                for listener in self.on_propagation:
                    listener(max(0.0, now - committed))


async def _nothing() -> None:
    """Nothing has to be done before a write."""
