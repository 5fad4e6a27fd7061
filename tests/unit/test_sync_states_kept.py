"""The state of a resource in a store that is slow, away, or asked twice at once."""

from __future__ import annotations

import asyncio

import pytest

from hybridsync.errors import SinkUnavailable
from hybridsync.state import SyncState, SyncStatus
from hybridsync.state_keeper import StateKeeper
from hybridsync.testing import MemoryStore
from tests.eventually import eventually


class SlowStore(MemoryStore):
    """Each save waits for `gate`; `in_flight` counts those that wait, `most` the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.in_flight = 0
        self.most = 0

    async def save(self, state: SyncState) -> None:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await self.gate.wait()
            await super().save(state)
        finally:
            self.in_flight -= 1


async def test_what_is_stored_becomes_the_present_state() -> None:
    store = MemoryStore()
    store.states["r"] = SyncState(resource_type="r", status=SyncStatus.FAILED, error="why")
    keeper = StateKeeper("r", store)

    assert await keeper.load() == store.states["r"]
    assert keeper.state.error == "why"


async def test_nothing_stored_leaves_a_state_that_claims_nothing() -> None:
    keeper = StateKeeper("r", MemoryStore())

    assert await keeper.load() is None
    assert keeper.state == SyncState(resource_type="r")


async def test_a_save_that_fails_changes_nothing_in_memory() -> None:
    store = MemoryStore()
    keeper = StateKeeper("r", store)
    store.offline = True
    with pytest.raises(SinkUnavailable):
        await keeper.save(status=SyncStatus.COMPLETED)

    assert keeper.state.status is SyncStatus.NEVER


async def test_what_could_not_be_saved_is_saved_when_the_store_is_back() -> None:
    store = MemoryStore()
    keeper = StateKeeper("r", store)
    store.offline = True
    keeper.save_soon(status=SyncStatus.FAILED, error="why")
    assert keeper.state.status is SyncStatus.FAILED
    keeper.save_soon(informer_reconnect_count=3)
    store.offline = False
    await eventually(lambda: "r" in store.states)

    assert store.states["r"] == keeper.state
    assert (store.states["r"].error, store.states["r"].informer_reconnect_count) == ("why", 3)


async def test_saves_never_overtake_each_other() -> None:
    store = SlowStore()
    keeper = StateKeeper("r", store)
    first = asyncio.create_task(keeper.save(status=SyncStatus.IN_PROGRESS))
    await eventually(lambda: store.in_flight == 1)
    second = asyncio.create_task(keeper.save(status=SyncStatus.COMPLETED))
    store.gate.set()
    await asyncio.gather(first, second)

    assert [state.status for state in store.saved] == [SyncStatus.IN_PROGRESS, SyncStatus.COMPLETED]
    assert store.most == 1


async def test_a_change_during_a_save_in_the_background_is_not_lost() -> None:
    store = SlowStore()
    keeper = StateKeeper("r", store)
    keeper.save_soon(informer_reconnect_count=1)
    await eventually(lambda: store.in_flight == 1)
    keeper.save_soon(status=SyncStatus.FAILED, error="why")
    store.gate.set()
    await keeper.close(30)

    assert keeper.state.status is SyncStatus.FAILED
    assert store.states["r"] == keeper.state
    assert (keeper.state.error, keeper.state.informer_reconnect_count) == ("why", 1)


async def test_a_change_during_a_save_in_the_foreground_is_not_lost() -> None:
    store = SlowStore()
    keeper = StateKeeper("r", store)
    saving = asyncio.create_task(keeper.save(status=SyncStatus.IN_PROGRESS))
    await eventually(lambda: store.in_flight == 1)
    keeper.save_soon(informer_reconnect_count=2)
    store.gate.set()
    await saving
    await keeper.close(30)

    assert store.states["r"] == keeper.state
    assert (keeper.state.status, keeper.state.informer_reconnect_count) == (SyncStatus.IN_PROGRESS, 2)


async def test_a_failed_save_in_the_foreground_keeps_what_waits_in_the_background() -> None:
    store = MemoryStore()
    keeper = StateKeeper("r", store)
    store.offline = True
    keeper.save_soon(status=SyncStatus.FAILED, error="why")
    with pytest.raises(SinkUnavailable):
        await keeper.save(status=SyncStatus.IN_PROGRESS, error=None)
    store.offline = False
    await keeper.close(30)

    assert store.states["r"].status is SyncStatus.FAILED


async def test_closing_gives_up_on_a_store_that_stays_away() -> None:
    store = MemoryStore()
    keeper = StateKeeper("r", store)
    store.offline = True
    keeper.save_soon(error="why")
    async with asyncio.timeout(30):
        await keeper.close(0.01)

    assert store.saved == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
