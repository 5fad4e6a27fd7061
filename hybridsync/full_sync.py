"""One full sync: list the whole source, write only what differs, remove what is gone.

The mirror's index (key → version) is read first; each listed record takes its key out of it, so what
is left after a *complete* listing is gone at the source. Nothing is removed otherwise.

The sweep guard promises that a refused sync changes nothing, but whether too much would be removed is
only known once enough of the mirror has been seen alive. Until then differences are held back; if
they outgrow `HOLD_BYTES`, the first listing only counts and a second one writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from itertools import islice, repeat
from operator import itemgetter

from hybridsync.errors import ListingFailed, SyncStalled
from hybridsync.give_way import MANY_RECORDS, give_way
from hybridsync.model import Applied, Batch, Change, Index, Listing, Put, Record, Remove
from hybridsync.sinks.base import Sink
from hybridsync.sources.base import Source
from hybridsync.status import Progress
from hybridsync.subtrees import not_named
from hybridsync.sweep_guard import SweepGuard, SweepRules
from hybridsync.write_pipeline import WritePipeline

HOLD_BYTES = 64 * 2**20
BATCH_RECORDS = 1000
BATCH_BYTES = 4 * 2**20
RECORD_OVERHEAD_BYTES = 400

_KEY, _VERSION = (itemgetter(Record._fields.index(name)) for name in ("key", "version"))
_new = tuple.__new__
"""Makes a named tuple of a tuple without a call into Python: this file sees every record of a source."""


class FullSync:
    """Runs once. `progress` and `failed` (key → reason of documents that could not be stored) are live.

    `rules`: of the sweep guard, see the module. `stall_seconds`: how long it may go without any progress.
    """

    def __init__(self, source: Source, sink: Sink, *, rules: SweepRules, stall_seconds: float) -> None:
        self.listing = Listing()
        self.failed: dict[str, str] = {}
        self.generation = 0
        """Of the sink, when its index was read."""
        self._source = source
        self._sink = sink
        self.rules = rules
        self.mirror: str | None = None
        """What holds the records, see `Sink.identity`; from before the first write."""
        self._stall_seconds = stall_seconds
        self._progress = Progress()
        self._started = time.monotonic()
        self._deadline: asyncio.Timeout | None = None

    @property
    def progress(self) -> Progress:
        """How far it is."""
        self._progress.elapsed_seconds = time.monotonic() - self._started
        self._progress.total = self.listing.total
        return self._progress

    async def run(self) -> None:
        """Makes the sink equal to the source.

        Raises `SweepRefused` and `ListingFailed`, both before any record is removed, `SyncStalled`, and
        whatever source and sink raise. Running it again makes good what any error left half done.
        """
        try:
            async with asyncio.timeout(self._stall_seconds) as self._deadline:
                await self._sink.prepare()
                self.generation = self._sink.generation
                self.mirror = await self._sink.identity()
                if not await self._attempt(hold=True):
                    await self._attempt(hold=False)
        except TimeoutError as error:
            if self._deadline is not None and self._deadline.expired():
                raise SyncStalled(f"the full sync made no progress for {self._stall_seconds:g} s") from error
            raise

    async def _attempt(self, *, hold: bool) -> bool:
        """One listing. False when so much had to be held back that a second one must do the writing."""
        self._restart_counters()
        index = await self._load_index()
        guard = SweepGuard(len(index), self.rules)
        held = _Held() if hold and guard.counts else None
        changes: list[Change] = []
        size = 0
        async with (
            WritePipeline(self._sink, self._applied) as pipeline,
            aclosing(self._source.list(self.listing)) as batches,
        ):
            async for batch in batches:
                if len(batch.records) >= MANY_RECORDS:
                    await give_way()
                known = len(index)
                puts = self._differences(batch, index)
                changes += puts
                size += sum([len(put.record.value) for put in puts]) + RECORD_OVERHEAD_BYTES * len(puts)
                guard.alive += known - len(index)
                self._touch()
                if held is not None:
                    held.take(changes, size)
                    if not guard.content:
                        changes, size = [], 0
                        continue
                    if held.overflowed:
                        return False
                    changes, held = held.changes, None
                if len(changes) >= BATCH_RECORDS or size >= BATCH_BYTES:
                    await self._submit(pipeline, changes)
                    changes, size = [], 0
            if self.listing.position is None:
                raise ListingFailed(f"{self._source.description}: the listing ended without a position")
            read, root_missing = self._progress.read, self.listing.root_missing
            if guard.must_count(read, root_missing=root_missing):
                gone = await self._count_gone(index)
                spared = "changed" if hold else "removed"
                guard.check(gone, read, self._source.description, spared, root_missing=root_missing)
            if held is not None:
                if held.overflowed:
                    return False
                changes = held.changes
            await self._submit(pipeline, changes)
            await pipeline.drain()
            await self._submit(pipeline, self._gone(index))
        return True

    def _restart_counters(self) -> None:
        self.listing.position = None
        self.listing.root_missing = False
        self.listing.unreadable.clear()
        self.failed.clear()
        self._progress = Progress()

    async def _load_index(self) -> Index:
        index: Index = {}
        async for piece in self._sink.index():
            index.update(piece)
            self._touch()
        return index

    def _differences(self, batch: Batch, index: Index) -> list[Put]:
        """What differs from the mirror; takes out of the index what is in it. Few steps of Python for each record."""
        records = batch.records
        known = list(map(index.pop, map(_KEY, records), repeat(None)))
        pairs = zip(records, known, map(_VERSION, records), strict=True)
        puts = [_new(Put, (record, seen)) for record, seen, version in pairs if seen != version]
        self._progress.read += len(records)
        self._progress.unchanged += len(records) - len(puts)
        return puts

    async def _count_gone(self, index: Index) -> int:
        """How much is; by and by, because that may be most of a large mirror."""
        rest = self._gone(index)
        count = 0
        while more := sum(1 for _ in islice(rest, BATCH_RECORDS)):
            count += more
            await give_way()
        return count

    def _gone(self, index: Index) -> Iterator[Remove]:
        """What the mirror holds and the source does not; what may not be read, or breaks rules, is not gone."""
        for key in not_named(index, self.listing.unreadable, self._source.invalid):
            yield Remove(key, seen=index[key])

    async def _submit(self, pipeline: WritePipeline, changes: Iterable[Change]) -> None:
        rest = iter(changes)
        while batch := list(islice(rest, BATCH_RECORDS)):
            await pipeline.submit(batch)

    def _applied(self, applied: Applied) -> None:
        self._progress.inserted += applied.inserted
        self._progress.updated += applied.updated
        self._progress.deleted += applied.deleted
        self._progress.unchanged += applied.unchanged
        self.failed.update(applied.failed)
        self._touch()

    def _touch(self) -> None:
        """Any sign of progress moves the deadline."""
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._stall_seconds)


class _Held:
    """Differences that wait for the guard; past the bound they are dropped and only the flag remains."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.overflowed = False
        self._bytes = 0

    def take(self, changes: list[Change], size: int) -> None:
        self._bytes += size
        if self._bytes > HOLD_BYTES:
            self.overflowed = True
            self.changes.clear()
        else:
            self.changes.extend(changes)
