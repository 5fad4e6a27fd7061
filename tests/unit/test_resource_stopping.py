"""Stopping in every state: what is pending is flushed, nothing waits, and the state stays true."""

from __future__ import annotations

import asyncio

from hybridsync.decision import Action, Reason
from hybridsync.state import SyncStatus
from hybridsync.status import InformerState
from hybridsync.testing import MemoryStore
from tests.unit.engine import Engine, ScriptedSource, fast, running, synced, values


def engine(**options: object) -> Engine:
    return Engine(source=ScriptedSource(a=b"1", b=b"2"), options=fast(**options))


async def stopped(it: Engine) -> None:
    """Stops it, and holds it to a time that no back-off and no deadline would keep."""
    async with asyncio.timeout(30):
        await it.stop()
    assert it.status.informer_state is InformerState.STOPPED
    assert it.source.closed > 0


async def test_stop_flushes_what_is_pending() -> None:
    async with synced(engine()) as it:
        it.source.put("a", b"last")
        it.source.remove("b")
        await stopped(it)

        assert values(it.sink) == {"a": b"last"}


async def test_stop_saves_what_was_proven() -> None:
    async with synced(engine()) as it:
        await it.proven()
        await stopped(it)
        state = it.store.states["r"]

        assert state.status is SyncStatus.COMPLETED
        assert state.confirmed_at == it.status.confirmed_at


async def test_stop_during_a_full_sync_cuts_it_off_and_leaves_in_progress() -> None:
    it = engine()
    it.source.listing_gate.clear()
    async with running(it):
        await it.until(lambda: it.status.progress is not None)
        waiting = it.resource.request_sync()
        await stopped(it)

        assert (await waiting).error == "the service is stopping"
        assert it.store.states["r"].status is SyncStatus.IN_PROGRESS
        again = Engine(source=ScriptedSource(a=b"1"), sink=it.sink, store=it.store)
        assert (await again.resource.plan()).action is Action.SYNC


async def test_stop_while_connecting_returns_at_once() -> None:
    it = engine()
    it.source.connect_gate.clear()
    async with running(it):
        await it.until(lambda: it.source.connects == 1)
        assert it.status.informer_state is InformerState.CONNECTING
        await stopped(it)


async def test_stop_during_a_long_back_off_returns_at_once() -> None:
    it = engine(reconnect_backoff=(3600.0, 3600.0))
    it.source.offline = True
    async with running(it):
        await it.until(lambda: it.status.informer_state is InformerState.DISCONNECTED)
        await stopped(it)


async def test_stop_while_parked_returns_at_once() -> None:
    async with synced(engine(auto_sync_on_informer_failure=False)) as it:
        it.source.expire()
        await it.until(lambda: it.status.informer_state is InformerState.DISCONNECTED)
        await stopped(it)


async def test_stop_before_anything_could_be_decided() -> None:
    it = engine(reconnect_backoff=(3600.0, 3600.0))
    it.store.offline = True
    async with running(it):
        await it.until(lambda: it.resource.trouble)
        await stopped(it)

        assert it.source.connects == 0


async def test_stop_while_the_sink_is_away_gives_the_pending_changes_up_to_the_next_start() -> None:
    async with synced(engine(reconnect_backoff=(3600.0, 3600.0))) as it:
        proven = it.status.confirmed_at
        it.sink.offline = it.store.offline = True
        it.source.put("a", b"unwritten")
        await it.until(lambda: it.status.pending == 1 and it.resource.trouble)
        await stopped(it)
        it.sink.offline = it.store.offline = False
        known = it.store.states["r"].confirmed_at
        assert known is not None
        assert proven is not None
        assert known <= it.source.history[-1][0], "nothing was claimed that is not so"

        again = Engine(source=it.source, sink=it.sink, store=it.store)
        async with running(again):
            await again.in_sync()


async def test_a_request_after_stop_is_refused() -> None:
    async with synced(engine()) as it:
        it.resource.stop()

        assert (await it.resource.request_sync()).error == "the service is stopping"


async def test_stop_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    async with synced(engine()) as it:
        it.source.put("a", b"last")
        await stopped(it)

    assert asyncio.all_tasks() == before


async def test_closing_twice_harms_nothing_also_when_it_never_ran() -> None:
    it = Engine(store=MemoryStore())
    await it.resource.close()
    await it.resource.close()

    assert it.store.saved == []


async def test_stop_during_a_resync_is_no_failure_and_the_next_start_is_fresh() -> None:
    it = engine()
    async with synced(it):
        it.source.listing_gate.clear()
        waiting = it.resource.request_sync()
        await it.until(lambda: it.status.progress is not None)
        await stopped(it)

        assert (await waiting).error == "the service is stopping"
    state = it.store.states["r"]
    assert (state.status, state.error, state.partial) == (SyncStatus.COMPLETED, None, False)
    again = Engine(source=it.source, sink=it.sink, store=it.store, options=it.options)
    decision = await again.resource.plan()
    assert (decision.reason, decision.blocking) == (Reason.FRESH, False)


async def test_a_resync_that_was_killed_is_owed_and_holds_nobody_up() -> None:
    it = engine()
    async with synced(it):
        it.source.listing_gate.clear()
        it.resource.request_sync()
        await it.until(lambda: it.status.progress is not None)
        killed = it.store.states["r"]
        assert killed.status is SyncStatus.IN_PROGRESS
        again = Engine(source=ScriptedSource(a=b"1"), sink=it.sink, options=it.options)
        again.store.states["r"] = killed
        again.source.listing_gate.clear()
        async with running(again):
            await again.until(lambda: again.resource.ready, "ready before the sync")
            assert again.status.decision is not None
            assert (again.status.decision.reason, again.status.decision.blocking) == (Reason.INCOMPLETE, False)
            again.source.listing_gate.set()
            await again.in_sync()
            assert again.triggers == ["catch_up"]
        it.source.listing_gate.set()
