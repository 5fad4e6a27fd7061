"""One resource as the manager sees it: decide, follow, show, trigger, stop.

Puts the parts of the engine together: the state that is remembered, the runner of full syncs, the set
of dirty keys with its writer, and the informer that drives them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

import structlog

from hybridsync.clock import Instant, utc_now
from hybridsync.decision import Action, Decision, Reason, age_seconds, decide
from hybridsync.dirty import DirtySet
from hybridsync.dirty_writer import DirtyWriter
from hybridsync.errors import HybridSyncError, SinkError, Stopping, describe
from hybridsync.exceptions import ExceptionKind, Exceptions
from hybridsync.freshness import Freshness
from hybridsync.informer import Informer
from hybridsync.model import Listing, Record
from hybridsync.options import ResourceOptions
from hybridsync.preview import Preview, preview
from hybridsync.recovery import Backoff
from hybridsync.sinks.base import Sink
from hybridsync.sources.base import Source
from hybridsync.state import StateStore, SyncStatus
from hybridsync.state_keeper import StateKeeper
from hybridsync.status import Counters, InformerState, ResourceStatus, SyncResult, Trigger, VerifyOutcome
from hybridsync.sync_runner import SyncRunner


class Resource:
    """One source-sink pair. All methods on the event loop's thread.

    `committed_at` tells when a record was committed at its source, in seconds since the epoch.
    `decision` is `None` until the sink answered for the first time.
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
        self.last_verify: VerifyOutcome | None = None
        self.owes_comparison = False
        """Whether it went on where a process before this one was, and nothing was compared since."""
        self._log = structlog.get_logger("hybridsync").bind(resource=name)
        self._keeper = StateKeeper(name, store)
        self._runner = SyncRunner(source, sink, self._keeper, options, self.counters, self._log)
        self._dirty = DirtySet(options.dirty_limit, self._on_event)
        self._committed_at = committed_at
        self._reread: frozenset[str] = frozenset()
        self._writer = DirtyWriter(self._dirty, source, sink, self.counters, self._log, self._propagated_since)
        self._informer = Informer(
            source, self._dirty, self._writer, self._runner, self._keeper, options, self.counters, self._log
        )
        self._informer.reread = self.reread
        self._last_event: Instant | None = None
        self.exceptions = Exceptions(
            lambda: source.unreadable, lambda: self._writer.refused.reasons, lambda: source.invalid
        )

    # -- show -------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the mirror may be served: a full sync succeeded, or start-up need not wait for one."""
        served = self.decision is not None and not self.decision.blocking
        return (served or self._informer.synced) and not self._runner.remaking

    @property
    def syncing(self) -> bool:
        """Whether a full sync runs, or is asked for and waits for its connection."""
        return self._runner.busy

    @property
    def confirmed(self) -> Instant | None:
        """Every change committed at the source before this moment is in the mirror."""
        return self._informer.freshness.confirmed

    @property
    def error(self) -> str | None:
        """What is wrong with following the source now, in one line."""
        return self._away or self._informer.error or self._informer.proofs.failure

    @property
    def _away(self) -> str | None:
        """Why one of the two servers cannot be reached now."""
        return self.source.trouble or self.sink.trouble

    @property
    def trouble(self) -> str | None:
        """One line when somebody should look, else `None`."""
        if self._informer.parked:
            return f"{self.name}: disconnected, and AUTO_SYNC_ON_INFORMER_FAILURE is false: trigger a sync"
        if (error := self.error) is not None:
            return f"{self.name}: {error}"
        if self._keeper.state.status is SyncStatus.FAILED:
            return f"{self.name}: the last full sync failed: {self._keeper.state.error}"
        if self.last_verify is not None and self.last_verify.left:
            return f"{self.name}: {self.last_verify.left} records differ from the source"
        if excepted := [kind for kind in (ExceptionKind.REFUSED, ExceptionKind.UNREADABLE) if self._count(kind)]:
            (first,) = self.exceptions.first(1, *excepted)
            counts = " and ".join(f"{self._count(kind)} {kind}" for kind in excepted)
            return f"{self.name}: {counts}, such as {first.key}: {first.why}"
        return None

    def _count(self, kind: ExceptionKind) -> int:
        return self.exceptions.count(kind)

    def status(self) -> ResourceStatus:
        """Everything that is known now, from memory."""
        state, informer, progress = self._keeper.state, self._informer, self._runner.progress
        now = Instant.now()
        age = age_seconds(state, now.wall)
        if age is not None and self._runner.completed_at is not None:
            age = max(age, self._runner.completed_at.age_seconds)  # whatever the wall clock did since
        return ResourceStatus(
            name=self.name,
            state=replace(state, error=state.error or self.error, informer_reconnect_count=informer.ladder.failures),
            ready=self.ready,
            is_stale=age is None or age > self.options.data_stale_threshold_seconds,
            age_seconds=age,
            in_sync=self.in_sync,
            confirmed_at=_shown(informer.freshness.confirmed, now),
            gap_since=_shown(informer.freshness.gap_since, now),
            decision=self.decision,
            informer_state=informer.state,
            informer_since=informer.since.shown_at(now),
            last_event_time=_shown(self._last_event, now),
            pending=len(self._dirty),
            progress=replace(progress) if progress is not None else None,
            last_result=self._runner.last_result,
            exceptions=self.exceptions,
            last_verify=self.last_verify,
        )

    @property
    def in_sync(self) -> bool:
        """Whether source and mirror are equal as far as anybody can know, with no exception."""
        excepted = self._count(ExceptionKind.REFUSED) or self._count(ExceptionKind.UNREADABLE)
        return self._keeper.completed and self._informer.in_sync and not excepted and not self._away

    @property
    def on_sync(self) -> list[Callable[[SyncResult], None]]:
        """Listeners for the result of each full sync."""
        return self._runner.on_result

    @property
    def on_propagation(self) -> list[Callable[[float], None]]:
        """Listeners for the seconds from a record's commit to its acknowledgement."""
        return self._writer.on_propagation

    def _on_event(self) -> None:
        self._last_event = Instant.now()
        self.counters.events += 1
        self._informer.wake()

    # -- decide and follow ------------------------------------------------------------------------

    async def plan(self) -> Decision:
        """What start-up would decide now. Reads the state, counts the mirror. Raises `SinkError`."""
        state = await self._keeper.load()
        return decide(
            self.options.mode,
            state,
            mirror_count=await self.sink.count(),
            mirror=await self.sink.identity(),
            config_fingerprint=self.options.config_fingerprint,
            now=utc_now(),
            threshold_seconds=self.options.data_stale_threshold_seconds,
        )

    async def preview(self) -> Preview:
        """What a full sync would do now; an error of source or sink is in it. Writes nothing."""
        try:
            return await preview(self.source, self.sink, self._runner.rules(self._keeper.state))
        except HybridSyncError as error:
            return Preview(error=describe(error))

    async def run(self) -> None:
        """Decides and follows until `stop`. Raises only what nobody foresaw; then call it again."""
        self._informer.set_state(InformerState.CONNECTING)
        await self._decide()
        await self._informer.run()

    async def _decide(self) -> None:
        """Decides once the sink answers, however long that takes."""
        backoff = Backoff(*self.options.reconnect_backoff)
        while self.decision is None and not self._informer.stopping.is_set():
            try:
                decision = await self.plan()
            except SinkError as error:
                self._informer.error = describe(error)
                self._runner.refuse(error)
                self._log.warning("cannot decide yet", error=describe(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(backoff.next_delay()):
                        await self._informer.stopping.wait()
            else:
                self._begin(decision)

    def _begin(self, decision: Decision) -> None:
        state = self._keeper.state
        known = state.confirmed_at or state.last_sync_time
        self._informer.proofs.freshness = Freshness(Instant.at(known) if known else Instant.now())
        self._informer.error = None
        if decision.action is Action.SYNC:
            self._informer.owed.owe(Trigger.STARTUP if decision.blocking else Trigger.CATCH_UP)
        elif decision.reason is Reason.FRESH:
            self._informer.owed.owe(Trigger.CATCH_UP)
            self._informer.freshness.position, self._informer.proofs.place = state.resume_from, state.place
            self._informer.on_resumed = self._owe_comparison
        self.decision = decision
        self._log.info(
            "decided",
            mode=str(decision.mode),
            action=str(decision.action),
            reason=str(decision.reason),
            blocking=decision.blocking,
            detail=decision.detail,
        )

    def _owe_comparison(self) -> None:
        """What was put back from a backup while nobody watched is in no event. Later on, somebody watched."""
        self._informer.on_resumed = lambda: None
        self.owes_comparison = self.source.outline(Listing()) is not None

    def request_sync(self, *, allow_sweep: bool = False) -> asyncio.Future[SyncResult]:
        """Asks for a full sync, or joins the one that runs; see `SyncRunner.join`. The future gets no exception."""
        future = self._runner.join(allow_sweep=allow_sweep)
        if self._informer.stopping.is_set():
            self._runner.refuse(Stopping("the service is stopping"))
        self._informer.wake()
        return future

    async def sync_once(self) -> SyncResult:
        """One full sync without following, for the command line. Raises nothing but bugs."""
        future = self._runner.join()
        try:
            await self._keeper.load()
            await self.source.connect()
            await self._informer.full_sync()
        except HybridSyncError as error:
            self._runner.refuse(error)
        return await future

    # -- verify -----------------------------------------------------------------------------------

    @property
    def never_synced(self) -> bool:
        """Whether there is nothing to compare, and nothing will be before a person asks for a sync."""
        chosen = self.decision is not None and self.decision.reason is Reason.NEVER
        return chosen and self._keeper.state.last_sync_time is None

    @property
    def incomparable(self) -> str | None:
        """Why the mirror cannot be held against its source now, in one line; `None` when it can."""
        informer, gap = self._informer, self._informer.freshness.gap_since
        if informer.stopping.is_set():
            return "the service is stopping"
        if self.syncing:
            return "a full sync comes first"
        if informer.state is not InformerState.WATCHING or informer.error is not None:
            return informer.error or "the source is not watched"
        if self._keeper.state.status is SyncStatus.FAILED:
            return f"the last full sync failed: {self._keeper.state.error}"
        if informer.owed.trigger is not None:
            return "a full sync comes first"
        if gap is not None or self._keeper.state.status is not SyncStatus.COMPLETED:
            return f"changes may be missing since {gap.shown if gap else 'the start'}: a full sync is needed"
        return None

    def reread(self, keys: Sequence[str]) -> None:
        """Has these keys read and written again, in order with the watch, as if they had changed.

        They do not count as events, nor do they tell anything about propagation.
        """
        events, last_event, self._reread = self.counters.events, self._last_event, frozenset(keys)
        for key in keys:
            self._dirty.mark(key)
        self.counters.events, self._last_event = events, last_event

    def _propagated_since(self, record: Record) -> float | None:
        return None if record.key in self._reread else self._committed_at(record)

    def owe_sync(self, trigger: Trigger) -> asyncio.Future[SyncResult]:
        """Like `request_sync`, with a name; it stays owed until it succeeds."""
        self._informer.owed.owe(trigger)
        return self.request_sync()

    # -- stop -------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Makes `run` end in good order: a running full sync is cut off, pending changes are flushed."""
        self._informer.stop()
        self._runner.cancel()
        self._runner.refuse(Stopping("the service is stopping"))

    async def close(self) -> None:
        """Remembers what was proven and lets go of source and sink. Never raises; bounded."""
        self.stop()
        if self._keeper.completed and self.confirmed is not None:
            self._keeper.save_soon(**self._informer.proofs.reached())
        await self._keeper.close(1.0)
        self._informer.set_state(InformerState.STOPPED)
        await asyncio.gather(self.source.close(), self.sink.close())


def _shown(moment: Instant | None, now: Instant) -> datetime | None:
    return None if moment is None else moment.shown_at(now)
