"""From the start of a resource to ready: what is served when, and what is made good behind it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from hybridsync.clock import utc_now
from hybridsync.decision import Mode, Reason
from hybridsync.state import SyncState, SyncStatus
from hybridsync.status import InformerState
from hybridsync.testing import MemoryStore
from tests.unit.engine import Engine, ScriptedSink, ScriptedSource, completed, copy, fast, fresh, running


async def test_a_first_start_is_ready_only_after_its_full_sync() -> None:
    engine = Engine(source=ScriptedSource(a=b"1", b=b"2"))
    engine.source.listing_gate.clear()
    async with running(engine):
        await engine.until(lambda: engine.status.progress is not None)
        assert not engine.resource.ready
        assert engine.status.state.status is SyncStatus.IN_PROGRESS
        assert engine.status.informer_state is InformerState.RESYNCING
        assert engine.status.confirmed_at is None
        assert engine.status.is_stale
        engine.source.listing_gate.set()
        await engine.in_sync()

        assert engine.resource.ready
        assert engine.triggers == ["startup"]
        assert not engine.status.is_stale
        assert engine.store.states["r"].status is SyncStatus.COMPLETED


async def test_a_fresh_mirror_is_ready_before_any_listing_ends_and_then_caught_up() -> None:
    engine = fresh(Engine(source=ScriptedSource(a=b"1", b=b"2")))
    known = engine.store.states["r"].confirmed_at
    engine.source.put("b", b"changed while down")
    engine.source.put("c", b"new while down")
    engine.source.remove("a")
    engine.source.listing_gate.clear()
    async with running(engine):
        await engine.until(lambda: engine.resource.ready)
        await engine.until(lambda: engine.source.listings == 1)
        assert engine.resource.ready
        assert engine.results == []
        assert (engine.status.in_sync, engine.status.confirmed_at) == (False, None)
        assert engine.status.gap_since == known, "what happened since the last proof is not made good yet"
        engine.source.listing_gate.set()
        await engine.in_sync()

        assert engine.triggers == ["catch_up"]
        assert engine.status.gap_since is None
        assert engine.status.decision is not None
        assert engine.status.decision.reason is Reason.FRESH


async def test_a_fresh_mirror_is_ready_although_the_source_is_away() -> None:
    engine = fresh(Engine(source=ScriptedSource(a=b"1"), options=fast(informer_max_reconnects=10**9)))
    engine.source.offline = True
    async with running(engine):
        await engine.until(lambda: engine.resource.ready)
        await engine.until(lambda: engine.source.connects >= 3)
        assert engine.resource.trouble == "r: memory: offline"
        engine.source.put("a", b"2")
        engine.source.offline = False
        await engine.in_sync()

        assert engine.triggers == ["catch_up"]
        assert engine.resource.trouble is None


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (None, Reason.NO_STATE),
        (completed(last_sync_time=utc_now() - timedelta(days=3)), Reason.STALE),
        (completed(status=SyncStatus.FAILED, error="why", partial=True), Reason.LAST_FAILED),
        (completed(status=SyncStatus.IN_PROGRESS, last_sync_time=None), Reason.INCOMPLETE),
        (SyncState(resource_type="r"), Reason.INCOMPLETE),
        (completed(config_fingerprint="another"), Reason.CONFIG_CHANGED),
    ],
)
async def test_a_mirror_that_cannot_be_trusted_is_not_ready_until_it_is_synced(
    state: SyncState | None, reason: Reason
) -> None:
    engine = Engine(source=ScriptedSource(a=b"1", b=b"2"))
    copy(engine.source, engine.sink)
    if state is not None:
        engine.store.states["r"] = state
    engine.source.listing_gate.clear()
    async with running(engine):
        await engine.until(lambda: engine.source.listings == 1)
        assert not engine.resource.ready
        engine.source.listing_gate.set()
        await engine.in_sync()

        assert engine.resource.ready
        assert engine.triggers == ["startup"]
        assert engine.status.decision is not None
        assert engine.status.decision.reason is reason
        assert engine.store.states["r"].config_fingerprint == engine.options.config_fingerprint


async def test_a_mirror_that_is_gone_is_not_ready_until_it_is_there_again() -> None:
    engine = fresh(Engine(source=ScriptedSource(a=b"1", b=b"2")))
    engine.sink.records.clear()
    async with running(engine):
        await engine.in_sync()

        assert engine.status.decision is not None
        assert engine.status.decision.reason is Reason.MIRROR_MISSING
        assert engine.triggers == ["startup"]


async def test_always_syncs_a_fresh_mirror_before_it_is_ready() -> None:
    engine = fresh(Engine(source=ScriptedSource(a=b"1"), options=fast(mode=Mode.ALWAYS)))
    engine.source.listing_gate.clear()
    async with running(engine):
        await engine.until(lambda: engine.source.listings == 1)
        assert not engine.resource.ready
        engine.source.listing_gate.set()
        await engine.in_sync()

        assert engine.triggers == ["startup"]


async def test_never_reads_nothing_at_start_but_follows_and_heals_a_later_gap() -> None:
    engine = Engine(source=ScriptedSource(a=b"1", b=b"2"), options=fast(mode=Mode.NEVER))
    async with running(engine):
        await engine.until(lambda: engine.status.informer_state is InformerState.WATCHING)
        assert engine.resource.ready
        engine.source.put("b", b"3")
        await engine.until(lambda: "b" in engine.sink.records)
        assert engine.source.listings == 0
        assert engine.source.reads == [["b"]]
        assert "a" not in engine.sink.records
        assert (engine.status.confirmed_at, engine.status.in_sync) == (None, False), "nothing is known of a"
        engine.source.disconnect()
        await engine.in_sync()

        assert engine.triggers == ["reconnect"]


async def test_nothing_is_decided_while_the_sink_is_away_and_trouble_says_so() -> None:
    engine = fresh(Engine(source=ScriptedSource(a=b"1")))
    engine.sink.offline = engine.store.offline = True
    async with running(engine):
        await engine.until(lambda: engine.resource.trouble)
        assert engine.resource.trouble == "r: memory: store offline"
        assert not engine.resource.ready
        assert engine.status.decision is None
        engine.store.offline = False
        await engine.until(lambda: engine.resource.trouble == "r: memory: sink offline")
        assert engine.status.decision is None
        engine.sink.offline = False
        await engine.in_sync()

        assert engine.resource.trouble is None
        assert engine.triggers == ["catch_up"]


async def test_a_start_after_a_stop_in_good_order_knows_what_was_proven() -> None:
    engine = Engine(source=ScriptedSource(a=b"1"))
    async with running(engine):
        await engine.in_sync()
        await engine.proven()
    proven = engine.status.confirmed_at
    again = Engine(source=engine.source, sink=engine.sink, store=engine.store)
    again.source.listing_gate.clear()
    async with running(again):
        await again.until(lambda: again.source.listings == 2)

        assert proven is not None
        assert again.status.gap_since is not None
        assert again.status.gap_since >= proven


async def test_a_sync_that_fails_at_the_start_is_tried_again_until_it_succeeds() -> None:
    engine = Engine(source=ScriptedSource(a=b"1"))
    engine.source.failing_reads = 3
    async with running(engine):
        await engine.in_sync()

        assert engine.triggers == ["startup!", "startup!", "startup!", "startup"]
        assert engine.resource.trouble is None


async def test_a_plan_writes_nothing() -> None:
    engine = fresh(Engine(source=ScriptedSource(a=b"1")))
    decision = await engine.resource.plan()

    assert decision.reason is Reason.FRESH
    assert (engine.store.saved, engine.sink.writes, engine.source.connects) == ([], 0, 0)


async def test_one_sync_without_following_connects_syncs_and_is_done() -> None:
    engine = Engine(source=ScriptedSource(a=b"1"))
    result = await engine.resource.sync_once()

    assert (result.error, result.inserted) == (None, 1)
    assert engine.level
    assert engine.store.states["r"].status is SyncStatus.COMPLETED


async def test_one_sync_without_following_says_why_it_could_not_run() -> None:
    engine = Engine(source=ScriptedSource(a=b"1"))
    engine.source.offline = True
    assert (await engine.resource.sync_once()).error == "memory: offline"
    unstored = Engine(store=MemoryStore())
    unstored.store.offline = True

    assert (await unstored.resource.sync_once()).error == "memory: store offline"


async def test_a_mirror_of_an_empty_tree_is_fresh_although_it_is_empty() -> None:
    engine = Engine(source=ScriptedSource(), sink=ScriptedSink())
    engine.store.states["r"] = replace(completed(), last_sync_count=0)
    async with running(engine):
        await engine.in_sync()

        assert engine.triggers == ["catch_up"]
