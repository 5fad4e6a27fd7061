"""One resource: decide, connect, watch, sync, apply, and come back after every kind of loss.

The informer of one source-sink pair. `run` is the body of a supervised task:

    decide ─→ connect ─→ watch armed ─→ full sync if one is owed ─→ apply dirty keys … ─→ lost
                 ↑                                                                         │
                 └────── back-off, gap open, a full sync owed (recovery ladder) ───────────┘

Why it is so is in docs/architecture.md: watch first, then list; a gap is a resync; a fresh mirror is
served at once and caught up behind it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from hybridsync.decision import Action, Decision, Reason, age_seconds, decide, is_stale
from hybridsync.dirty import DirtySet
from hybridsync.errors import HybridSyncError, PositionExpired, SinkError, SourceDisconnected, SourceError, Stopping
from hybridsync.freshness import Freshness
from hybridsync.model import Change, Put, Record
from hybridsync.options import ResourceOptions
from hybridsync.recovery import Backoff, RecoveryLadder
from hybridsync.sinks.base import Sink
from hybridsync.sources.base import Source, Watch
from hybridsync.state import StateStore, SyncStatus
from hybridsync.state_keeper import StateKeeper
from hybridsync.status import Counters, InformerState, ResourceStatus, SyncResult, Trigger, utc_now
from hybridsync.sync_runner import SyncRunner, describe

APPLY_KEYS = 1000
FLUSH_SECONDS = 3.0
NEVER = float("inf")


class Resource:
    """The informer of one pair. All methods on the event loop's thread.

    `committed_at` tells when a record was committed at its source, in seconds since the epoch; with it
    `on_propagation` gets the seconds from there to the acknowledgement of the sink.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        sink: Sink,
        store: StateStore,
        options: ResourceOptions,
        *,
        committed_at: Callable[[Record], float | None] = lambda _: None,
    ) -> None:
        self.name = name
        self.source = source
        self.sink = sink
        self.options = options
        self.counters = Counters()
        self.decision: Decision | None = None
        self.ready = False
        self.on_sync: list[Callable[[SyncResult], None]] = []
        self.on_propagation: list[Callable[[float], None]] = []
        self._committed_at = committed_at
        self._log = structlog.get_logger("hybridsync").bind(resource=name)
        self._keeper = StateKeeper(name, store)
        self._runner = SyncRunner(source, sink, self._keeper, options, self.counters, self._log)
        self._wake = asyncio.Event()
        self._dirty = DirtySet(options.dirty_limit, self._on_event)
        self._freshness = Freshness(utc_now())
        self._ladder = RecoveryLadder(options.informer_max_reconnects, Backoff(*options.reconnect_backoff))
        self._retry = Backoff(*options.failed_sync_backoff)
        self._retry_at = 0.0
        self._periodic_at = NEVER
        self._owed: Trigger | None = None
        self._was_watching = False
        self._last_proof = 0.0
        self._last_event: float | None = None
        self._informer = InformerState.STOPPED
        self._informer_since = utc_now()
        self._informer_error: str | None = None
        self._parked = False
        self._stopping = asyncio.Event()

    # -- what others see and ask ------------------------------------------------------------------

    @property
    def syncing(self) -> bool:
        """Whether a full sync runs, or is asked for and waits for its connection."""
        return self._runner.busy

    @property
    def confirmed_at(self) -> datetime | None:
        """Every change committed at the source before this moment is in the mirror."""
        return self._freshness.confirmed_at

    @property
    def trouble(self) -> str | None:
        """One line when somebody should look, else `None`."""
        if self._parked:
            return f"{self.name}: disconnected, and AUTO_SYNC_ON_INFORMER_FAILURE is false: trigger a sync"
        if self._informer_error is not None:
            return f"{self.name}: {self._informer_error}"
        if self._keeper.state.status is SyncStatus.FAILED:
            return f"{self.name}: the last full sync failed: {self._keeper.state.error}"
        return None

    def status(self) -> ResourceStatus:
        """Everything that is known now, from memory."""
        now = utc_now()
        state = self._keeper.state
        progress = self._runner.progress
        return ResourceStatus(
            name=self.name,
            state=replace(
                state, error=state.error or self._informer_error, informer_reconnect_count=self._ladder.failures
            ),
            ready=self.ready,
            is_stale=is_stale(state, now, self.options.data_stale_threshold_seconds),
            age_seconds=age_seconds(state, now),
            in_sync=self._in_sync(),
            confirmed_at=self._freshness.confirmed_at,
            gap_since=self._freshness.gap_since,
            decision=self.decision,
            informer_state=self._informer,
            informer_since=self._informer_since,
            last_event_time=None if self._last_event is None else datetime.fromtimestamp(self._last_event, UTC),
            pending=len(self._dirty),
            progress=replace(progress) if progress is not None else None,
            last_result=self._runner.last_result,
        )

    def _in_sync(self) -> bool:
        """No doubt at all: an overdue proof is a doubt."""
        patience = 2 * self.options.confirm_interval_seconds + 0.5
        return (
            self._keeper.state.status is SyncStatus.COMPLETED
            and self._informer is InformerState.WATCHING
            and self._freshness.gap_since is None
            and not len(self._dirty)
            and not self._dirty.overflowed
            and time.monotonic() - self._last_proof <= patience
        )

    def request_sync(self) -> asyncio.Future[SyncResult]:
        """Asks for a full sync, or joins the one that runs. The future never gets an exception."""
        future = self._runner.join()
        if self._stopping.is_set():
            self._runner.refuse(Stopping("the service is stopping"))
        self._wake.set()
        return future

    async def plan(self) -> Decision:
        """What start-up would decide now. Reads the state, counts the mirror. Raises `SinkError`."""
        state = await self._keeper.load()
        return decide(
            self.options.mode,
            state,
            mirror_count=await self.sink.count(),
            config_fingerprint=self.options.config_fingerprint,
            now=utc_now(),
            threshold_seconds=self.options.data_stale_threshold_seconds,
        )

    async def sync_once(self) -> SyncResult:
        """One full sync without an informer, for the command line. Raises nothing but bugs."""
        future = self._runner.join()
        try:
            await self._keeper.load()
            await self.source.connect()
            await self._full_sync()
        except HybridSyncError as error:
            self._runner.refuse(error)
        return await future

    # -- decide -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follows the source until `stop`. Raises only what nobody foresaw; then call it again."""
        if self._was_watching and self._owed is None:
            self._owed = Trigger.RECONNECT  # this task crashed before: what it missed meanwhile is a gap
        await self._decide()
        self._schedule_periodic()
        while not self._stopping.is_set():
            try:
                self._set_informer(InformerState.CONNECTING)
                await self._connect()
                if not self._stopping.is_set():
                    await self._follow()
            except SourceError as error:
                await self._lost(error)

    async def _decide(self) -> None:
        """Decides once the sink answers, however long that takes."""
        backoff = Backoff(*self.options.reconnect_backoff)
        while self.decision is None and not self._stopping.is_set():
            try:
                self.decision = await self.plan()
            except SinkError as error:
                self._informer_error = describe(error)
                self._log.warning("cannot decide yet", error=describe(error))
                await self._pause(backoff.next_delay())
            else:
                self._informer_error = None
                self._begin(self.decision)

    def _begin(self, decision: Decision) -> None:
        state = self._keeper.state
        known = state.confirmed_at or state.last_sync_time
        self._freshness = Freshness(min(known, utc_now()) if known else utc_now())
        if decision.action is Action.SYNC:
            self._owed = Trigger.STARTUP
        else:
            self._owed = Trigger.CATCH_UP if decision.reason is Reason.FRESH else None
            self.ready = True
        self._log.info(
            "decided", mode=decision.mode, action=decision.action, reason=decision.reason, detail=decision.detail
        )

    # -- connect, watch, work ---------------------------------------------------------------------

    async def _connect(self) -> None:
        """Returns when connected or when stopping."""
        connecting = asyncio.create_task(self.source.connect())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                connecting.result()
        except SourceError as error:
            if not isinstance(error, PositionExpired):
                self._runner.refuse(error)
            raise
        finally:
            connecting.cancel()
            stopping.cancel()
            await asyncio.wait({connecting, stopping})

    async def _follow(self) -> None:
        """Watches until the connection is lost or the service stops."""
        async with self.source.watch(self._dirty) as watch:
            watch.lost.add_done_callback(lambda _: self._wake.set())
            prover = asyncio.create_task(self._prove(watch), name=f"prover of {self.name}")
            prover.add_done_callback(lambda _: self._wake.set())
            self._was_watching = True
            self._informer_error = None
            self._ladder.watching(time.monotonic())
            self._set_informer(InformerState.WATCHING)
            try:
                await self._work(watch, prover)
            finally:
                self._freshness.open_gap(utc_now())
                prover.cancel()
                await asyncio.wait({prover})

    async def _work(self, watch: Watch, prover: asyncio.Task[None]) -> None:
        while True:
            self._wake.clear()
            if watch.lost.done():
                watch.lost.result()
            if prover.done():
                prover.result()  # ends by itself only when the watch is lost, or with a bug to be seen
            if self._stopping.is_set():
                await self._flush()
                return
            if self._dirty.overflowed:
                self._overflowed()
            if self._sync_is_due():
                await self._full_sync()
            elif self._dirty.waiting:
                await self._apply_dirty()
            else:
                await self._idle()

    async def _prove(self, watch: Watch) -> None:
        """Asks the source again and again for proof that nothing was missed."""
        while True:
            asked = utc_now()
            try:
                await watch.probe()
            except SourceError:
                await asyncio.wait({watch.lost})
                return
            self._last_proof = time.monotonic()
            self._freshness.answered(asked, self._dirty.marker())
            self._freshness.settle(self._dirty)
            await asyncio.sleep(self.options.confirm_interval_seconds)

    def _on_event(self) -> None:
        self._last_event = time.time()
        self.counters.events += 1
        self._wake.set()

    def _overflowed(self) -> None:
        self._log.warning("too many changes are pending: a full sync replaces them", limit=self.options.dirty_limit)
        self._freshness.open_gap(utc_now())
        self._dirty.clear()
        self._owed = self._owed or Trigger.RECONNECT

    async def _apply_dirty(self) -> None:
        """Reads one batch of dirty keys and writes what is there now."""
        keys = self._dirty.take(APPLY_KEYS)
        try:
            changes = await self.source.read(keys)
            applied = await self.sink.apply(changes)
        except BaseException as error:
            self._dirty.give_back()
            if not isinstance(error, HybridSyncError) or isinstance(error, SourceDisconnected | PositionExpired):
                raise
            self._informer_error = describe(error)
            self._log.warning("changes wait", pending=len(self._dirty), error=describe(error))
            await self._pause(self._retry.next_delay())
            return
        self._dirty.acknowledge()
        self._retry.reset()
        self._informer_error = None
        self._freshness.settle(self._dirty)
        self.counters.count_changes(applied)
        for key, reason in applied.failed.items():
            self._log.error("a document could not be stored", key=key, reason=reason)
        self._report_propagation(changes)

    def _report_propagation(self, changes: Sequence[Change]) -> None:
        now = time.time()
        for change in changes:
            committed = self._committed_at(change.record) if isinstance(change, Put) else None
            if committed is not None:
                for listener in self.on_propagation:
                    listener(max(0.0, now - committed))

    async def _flush(self) -> None:
        """Writes what is still pending, as far as the time for it reaches."""
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                while self._dirty.waiting:
                    await self._apply_dirty()
        except (TimeoutError, SourceError):
            self._log.warning("stopped with changes pending; the next start makes them good", pending=len(self._dirty))

    # -- full sync --------------------------------------------------------------------------------

    def _sync_is_due(self) -> bool:
        now = time.monotonic()
        if now >= self._periodic_at:
            self._schedule_periodic()
            self._owed = self._owed or Trigger.PERIODIC
        return self._runner.wanted or (self._owed is not None and now >= self._retry_at)

    def _schedule_periodic(self) -> None:
        hours = self.options.periodic_sync_interval_hours
        if hours > 0:
            self._periodic_at = time.monotonic() + hours * 3600 * random.uniform(0.9, 1.1)

    async def _full_sync(self) -> None:
        """Runs one full sync and draws the consequences. Raises what ends the watch, and bugs."""
        trigger = self._owed or Trigger.MANUAL
        before, listed_from = self._informer, utc_now()
        self._set_informer(InformerState.RESYNCING)
        try:
            result, error = await self._runner.run(trigger, listed_from)
        finally:
            self._set_informer(before)
        if error is None:
            self.ready = True
            self._owed = None
            self._retry.reset()
            self._last_proof = time.monotonic()
            self._freshness.close_gap(listed_from)
            if trigger is Trigger.MAX_RECONNECTS:
                self._ladder.reset()
        else:
            self._owed = trigger
            self._retry_at = time.monotonic() + self._retry.next_delay()
        for listener in self.on_sync:
            listener(result)
        if isinstance(error, SourceDisconnected | PositionExpired):
            raise error
        if error is not None and not isinstance(error, HybridSyncError):
            raise error

    # -- recovery ---------------------------------------------------------------------------------

    async def _lost(self, error: SourceError) -> None:
        """Climbs the recovery ladder: says what is lost, which full sync is owed, and waits its turn."""
        self._freshness.open_gap(utc_now())
        self._dirty.clear()
        self._set_informer(InformerState.DISCONNECTED)
        self._informer_error = describe(error)
        if self._stopping.is_set():
            return
        self.counters.gaps += 1
        if isinstance(error, PositionExpired):
            self.counters.expiries += 1
            delay, owed = 0.0, Trigger.EXPIRED
        else:
            self.counters.reconnects += 1
            delay, owed = self._ladder.disconnected(time.monotonic()), self._ladder.trigger()
            self._keeper.save_soon(informer_reconnect_count=self._ladder.failures)
        needs_consent = owed is not Trigger.RECONNECT
        if self._owed in (None, Trigger.RECONNECT) and (self._was_watching or needs_consent):
            self._owed = owed
        self._retry_at = 0.0
        self._log.warning(
            "watch lost" if self._was_watching else "cannot connect",
            error=describe(error),
            gap_since=str(self._freshness.gap_since),
            failures=self._ladder.failures,
            next_try_seconds=round(delay, 2),
        )
        if needs_consent and not self.options.auto_sync_on_informer_failure:
            await self._park(owed)
        else:
            await self._pause(delay)

    async def _park(self, owed: Trigger) -> None:
        """Waits for a person: AUTO_SYNC_ON_INFORMER_FAILURE is false."""
        self._parked = True
        self._log.error(
            "disconnected for good, because AUTO_SYNC_ON_INFORMER_FAILURE is false",
            reason=owed,
            action=f'POST /health/sync/trigger {{"resources": ["{self.name}"]}} syncs and watches again',
        )
        while not self._runner.wanted and not self._stopping.is_set():
            self._wake.clear()
            await self._wake.wait()
        self._parked = False
        self._owed = Trigger.MANUAL
        self._ladder.reset()

    # -- stop -------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Makes `run` end in good order: a running full sync is cut off, pending changes are flushed."""
        self._stopping.set()
        self._runner.cancel()
        self._runner.refuse(Stopping("the service is stopping"))
        self._wake.set()

    async def close(self) -> None:
        """Remembers what was proven and lets go of the source. Never raises; bounded."""
        self.stop()
        if self._keeper.state.status is SyncStatus.COMPLETED and self._freshness.confirmed_at is not None:
            self._keeper.save_soon(confirmed_at=self._freshness.confirmed_at)
        await self._keeper.close(1.0)
        self._set_informer(InformerState.STOPPED)
        await self.source.close()

    # -- waiting ----------------------------------------------------------------------------------

    def _set_informer(self, state: InformerState) -> None:
        if state is not self._informer:
            self._informer = state
            self._informer_since = utc_now()

    async def _idle(self) -> None:
        """Sleeps until something happens or a full sync falls due."""
        due = min(self._periodic_at, self._retry_at if self._owed is not None else NEVER)
        timeout = None if due == NEVER else max(0.0, due - time.monotonic())
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _pause(self, seconds: float) -> None:
        """Sleeps `seconds`, or until the service stops."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass
