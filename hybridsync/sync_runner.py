"""Runs full syncs of one resource: one at a time, recorded before and after, everyone waiting told.

The state says `in_progress` before the first write and `completed` after the last acknowledged one;
a failure is saved as soon as the store can be reached. A sync that a stop in good order cuts off is no failure: then
the state is what it was before, save that nothing can be resumed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog

from hybridsync.clock import Instant, utc_now
from hybridsync.decision import missing
from hybridsync.errors import PositionExpired, SourceError, Stopping, describe
from hybridsync.full_sync import FullSync
from hybridsync.options import ResourceOptions
from hybridsync.sinks.base import Sink
from hybridsync.sources.base import Source
from hybridsync.state import SyncState, SyncStatus
from hybridsync.state_keeper import StateKeeper
from hybridsync.status import Counters, Progress, SyncResult, Trigger
from hybridsync.sweep_guard import SweepRules

SAMPLES = 20


class SyncRunner:
    """Single flight per resource: whoever asks while a sync runs joins it."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        keeper: StateKeeper,
        options: ResourceOptions,
        counters: Counters,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.last_result: SyncResult | None = None
        self.on_failed: Callable[[Mapping[str, str]], None] = lambda _: None
        """Told after each success which records could not be stored: key → reason."""
        self.on_result: list[Callable[[SyncResult], None]] = []
        self.completed_at: Instant | None = None
        """When the last full sync of this process completed."""
        self.remaking = False
        """Whether the mirror is being made from what it is no more: nobody may be served with it."""
        self._allow_sweep = False
        self._source = source
        self._sink = sink
        self._keeper = keeper
        self._options = options
        self._counters = counters
        self._log = log
        self._generation = sink.generation
        self._sync: FullSync | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiters: list[asyncio.Future[SyncResult]] = []

    @property
    def sink_lost(self) -> bool:
        """Whether what was written may be gone since the last full sync."""
        return self._sink.generation != self._generation

    @property
    def busy(self) -> bool:
        """Whether a full sync runs, or is asked for and waits for its connection."""
        return self._sync is not None or self.wanted

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a full sync."""
        return bool(self._waiters)

    @property
    def progress(self) -> Progress | None:
        """Of the running full sync, from the moment the state says `in_progress`."""
        begun = self._sync is not None and self._keeper.state.status is SyncStatus.IN_PROGRESS
        return self._sync.progress if self._sync is not None and begun else None

    def join(self, *, allow_sweep: bool = False) -> asyncio.Future[SyncResult]:
        """A future of the next result. It never gets an exception: failures are results with `error`.

        `allow_sweep`: that full sync, also one that runs already, does without the sweep guard.
        """
        if allow_sweep and self._sync is not None:
            self._sync.rules.allowed = True
        elif allow_sweep:
            self._allow_sweep = True
        future: asyncio.Future[SyncResult] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        return future

    def refuse(self, error: BaseException) -> None:
        """Tells everyone who waits that no sync can run, and forgets what they allowed."""
        self._allow_sweep = False
        self._answer(_result(None, Trigger.MANUAL, 0.0, error))

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuses when the block ends with an error of the source; after an expiry a sync can run at once."""
        try:
            yield
        except SourceError as error:
            if not isinstance(error, PositionExpired):
                self.refuse(error)
            raise

    def cancel(self) -> None:
        """Stops the running full sync; its `run` returns `Stopping`."""
        if self._task is not None:
            self._task.cancel()

    async def run(self, trigger: Trigger, listed_from: Instant, *, resumable: bool = False) -> Exception | None:
        """One full sync. Returns the error it failed with, `None` after success.

        `resumable`: whether a watch could go on from the position of the listing.
        """
        started, before = time.monotonic(), self._keeper.state
        self._sync = FullSync(
            self._source, self._sink, rules=self.rules(before), stall_seconds=self._options.sync_timeout_seconds
        )
        self._allow_sweep = False
        self._log.info("full sync begins", trigger=str(trigger))
        self._task = asyncio.create_task(self._recorded(self._sync, started, listed_from, resumable))
        error: Exception | None = Stopping("the service is stopping")
        try:
            await asyncio.wait({self._task})  # unlike `await task`, it tells whose cancellation it was
            if not self._task.cancelled():
                error = _foreseen(self._task.exception())
        finally:
            self._task.cancel()
            await asyncio.wait({self._task})
            result = _result(self._sync, trigger, time.monotonic() - started, error)
            if error is None:
                self._generation = self._sync.generation
                self.on_failed(self._sync.failed)
            self._sync = self._task = None
            self._ended(result, error, before)
        return error

    def rules(self, state: SyncState) -> SweepRules:
        """What the next full sync may remove, when this state is stored."""
        return SweepRules(
            self._options.sweep_limit_percent,
            config_changed=state.config_fingerprint not in (None, self._options.config_fingerprint),
            removal_seen=lambda: self._removal_seen,
            allowed=self._allow_sweep,
        )

    async def _recorded(self, sync: FullSync, started: float, listed_from: Instant, resumable: bool) -> None:
        partial = self._keeper.state.partial or await self._makes_another(self._keeper.state)
        self.remaking = self.remaking or partial
        begun = {"partial": partial, "removal_seen": self._removal_seen}
        await self._keeper.save(status=SyncStatus.IN_PROGRESS, error=None, **begun)
        await sync.run()
        await self._keeper.save(
            status=SyncStatus.COMPLETED,
            error=None,
            last_sync_time=utc_now(),
            last_sync_duration=time.monotonic() - started,
            last_sync_count=sync.progress.read,
            resource_version=sync.listing.position,
            resume_from=sync.listing.position if resumable and not sync.failed else None,
            place=self._source.place,
            config_fingerprint=self._options.config_fingerprint,
            mirror=sync.mirror or await self._sink.identity(),
            partial=False,
            removal_seen=self._removal_seen and sync.listing.root_missing,
            confirmed_at=listed_from.shown,
        )
        self.remaking = False
        self.completed_at = Instant.now()

    @property
    def _removal_seen(self) -> bool:
        """Whether a watch saw the root go, of the source as it is configured now."""
        state = self._keeper.state
        remembered = state.removal_seen and state.config_fingerprint == self._options.config_fingerprint
        return remembered or self._source.removal_seen

    async def _makes_another(self, state: SyncState) -> bool:
        """Whether the mirror is not the one any more that a completed full sync left. Raises `SinkError`."""
        if state.config_fingerprint is None:
            return False  # there never was one
        if state.config_fingerprint != self._options.config_fingerprint:
            return True
        return missing(state, await self._sink.count(), await self._sink.identity()) is not None

    def _ended(self, result: SyncResult, error: Exception | None, before: SyncState) -> None:
        self.last_result = result
        self._counters.count_sync(result)
        facts = {
            "trigger": str(result.trigger),
            "seconds": round(result.duration_seconds, 3),
            "read": result.read,
            "inserted": result.inserted,
            "updated": result.updated,
            "deleted": result.deleted,
            "unchanged": result.unchanged,
        }
        if result.unreadable_count:
            facts["unreadable"] = list(result.unreadable)
        if result.failed_documents:
            facts["failed_documents"] = list(result.failed_samples)
        if error is None:
            self._log.info("full sync completed", **facts)
        elif isinstance(error, Stopping):
            self._log.info("full sync cut off by the stop", **facts)
            if before.last_sync_time is not None:
                self._keeper.save_soon(status=before.status, error=before.error, resume_from=None)
        else:
            self._log.error("full sync failed", error=result.error, **facts)
            self._keeper.save_soon(status=SyncStatus.FAILED, error=result.error)
        self._answer(result)
        for listener in self.on_result:
            listener(result)

    def _answer(self, result: SyncResult) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(result)


def _foreseen(error: BaseException | None) -> Exception | None:
    """Errors pass as values; what is no `Exception` (an interrupt) goes through."""
    if error is not None and not isinstance(error, Exception):
        raise error
    return error


def _result(sync: FullSync | None, trigger: Trigger, seconds: float, error: BaseException | None) -> SyncResult:
    progress = sync.progress if sync is not None else Progress()
    unreadable = sync.listing.unreadable if sync is not None else []
    failed = sync.failed if sync is not None else {}
    return SyncResult(
        trigger=trigger,
        read=progress.read,
        inserted=progress.inserted,
        updated=progress.updated,
        deleted=progress.deleted,
        unchanged=progress.unchanged,
        duration_seconds=seconds,
        unreadable_count=len(unreadable),
        unreadable=tuple(unreadable[:SAMPLES]),
        failed_documents=len(failed),
        failed_samples=tuple(f"{key}: {reason}" for key, reason in list(failed.items())[:SAMPLES]),
        error=None if error is None else describe(error),
    )
