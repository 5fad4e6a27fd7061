"""Random changes, lost events, gaps, failures and restarts: afterwards the mirror equals the source.

At every moment on the way: no sweep after an incomplete listing, and no claim that is not so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from datetime import datetime
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hybridsync.clock import utc_now
from hybridsync.decision import Mode
from hybridsync.options import ResourceOptions
from hybridsync.resource import Resource
from hybridsync.state import SyncState, SyncStatus
from hybridsync.status import InformerState
from hybridsync.supervisor import Supervised
from hybridsync.testing import MemoryStore
from tests.unit.engine import ScriptedSink, ScriptedSource, values

KEYS = st.sampled_from(["a", "b", "c", "d", "d/x", "d/y", "e", "f"])
VALUES = st.binary(max_size=3)


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """Every crash would draw its traceback."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


class SlowStore(MemoryStore):
    """Takes `turns` turns of the loop to save."""

    turns = 0

    async def save(self, state: SyncState) -> None:
        for _ in range(self.turns):
            await asyncio.sleep(0)
        await super().save(state)


class OneResource(RuleBasedStateMachine):
    """One resource on twins, driven by random events."""

    @initialize(
        mode=st.sampled_from(list(Mode)), auto=st.booleans(), limit=st.sampled_from([2, 200]), resumable=st.booleans()
    )
    def start(self, mode: Mode, auto: bool, limit: int, resumable: bool) -> None:
        self.loop = asyncio.new_event_loop()
        self.source, self.sink, self.store = ScriptedSource(), ScriptedSink(), SlowStore()
        self.source.resumable = resumable
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
        self.run(self._boot())

    async def _boot(self) -> None:
        self.resource = Resource("r", self.source, self.sink, self.store, self.options)
        self.task = Supervised("r", self.resource.run, (0.0001, 0.0005))
        self.task.start()

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
    def connection_goes_half_open(self) -> None:
        self.source.silent = True
        self.source.deaf.set()

    @rule()
    def probes_are_answered_again(self) -> None:
        self.source.deaf.clear()

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

    @rule(turns=st.integers(0, 20))
    def store_is_slow(self, turns: int) -> None:
        self.store.turns = turns

    @rule()
    def source_meets_a_bug(self) -> None:
        self.source.bug = ZeroDivisionError()

    @rule()
    def sink_meets_a_bug(self) -> None:
        self.sink.bug = ZeroDivisionError()

    @rule()
    def source_restored_from_backup(self) -> None:
        self.source.disconnect()
        self.source.reset_history()
        self.source.expire()

    @rule()
    def source_forgets_its_history(self) -> None:
        self.source.forget_history()

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
        await self.task.stop(0)
        self.source.disconnect()
        await self._drop_stray_tasks()

    @rule()
    def stopped_and_started(self) -> None:
        self.run(self._stop())
        self.boot()

    async def _stop(self) -> None:
        self.resource.stop()
        await self.task.stop(5)
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
        stored = self.store.states.get("r")
        if stored is not None and stored.confirmed_at is not None:
            self.mirror_holds_everything_before(stored.confirmed_at)
        if status.state.status is SyncStatus.COMPLETED:
            assert any(state.status is SyncStatus.COMPLETED for state in self.store.saved)
        if status.in_sync:
            assert status.informer_state is InformerState.WATCHING
            assert status.gap_since is None
            assert status.pending == 0
            assert status.confirmed_at is not None
            assert not self.source.watched or values(self.sink) == values(self.source)
        if status.informer_state is InformerState.WATCHING:
            assert not self.task.dead
        if self.task.dead:
            assert status.gap_since is not None or self.resource.decision is None
        if self.resource.ready and self.options.mode is Mode.ALWAYS:
            assert status.last_result is not None
        result = status.last_result
        if result is not None and not self.resource.syncing and result.error != "the service is stopping":
            expected = SyncStatus.COMPLETED if result.error is None else SyncStatus.FAILED
            assert status.state.status is expected

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
            assert values(self.sink) == values(self.source)
            self.run(self._stop())
            self.what_is_stored_is_what_was_last_known()
        finally:
            self.run(self._kill())
            self.loop.close()

    def what_is_stored_is_what_was_last_known(self) -> None:
        status, stored = self.resource.status(), self.store.states["r"]
        assert stored.status is SyncStatus.COMPLETED
        assert stored.confirmed_at == status.confirmed_at
        assert stored.resource_version == status.state.resource_version

    async def _quiesce(self) -> None:
        """All faults end; a person triggers once (mode `never`, or no automatic recovery); all is well."""
        self.source.offline = self.sink.offline = self.store.offline = False
        self.source.failing_reads = self.sink.failing_writes = self.store.turns = 0
        self.source.bug = self.sink.bug = None
        self.source.deaf.clear()
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
                await asyncio.sleep(0.001)


TestOneResource = OneResource.TestCase
TestOneResource.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
