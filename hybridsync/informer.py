"""The running list-then-watch of one resource: connect, watch, sync, apply, come back after every loss.

    connect ─→ watch armed ─→ full sync if one is owed ─→ write dirty keys … ─→ lost
       ↑                                                                          │
       └───── back-off, gap open, a full sync owed (recovery ladder) ─────────────┘

Why it is so is in docs/architecture.md: watch first, then list; a gap is a resync.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress

import structlog

from hybridsync.clock import Instant
from hybridsync.dirty import DirtySet
from hybridsync.dirty_writer import DirtyWriter
from hybridsync.errors import (
    HybridSyncError,
    PositionExpired,
    SinkError,
    SinkUnavailable,
    SourceDisconnected,
    SourceError,
    describe,
)
from hybridsync.freshness import Freshness
from hybridsync.options import ResourceOptions
from hybridsync.owed_sync import OwedSync
from hybridsync.proofs import Proofs
from hybridsync.recovery import Backoff, ExpiryPace, RecoveryLadder, spread
from hybridsync.sources.base import Source, Watch
from hybridsync.state_keeper import StateKeeper
from hybridsync.status import Counters, InformerState, Trigger
from hybridsync.sync_runner import SyncRunner

FLUSH_SECONDS = 3.0


class Informer:
    """Follows one source until `stop`. All methods on the event loop's thread.

    `synced` turns true with the first full sync that succeeds. `error`: one line while something is
    wrong with following. `parked`: waits for a person, because `auto_sync_on_informer_failure` is off.
    """

    def __init__(
        self,
        source: Source,
        dirty: DirtySet,
        writer: DirtyWriter,
        runner: SyncRunner,
        keeper: StateKeeper,
        options: ResourceOptions,
        counters: Counters,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.state = InformerState.STOPPED
        self.since = Instant.now()
        self.error: str | None = None
        self.parked = False
        self.synced = False
        self.proofs = Proofs(dirty, keeper, writer.refused, options.confirm_interval_seconds)
        self.owed = OwedSync(
            options.periodic_sync_interval_hours,
            Backoff(*options.failed_sync_backoff),
            Backoff(*options.reconnect_backoff),
        )
        self.ladder = RecoveryLadder(options.informer_max_reconnects, Backoff(*options.reconnect_backoff))
        self.stopping = asyncio.Event()
        self.reread: Callable[[Sequence[str]], None] = lambda _: None
        """Has keys read and written again; see `Resource.reread`."""
        self.on_resumed: Callable[[], None] = lambda: None
        """Told when a watch goes on where one before it was."""
        self._source = source
        self._dirty = dirty
        self._writer = writer
        writer.on_written = self._on_written
        writer.before_write = self._note_removal
        self._runner = runner
        runner.on_failed = writer.synced
        self._keeper = keeper
        self._options = options
        self._counters = counters
        self._log = log
        self._write_retry = Backoff(*options.reconnect_backoff)
        self._expiries = ExpiryPace(Backoff(*options.reconnect_backoff))
        self._wake = asyncio.Event()
        self._was_watching = False
        self._expired = False
        self._watch: Watch | None = None
        self._not_before = 0.0
        self._away_since: float | None = None
        self._told_before = 0
        self._failed_in_sync = False
        self._removal_saved = False
        self.proofs.on_failure = self._tell_no_proof

    @property
    def freshness(self) -> Freshness:
        """What may be claimed now."""
        return self.proofs.freshness

    def wake(self) -> None:
        """Says that there is something new to look at."""
        self._wake.set()

    @property
    def in_sync(self) -> bool:
        """Watching, no gap, nothing pending; and no doubt: a proof that failed or is overdue is one."""
        return (
            self.state is InformerState.WATCHING
            and self.proofs.failure is None
            and self.freshness.gap_since is None
            and not len(self._dirty)
            and not self._dirty.overflowed
            and not self.proofs.overdue(self._source.proof_seconds)
        )

    def set_state(self, state: InformerState) -> None:
        """Moves to `state`, now."""
        if state is not self.state:
            self.state = state
            self.since = Instant.now()

    def stop(self) -> None:
        """Makes `run` end in good order: what is pending is flushed first."""
        self.stopping.set()
        self._wake.set()

    # -- connect, watch, work ---------------------------------------------------------------------

    async def run(self) -> None:
        """Follows the source until `stop`. Raises only what nobody foresaw; then call it again."""
        if self._was_watching:
            self.owed.owe(Trigger.RECONNECT)  # this task crashed before: what it missed meanwhile is a gap
        self.owed.schedule(time.monotonic())
        while not self.stopping.is_set():
            try:
                if time.monotonic() >= self._not_before:
                    self.set_state(InformerState.CONNECTING)
                await self._connect()
                if not self.stopping.is_set():
                    await self._follow()
            except SourceError as error:
                await self._lost(error)
            except Exception:
                self.set_state(InformerState.DISCONNECTED)  # what nobody foresaw ends the watch as well
                raise

    async def _connect(self) -> None:
        """Returns when connected and the back-off is over, or when stopping.

        The back-off runs beside the connecting, and the end of a session ends it: that calls for a
        full sync at once.
        """
        not_before, self._not_before = self._not_before, 0.0
        try:
            await self._connected()
        except SourceError as error:
            if not isinstance(error, PositionExpired):
                await self._pause(not_before - time.monotonic())
            raise
        self._spread_resync(time.monotonic())
        await self._pause(not_before - time.monotonic())

    def _spread_resync(self, now: float) -> None:
        """Connected again: the first full sync is not put off, and changes flow meanwhile."""
        if self._away_since is not None and self.synced:
            self.owed.put_off(now + spread(now - self._away_since))
        self._away_since = None

    async def _connected(self) -> None:
        connecting = asyncio.create_task(self._source.connect())
        stopping = asyncio.create_task(self.stopping.wait())
        try:
            with self._runner.refusing():
                await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if connecting.done():
                    connecting.result()
        finally:
            connecting.cancel()
            stopping.cancel()
            await asyncio.wait({connecting, stopping})

    async def _follow(self) -> None:
        """Watches until the connection is lost or the service stops."""
        async with AsyncExitStack() as armed:
            with self._runner.refusing():
                watch = await armed.enter_async_context(self._source.watch(self._dirty, self._resume_from()))
            self._told_before = self._counters.events
            watch.lost.add_done_callback(lambda _: self._on_lost())
            self._watch = watch
            if watch.resumed:
                self._resumed()
            prover = asyncio.create_task(self.proofs.ask(watch))
            prover.add_done_callback(lambda _: self._wake.set())
            self._was_watching = True
            self._expired = False
            self.error = None
            self.ladder.watching(time.monotonic())
            self.set_state(InformerState.WATCHING)
            try:
                await self._work(watch, prover)
            finally:
                self.freshness.open_gap(Instant.now())
                self._watch = None
                prover.cancel()
                await self._writer.abandon()
                await asyncio.wait({prover})

    def _resume_from(self) -> str | None:
        """Where the watch may go on; not where another server was."""
        position, of, place = self.freshness.position, self.proofs.place, self._source.place
        self.proofs.place = place
        if position is not None and of != place:
            self._log.warning("nothing is resumed: the position is that of another server", was=of, now=place)
            self.freshness.position = position = None
        return position

    def _resumed(self) -> None:
        """Nothing was missed: no full sync is owed for the gap, if the mirror was whole before it."""
        self.freshness.resumed()
        self.on_resumed()
        if self._keeper.completed:
            self.owed.forgive(Trigger.CATCH_UP, Trigger.RECONNECT)
        self._log.info("the watch goes on where it was", position=self.freshness.position)

    def _on_lost(self) -> None:
        """Says at once what is lost, whatever the informer is busy with."""
        if not self.stopping.is_set():
            self.freshness.open_gap(Instant.now())
            self.set_state(InformerState.DISCONNECTED)
        self._wake.set()

    async def _work(self, watch: Watch, prover: asyncio.Task[None]) -> None:
        while True:
            self._wake.clear()
            if watch.lost.done():
                watch.lost.result()
            if prover.done():
                prover.result()  # ends by itself only when the watch is lost, or with a bug to be seen
            if self.stopping.is_set():
                await self._writer.flush(FLUSH_SECONDS)
                return
            if self._dirty.overflowed:
                self._start_over(self._dirty.reason)
            elif self._runner.sink_lost and self.owed.trigger is None:
                self._start_over("what was written may be gone")
                self.freshness.withdraw(Instant.now())
            if time.monotonic() >= self._writer.refused.next_due:
                self.reread(self._writer.refused.due(time.monotonic()))
            if self._runner.wanted or self.owed.is_due(time.monotonic()):
                await self.full_sync()
            elif self._dirty.waiting:
                await self._write_some()
            else:
                await self._idle()

    async def _idle(self) -> None:
        """Sleeps until something happens or falls due; not long, as nobody wakes it when the sink is emptied."""
        due = min(self.owed.next_due(), self._writer.refused.next_due) - time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(1.0, max(0.0, due))):
                await self._wake.wait()

    async def _write_some(self) -> None:
        """One batch of changes; what does not work now is tried again, with the keys still dirty."""
        try:
            await self._writer.write_some()
        except (SourceDisconnected, PositionExpired):
            raise
        except HybridSyncError as error:
            self.error = describe(error)
            self._log.warning("changes wait", pending=len(self._dirty), error=self.error)
            await self._pause(self._write_retry.next_delay())

    async def _note_removal(self) -> None:
        """That the root is gone is remembered before anything is removed for it. Raises `SinkError`."""
        if self._source.removal_seen != self._removal_saved:
            seen = self._source.removal_seen
            await self._keeper.save(removal_seen=seen)
            self._removal_saved = seen

    def _tell_no_proof(self, reason: str) -> None:
        self._log.warning("the source gives no proof, it is asked again", error=reason)

    def _on_written(self) -> None:
        self._write_retry.reset()
        self.error = None
        self.proofs.written()
        self._wake.set()  # what was refused falls due some time

    def _start_over(self, why: str) -> None:
        self._log.warning(f"{why}: a full sync makes it good", pending=len(self._dirty))
        self.freshness.open_gap(Instant.now())
        self.freshness.position = None  # no event that is replayed would tell of it
        self._dirty.clear()
        self.owed.owe(Trigger.RECONNECT)

    async def full_sync(self) -> None:
        """Runs one full sync and draws the consequences. Raises what ends the watch, and bugs."""
        trigger = self.owed.trigger or Trigger.MANUAL
        with suppress(SinkError):  # its keys are dirty as before, and the sync writes them, too
            await self._writer.drain()
        before, listed_from = self.state, Instant.now()
        self.set_state(InformerState.RESYNCING)
        try:
            resumable = self._watch is not None and self._watch.position is not None
            error = await self._runner.run(trigger, listed_from, resumable=resumable)
        finally:
            if self.state is InformerState.RESYNCING:  # and not lost meanwhile
                self.set_state(before)
        if error is None:
            self.synced = True
            self.owed.succeeded()
            self.proofs.sync_succeeded(listed_from)
            if self.ladder.exhausted:
                self.ladder.reset()
            return
        self.owed.failed(trigger, time.monotonic(), soon=isinstance(error, SinkUnavailable))
        self._failed_in_sync = isinstance(error, SourceDisconnected)
        if isinstance(error, SourceDisconnected | PositionExpired) or not isinstance(error, HybridSyncError):
            raise error

    # -- recovery ---------------------------------------------------------------------------------

    async def _lost(self, error: SourceError) -> None:
        """Climbs the recovery ladder: says what is lost, which full sync is owed, and waits its turn."""
        self.freshness.open_gap(Instant.now())
        if self._dirty.overflowed:
            self.freshness.position = None  # something changed that a watch which resumes would not tell
        self._dirty.clear()
        self.set_state(InformerState.DISCONNECTED)
        delivered, self._told_before = self._counters.events > self._told_before, self._counters.events
        failed_in_sync, self._failed_in_sync = self._failed_in_sync, False
        self._away_since = self._away_since or time.monotonic()
        self.error = describe(error)
        if self.stopping.is_set():
            return
        if expired := isinstance(error, PositionExpired):
            self._not_before = time.monotonic() + (delay := self._expiries.delay(time.monotonic()))
            if delay:
                self._runner.refuse(error)
            position, self.freshness.position = self.freshness.position, None
            if self._expired:
                return  # the end of one session was told by the watch, and again by the connection
            if position is not None and not self._was_watching:  # start-up hoped to go on; the catch-up does without
                self._log.info("too old to go on from: a full sync will catch up", reason=self.error)
                return
        self._counters.gaps += 1
        if expired:
            self._expired = True
            self._counters.expiries += 1
            owed = Trigger.EXPIRED
        else:
            self._counters.reconnects += 1
            delay, owed = self.ladder.disconnected(time.monotonic(), delivered=delivered), self.ladder.trigger()
            self._not_before = time.monotonic() + delay
            self._keeper.save_soon(informer_reconnect_count=self.ladder.failures)
        needs_consent = owed is not Trigger.RECONNECT
        if self._was_watching or needs_consent:
            self.owed.owe(owed, instead_of=(Trigger.RECONNECT,), at_once=not failed_in_sync)
        self._log.warning(
            "watch lost" if self._was_watching else "cannot connect",
            error=self.error,
            gap_since=str(self.freshness.gap_since and self.freshness.gap_since.shown),
            failures=self.ladder.failures,
            next_try_seconds=round(delay, 2),
        )
        if needs_consent and not self._options.auto_sync_on_informer_failure:
            await self._park(owed)

    async def _park(self, owed: Trigger) -> None:
        """Waits for a person to trigger a sync."""
        self.parked = True
        self._log.error(
            "disconnected for good, because AUTO_SYNC_ON_INFORMER_FAILURE is false",
            reason=str(owed),
            action="POST /health/sync/trigger syncs and watches again",
        )
        while not self._runner.wanted and not self.stopping.is_set():
            self._wake.clear()
            await self._wake.wait()
        self.parked = False
        self.owed.owe(Trigger.MANUAL, instead_of=(owed,))
        self.ladder.reset()

    async def _pause(self, seconds: float) -> None:
        """Sleeps `seconds`, or until the service stops or somebody asks for a full sync."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._runner.wanted and not self.stopping.is_set():
                    self._wake.clear()
                    await self._wake.wait()
