"""Brings dirty keys into the sink: take the oldest, read what is there now, write it, acknowledge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from hybridsync.dirty import DirtySet
from hybridsync.errors import HybridSyncError
from hybridsync.model import Change, Put, Record
from hybridsync.sinks.base import Sink
from hybridsync.sources.base import Source
from hybridsync.status import Counters

BATCH_KEYS = 1000


class DirtyWriter:
    """Empties a `DirtySet` batch by batch; nothing leaves the set before it is acknowledged.

    `committed_at` and `on_propagation`: see `Resource`.
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
        self._dirty = dirty
        self._source = source
        self._sink = sink
        self._counters = counters
        self._log = log
        self._committed_at = committed_at

    async def write_some(self) -> None:
        """One batch. After an error (whatever source and sink raise) its keys are dirty as before."""
        keys = self._dirty.take(BATCH_KEYS)
        try:
            changes = await self._source.read(keys)
            applied = await self._sink.apply(changes)
        except BaseException:
            self._dirty.give_back()
            raise
        self._dirty.acknowledge()
        self._counters.count_changes(applied)
        for key, reason in applied.failed.items():
            self._log.error("a document could not be stored", key=key, reason=reason)
        self._report_propagation(changes)

    async def flush(self, seconds: float) -> None:
        """Writes what is pending, as far as the time for it reaches; the next start makes the rest good."""
        try:
            async with asyncio.timeout(seconds):
                while self._dirty.waiting:
                    await self.write_some()
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
