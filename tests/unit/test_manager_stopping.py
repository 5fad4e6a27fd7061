"""The manager stops within seconds, whatever hangs, and leaves nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from tests.eventually import eventually
from tests.unit.engine import values
from tests.unit.house import House


async def stop_in_time(house: House) -> None:
    """A hanging part costs some seconds, not the ten that a service has to stop in."""
    async with asyncio.timeout(10):
        await house.manager.stop()


async def test_stop_flushes_closes_everything_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    house = House("a", "b")
    await house.manager.start()
    await house.ready()
    house.sources["a"].put("a", b"last")
    await stop_in_time(house)

    assert values(house.sinks["a"]) == {"a": b"last"}
    assert house.closed == 1
    assert min(source.closed for source in house.sources.values()) == 1
    assert asyncio.all_tasks() == before


async def test_stop_is_bounded_when_a_close_hangs_and_the_other_is_closed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = asyncio.all_tasks()
    house = House("a", "b")
    await house.manager.start()
    await house.ready()
    for_ever = asyncio.Event()
    monkeypatch.setattr(house.sources["a"], "close", for_ever.wait)
    await stop_in_time(house)

    assert (house.sources["b"].closed, house.closed) == (1, 1)
    await eventually(lambda: asyncio.all_tasks() == before)


async def test_stop_is_bounded_when_a_close_will_not_even_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    house = House("a")
    await house.manager.start()
    await house.ready()
    monkeypatch.setattr(house.sources["a"], "close", stubborn)
    await stop_in_time(house)
    release.set()

    assert house.closed == 1


async def test_stop_is_bounded_when_the_sink_hangs_with_changes_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybridsync.manager.FLUSH_SECONDS", 0.0)
    house = House("a")
    await house.manager.start()
    await house.ready()
    house.sinks["a"].gate.clear()
    house.sources["a"].put("a", b"unwritten")
    await eventually(lambda: house.sinks["a"].in_flight == 1)
    await stop_in_time(house)

    assert values(house.sinks["a"]) == {"a": b"1"}
