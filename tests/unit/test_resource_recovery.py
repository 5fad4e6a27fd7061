"""A lost connection, in the same session or for good: every gap is made good, and said while it is open."""

from __future__ import annotations

import asyncio
import time
from typing import NoReturn

import pytest

from hybridsync.errors import PositionExpired, SourceDisconnected
from hybridsync.status import InformerState, Trigger
from tests.unit.engine import Engine, ScriptedSource, fast, synced


def engine(**options: object) -> Engine:
    return Engine(source=ScriptedSource(a=b"1", b=b"2", c=b"3"), options=fast(**options))


async def test_a_cut_within_one_session_compares_everything() -> None:
    async with synced(engine()) as it:
        it.source.offline = True
        it.source.disconnect()
        await it.until(lambda: it.status.informer_state is InformerState.DISCONNECTED)
        assert it.status.gap_since is not None
        assert not it.status.in_sync
        it.source.put("a", b"changed")
        it.source.remove("b")
        it.source.put("d", b"new")
        it.source.offline = False
        await it.in_sync()

        assert it.status.gap_since is None
        assert len(it.results) == 1


async def test_the_sync_after_one_cut_is_called_reconnect() -> None:
    async with synced(engine()) as it:
        it.source.disconnect()
        it.source.put("a", b"missed")
        await it.in_sync()

        assert it.triggers == ["reconnect"]
        assert it.status.state.informer_reconnect_count == 1
        assert (it.resource.counters.reconnects, it.resource.counters.expiries) == (1, 0)
        await it.until(lambda: it.store.states["r"].informer_reconnect_count == 1)


async def test_an_expired_session_is_synced_at_once_and_called_expired() -> None:
    async with synced(engine(auto_sync_on_informer_failure=True)) as it:
        it.source.offline = True
        it.source.expire()
        it.source.put("a", b"missed")
        it.source.offline = False
        await it.in_sync()

        assert it.triggers == ["expired"]
        assert it.resource.counters.expiries == 1


async def test_more_failures_than_allowed_are_called_max_reconnects_and_then_forgiven() -> None:
    async with synced(engine(informer_max_reconnects=3)) as it:
        it.source.offline = True
        it.source.disconnect()
        it.source.put("a", b"missed")
        await it.until(lambda: it.resource.counters.reconnects > 3)
        it.source.offline = False
        await it.in_sync()
        assert it.triggers == ["max_reconnects"]
        assert it.status.state.informer_reconnect_count == 0
        it.results.clear()
        it.source.disconnect()
        await it.in_sync()

        assert it.triggers == ["reconnect"], "the count began anew"


async def test_a_cut_during_the_resync_is_one_more_gap_and_not_a_result() -> None:
    async with synced(engine()) as it:
        it.source.listing_gate.clear()
        it.source.disconnect()
        it.source.put("a", b"missed")
        await it.until(lambda: it.source.listings == 2)
        it.source.disconnect()
        it.source.put("b", b"missed too")
        it.source.listing_gate.set()
        await it.in_sync()

        assert it.triggers[-1] == "reconnect"
        assert it.triggers[0] == "reconnect!"


async def test_a_loss_during_a_full_sync_never_shows_as_watching() -> None:
    async with synced(engine()) as it:
        it.source.listing_gate.clear()
        it.resource.request_sync()
        await it.until(lambda: it.status.informer_state is InformerState.RESYNCING)
        it.source.offline = True
        it.source.disconnect()
        it.source.listing_gate.set()
        seen = []
        while it.status.informer_state is not InformerState.CONNECTING:
            seen.append(it.status.informer_state)
            await asyncio.sleep(0)

        assert set(seen) == {InformerState.RESYNCING, InformerState.DISCONNECTED}
        it.source.offline = False
        await it.in_sync()


async def park(it: Engine) -> None:
    it.source.expire()
    it.source.put("a", b"missed")
    await it.until(lambda: it.resource.trouble and "AUTO_SYNC" in it.resource.trouble)


async def test_without_automatic_recovery_expiry_parks_and_trouble_says_what_to_do() -> None:
    async with synced(engine(auto_sync_on_informer_failure=False)) as it:
        await park(it)
        connects = it.source.connects
        for _ in range(100):
            await asyncio.sleep(0)

        assert it.status.informer_state is InformerState.DISCONNECTED
        assert it.resource.trouble == "r: disconnected, and AUTO_SYNC_ON_INFORMER_FAILURE is false: trigger a sync"
        assert (it.source.connects, it.results) == (connects, [])
        assert it.status.gap_since is not None
        assert not it.status.in_sync
        assert it.resource.ready, "the mirror is old, not gone"


async def test_a_trigger_ends_the_parking_syncs_and_watches_again() -> None:
    async with synced(engine(auto_sync_on_informer_failure=False)) as it:
        await park(it)
        result = await it.resource.request_sync()
        assert (result.error, result.updated) == (None, 1)
        await it.in_sync()
        it.source.put("b", b"followed")
        await it.in_sync()

        assert it.triggers == ["manual"]
        assert it.resource.trouble is None


async def test_a_trigger_while_parked_and_unreachable_fails_with_the_reason_and_is_owed() -> None:
    async with synced(engine(auto_sync_on_informer_failure=False, informer_max_reconnects=10**9)) as it:
        await park(it)
        it.source.offline = True
        result = await it.resource.request_sync()
        assert result.error == "memory: offline"
        it.source.offline = False
        await it.in_sync()

        assert it.triggers == ["manual"]


async def test_without_automatic_recovery_a_gap_within_one_session_is_made_good_all_the_same() -> None:
    async with synced(engine(auto_sync_on_informer_failure=False)) as it:
        it.source.disconnect()
        it.source.put("a", b"missed")
        await it.in_sync()

        assert it.triggers == ["reconnect"]


async def test_without_automatic_recovery_too_many_failures_park() -> None:
    async with synced(engine(auto_sync_on_informer_failure=False, informer_max_reconnects=2)) as it:
        it.source.offline = True
        it.source.disconnect()
        await it.until(lambda: it.resource.trouble and "AUTO_SYNC" in it.resource.trouble)
        assert it.resource.counters.reconnects == 3
        it.source.offline = False
        assert (await it.resource.request_sync()).error is None
        await it.in_sync()


async def test_a_loss_shows_at_once_although_changes_wait_for_a_sink_that_is_away() -> None:
    async with synced(engine(reconnect_backoff=(600.0, 600.0))) as it:
        it.sink.offline = True
        it.source.put("a", b"waits")
        await it.until(lambda: it.resource.trouble == "r: memory: sink offline")
        it.source.disconnect()
        await it.until(lambda: it.status.gap_since is not None, "the gap")

        assert it.status.informer_state is InformerState.DISCONNECTED


async def test_a_periodic_sync_runs_by_itself() -> None:
    async with synced(engine(periodic_sync_interval_hours=0.001 / 3600)) as it:
        it.sink.records.pop("a")
        await it.until(lambda: it.level)

        assert it.triggers[0] == str(Trigger.PERIODIC)


@pytest.mark.parametrize("failures", [1, 3])
async def test_a_resync_that_fails_is_tried_again_and_the_gap_stays_open_meanwhile(failures: int) -> None:
    async with synced(engine()) as it:
        it.source.failing_reads = failures
        it.source.disconnect()
        it.source.put("a", b"missed")
        gaps = []
        it.resource.on_sync.append(lambda _: gaps.append(it.status.gap_since))
        await it.in_sync()

        assert it.triggers == ["reconnect!"] * failures + ["reconnect"]
        assert None not in gaps
        assert len(set(gaps)) == 1


async def test_a_source_restored_from_a_backup_is_mirrored_as_it_is() -> None:
    async with synced(engine()) as it:
        for value in (b"x", b"y", b"z"):
            it.source.put("a", value)
        await it.in_sync()
        it.source.disconnect()
        it.source.reset_history()
        it.source.expire()
        it.source.put("a", b"restored")
        await it.in_sync()

        assert it.sink.records["a"].value == b"restored"


async def test_positions_that_expire_again_and_again_do_not_make_it_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    async with synced(engine(reconnect_backoff=(0.05, 0.2))) as it:
        refusals = 0

        def watch(*_: object) -> NoReturn:
            nonlocal refusals
            refusals += 1
            raise PositionExpired("memory: no history at all")

        monkeypatch.setattr(it.source, "watch", watch)
        it.source.disconnect()
        await it.until(lambda: refusals > 2)
        before, started = refusals, time.monotonic()
        await it.until(lambda: refusals > before + 4)
        assert time.monotonic() - started > 0.005, "each further try waits"
        monkeypatch.undo()
        await it.in_sync()
        assert it.resource.counters.expiries == 1


@pytest.mark.parametrize("refusal", [SourceDisconnected("memory: forbidden"), PositionExpired("memory: no history")])
async def test_a_trigger_while_the_watch_is_refused_is_answered_and_does_not_make_it_spin(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    async with synced(engine(reconnect_backoff=(60.0, 60.0))) as it:
        refusals = 0

        def watch(*_: object) -> NoReturn:
            nonlocal refusals
            refusals += 1
            raise refusal

        monkeypatch.setattr("hybridsync.recovery.random.uniform", lambda low, high: high)  # the whole delay
        monkeypatch.setattr(it.source, "watch", watch)
        it.source.disconnect()
        for _ in range(3):
            before = refusals
            result = await asyncio.wait_for(it.resource.request_sync(), 60)
            assert str(refusal) in (result.error or "")
            assert refusals - before <= 4
        await asyncio.sleep(0.05)
        assert refusals - before <= 4, "one try for a trigger, then it waits"
