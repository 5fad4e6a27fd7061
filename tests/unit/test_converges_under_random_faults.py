"""Random changes, lost events, gaps, failures and restarts: afterwards the mirror equals the source.

At every moment on the way: no sweep after an incomplete listing, and no claim that is not so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from datetime import datetime
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hybridsync.decision import Mode
from hybridsync.options import ResourceOptions
from hybridsync.resource import Resource
from hybridsync.state import SyncStatus
from hybridsync.status import InformerState, utc_now
from hybridsync.testing import MemorySink, MemorySource, MemoryStore

KEYS = st.sampled_from(["a", "b", "c", "d", "d/x", "d/y", "e", "f"])
VALUES = st.binary(max_size=3)


class OneResource(RuleBasedStateMachine):
    """One resource on twins, driven by random events."""

    @initialize(mode=st.sampled_from(list(Mode)), auto=st.booleans(), limit=st.sampled_from([2, 200]))
    def start(self, mode: Mode, auto: bool, limit: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.source, self.sink, self.store = MemorySource(), MemorySink(), MemoryStore()
        self.sink.on_sweep = self.no_sweep_after_incomplete_listing
        self.bad_sweeps = 0
        self.auto = auto
        self.options = ResourceOptions(
            mode=mode,
            auto_sync_on_informer_failure=auto,
            informer_max_reconnects=2,
            confirm_interval_seconds=0.0005,
            reconnect_backoff=(0.0001, 0.0005),
            failed_sync_backoff=(0.0001, 0.0005),
            sweep_limit_percent=100,
            dirty_limit=limit,
        )
        self.boot()

    def boot(self) -> None:
        self.synced_before = any(state.status is SyncStatus.COMPLETED for state in self.store.saved)
        self.run(self._boot())

    async def _boot(self) -> None:
        self.resource = Resource("r", self.source, self.sink, self.store, self.options)
        self.task = asyncio.create_task(self.resource.run())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def no_sweep_after_incomplete_listing(self) -> None:
        if not self.source.last_listing_complete:
            self.bad_sweeps += 1

    # -- what may happen ------------------------------------------------------------------------

    @rule(key=KEYS, value=VALUES)
    def change(self, key: str, value: bytes) -> None:
        self.source.put(key, value)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.source.remove(key)

    @rule(turns=st.integers(1, 40))
    def time_passes(self, turns: int) -> None:
        self.run(self._turns(turns))

    async def _turns(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    @rule()
    def a_while_passes(self) -> None:
        self.run(asyncio.sleep(0.002))

    @rule()
    def connection_goes_silent(self) -> None:
        self.source.silent = True

    @rule()
    def connection_cut(self) -> None:
        self.source.disconnect()

    @rule()
    def session_expires(self) -> None:
        self.source.expire()

    @rule(offline=st.booleans())
    def source_away_or_back(self, offline: bool) -> None:
        self.source.offline = offline
        if offline:
            self.source.disconnect()

    @rule(count=st.integers(1, 3))
    def reads_fail(self, count: int) -> None:
        self.source.failing_reads = count

    @rule(count=st.integers(1, 3))
    def writes_fail(self, count: int) -> None:
        self.sink.failing_writes = count

    @rule(offline=st.booleans())
    def sink_away_or_back(self, offline: bool) -> None:
        self.sink.offline = self.store.offline = offline

    @rule()
    def source_restored_from_backup(self) -> None:
        self.source.disconnect()
        self.source.reset_history()
        self.source.expire()

    @rule()
    def triggered(self) -> None:
        self.run(self._trigger())

    async def _trigger(self) -> None:
        self.resource.request_sync()

    @rule()
    def killed_and_started(self) -> None:
        self.run(self._kill())
        self.boot()

    async def _kill(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
        self.source.disconnect()
        await self._drop_stray_tasks()

    @rule()
    def stopped_and_started(self) -> None:
        self.run(self._stop())
        self.boot()

    async def _stop(self) -> None:
        self.resource.stop()
        await asyncio.wait({self.task}, timeout=5)
        self.task.cancel()
        await asyncio.wait({self.task})
        await self.resource.close()
        await self._drop_stray_tasks()

    async def _drop_stray_tasks(self) -> None:
        strays = asyncio.all_tasks() - {asyncio.current_task()}
        for stray in strays:
            stray.cancel()
        await asyncio.gather(*strays, return_exceptions=True)

    # -- what must hold -------------------------------------------------------------------------

    @invariant()
    def claims_are_true(self) -> None:
        if not hasattr(self, "resource"):
            return
        assert self.bad_sweeps == 0
        status = self.resource.status()
        if status.confirmed_at is not None:
            self.mirror_holds_everything_before(status.confirmed_at)
        if status.state.status is SyncStatus.COMPLETED:
            assert self.store.saved
        if status.in_sync:
            assert status.informer_state is InformerState.WATCHING
            assert status.gap_since is None
            assert status.pending == 0
            assert status.confirmed_at is not None
        if self.resource.ready and self.options.mode is Mode.ALWAYS:
            assert status.last_result is not None

    def mirror_holds_everything_before(self, moment: datetime) -> None:
        """For each key: the mirror shows the last state before `moment`, or one that came later."""
        states: dict[str, list[bytes | None]] = {}
        for when, key, value in self.source.history:
            states.setdefault(key, [None])
            if when < moment:
                states[key] = [value]
            else:
                states[key].append(value)
        for key, allowed in states.items():
            held = self.sink.records.get(key)
            assert (held.value if held else None) in allowed, (key, held, allowed)

    def teardown(self) -> None:
        if not hasattr(self, "resource"):
            return
        try:
            self.run(self._quiesce())
            expected = {key: record.value for key, record in self.source.records.items()}
            assert {key: record.value for key, record in self.sink.records.items()} == expected
            self.run(self._stop())
        finally:
            self.run(self._kill())
            self.loop.close()

    async def _quiesce(self) -> None:
        """All faults end; a person triggers once (mode `never`, or no automatic recovery); all is well."""
        self.source.offline = self.sink.offline = self.store.offline = False
        self.source.failing_reads = self.sink.failing_writes = 0
        if self.source.silent:
            self.source.disconnect()
        calm_since = utc_now()
        async with asyncio.timeout(30):
            while True:
                status = self.resource.status()
                proven = status.confirmed_at is not None and status.confirmed_at > calm_since
                if status.in_sync and proven and self.resource.ready:
                    break
                needs_help = not self.auto or self.options.mode is Mode.NEVER
                if needs_help and not self.resource.syncing:
                    self.resource.request_sync()
                if self.task.done():
                    self.task.result()
                with contextlib.suppress(TimeoutError):
                    await asyncio.sleep(0.001)


TestOneResource = OneResource.TestCase
TestOneResource.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
