"""Whose turn it is for the periodic check: all resources, one at a time, again after every failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from statistics import fmean

import pytest

from hybridsync.model import Batch, Listing
from hybridsync.periodic_verify import FIRST_SECONDS, PeriodicVerify
from hybridsync.status import VerifyOutcome
from tests.eventually import eventually
from tests.unit.engine import ScriptedSource, values
from tests.unit.house import House, started

AT_ONCE = 0.02 / 3600
"""Hours."""

NOT_SOON = 100.0
"""Hours."""


def outcome_of(house: House, name: str) -> VerifyOutcome | None:
    return next(status.last_verify for status in house.manager.statuses() if status.name == name)


async def another(house: House, name: str) -> VerifyOutcome:
    """The outcome of a check that ends from now on."""
    before = outcome_of(house, name)

    def newer() -> VerifyOutcome | None:
        found = outcome_of(house, name)
        return None if found is before else found

    found = await eventually(newer, what=f"another check of {name}")
    assert found is not None
    return found


async def test_it_is_off_unless_asked_for() -> None:
    house = House("a")
    async with started(house):
        await house.ready()

        assert outcome_of(house, "a") is None
        assert house.sources["a"].listings == 1


async def test_every_resource_is_checked_again_and_again_and_repaired() -> None:
    house = House("a", "b", verify_hours=AT_ONCE)
    async with started(house):
        for name in ("a", "b", "a"):
            found = await another(house, name)
            assert (found.compared, found.left) == (1, 0)
        house.sinks["b"].records["a"] = house.sinks["b"].records["a"]._replace(value=b"tampered")

        await eventually(lambda: values(house.sinks["b"]) == {"a": b"1"})


class OneAtATime(ScriptedSource):
    """Counts how many listings of all its kind run at once."""

    running = 0
    most = 0

    async def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
        OneAtATime.running += 1
        OneAtATime.most = max(OneAtATime.most, OneAtATime.running)
        try:
            await asyncio.sleep(0.02)
            async for batch in super().list(listing):
                yield batch
        finally:
            OneAtATime.running -= 1


async def test_two_resources_are_never_compared_at_once() -> None:
    names = [f"r{number}" for number in range(6)]
    house = House(*names)
    async with started(house):
        await house.ready()
        for resource in house.manager._resources.values():
            resource.source = OneAtATime(a=b"1")
            resource.source.records = dict(house.sinks[resource.name].records)
        OneAtATime.most = 0
        periodic = PeriodicVerify(list(house.manager._resources.values()), AT_ONCE)
        checking = asyncio.create_task(periodic.run())
        try:
            await eventually(lambda: all(outcome_of(house, name) is not None for name in names))
        finally:
            checking.cancel()
            await asyncio.wait({checking})

    assert OneAtATime.most == 1


async def test_the_first_turns_come_within_minutes_of_a_start_spread_over_the_resources() -> None:
    house = House("a", "b", "c", "d")
    resources = list(house.manager._resources.values())
    now = time.monotonic()
    rounds = [[turn.due - now for turn in PeriodicVerify(resources, 1.0)._turns] for _ in range(200)]

    for place in range(4):
        waits = [turns[place] for turns in rounds]
        share = FIRST_SECONDS * (place + 1) / 4
        assert 0.9 * share - 1 <= min(waits) < max(waits) <= 1.1 * share + 60
        assert fmean(waits) == pytest.approx(share, rel=0.05)


async def test_a_source_that_is_away_is_an_error_and_no_drift_and_is_checked_when_it_is_back() -> None:
    house = House("a", verify_hours=AT_ONCE)
    async with started(house):
        await eventually(lambda: outcome_of(house, "a") is not None)
        house.sources["a"].offline = True
        house.sources["a"].disconnect()

        def told() -> bool:
            found = outcome_of(house, "a")
            return found is not None and found.error is not None and found.missing + found.extra + found.different == 0

        await eventually(told, what="the error is told")
        house.sources["a"].offline = False

        await eventually(
            lambda: (found := outcome_of(house, "a")) is not None and found.error is None and found.compared
        )


async def test_a_bug_in_a_check_is_a_dead_task_and_the_next_check_works() -> None:
    house = House("a")
    async with started(house):
        await house.ready()
        (resource,) = house.manager._resources.values()
        house.sources["a"].bug = ZeroDivisionError("nobody foresaw this")
        periodic = PeriodicVerify([resource], AT_ONCE)
        with pytest.raises(ZeroDivisionError):
            await periodic.run()
        assert resource.last_verify is not None
        assert resource.last_verify.error == "ZeroDivisionError: nobody foresaw this"

        checking = asyncio.create_task(periodic.run())
        try:
            await eventually(lambda: resource.last_verify is not None and resource.last_verify.error is None)
        finally:
            checking.cancel()
            await asyncio.wait({checking})


async def test_stopping_does_not_wait_for_a_check() -> None:
    house = House("a", verify_hours=AT_ONCE)
    async with started(house):
        await house.ready()
        house.sources["a"].listing_gate.clear()
        listings = house.sources["a"].listings
        await eventually(lambda: house.sources["a"].listings > listings, what="a check has begun")

        async with asyncio.timeout(30):
            await house.manager.stop()
    assert house.closed >= 1


async def test_a_long_interval_is_waited_for() -> None:
    house = House("a", verify_hours=NOT_SOON)
    async with started(house):
        await house.ready()
        house.sinks["a"].records.clear()
        await asyncio.sleep(0.1)

        assert outcome_of(house, "a") is None
        assert house.manager.dead_tasks() == []
