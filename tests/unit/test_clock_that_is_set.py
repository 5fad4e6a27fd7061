"""The wall clock steps, forwards and back, and no claim is later than it is; a stall is noticed all the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hybridsync import clock
from hybridsync.clock import Instant
from hybridsync.health_json import iso
from tests.eventually import eventually
from tests.unit.engine import Engine, ScriptedSource, fast, synced
from tests.unit.house import House, started


class Clock:
    """The wall clock of this process, as far as hybridsync reads it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set `ahead` to step it."""
    stepped = Clock()
    monkeypatch.setattr(clock, "utc_now", stepped.now)
    return stepped


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(seconds=-1), timedelta(hours=1)])
def test_a_moment_is_never_told_as_later_than_now_nor_later_than_it_was(wall: Clock, step: timedelta) -> None:
    told = Instant.now()
    before = told.shown
    wall.ahead = step

    assert told.shown <= wall.now()
    assert told.shown <= before
    assert told.age_seconds < 60, "the age is that of the clock which cannot be set"


def test_while_the_clock_is_left_alone_a_moment_stands_still() -> None:
    told = Instant.now()
    assert {told.shown for _ in range(200)} == {told.wall}


def test_a_moment_of_the_future_is_now() -> None:
    assert Instant.at(datetime.now(UTC) + timedelta(days=1)).shown <= datetime.now(UTC)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert Instant.at(yesterday).wall == yesterday
    assert Instant.at(yesterday).age_seconds == pytest.approx(86400, abs=60)


def test_a_time_that_lies_ahead_of_a_clock_that_was_set_back_is_told_as_now() -> None:
    told = iso(datetime.now(UTC) + timedelta(hours=1))
    assert told is not None
    assert datetime.fromisoformat(told) <= datetime.now(UTC)


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(hours=1)])
async def test_confirmed_is_never_later_than_now_when_the_clock_steps_while_a_proof_is_awaited(
    wall: Clock, step: timedelta
) -> None:
    async with synced(Engine(source=ScriptedSource(a=b"1"), options=fast())) as it:
        it.source.deaf.set()
        for _ in range(3):
            await it.until(lambda: it.status.confirmed_at is not None)
        wall.ahead = step
        it.source.deaf.clear()
        before = it.resource.confirmed
        await it.until(lambda: it.resource.confirmed != before, "another proof")

        confirmed = it.status.confirmed_at
        assert confirmed is not None
        assert confirmed <= wall.now()


async def test_a_periodic_comparison_waits_for_no_clock(wall: Clock) -> None:
    """It waits for a proof of what was asked after the question, not for the wall clock to come there again."""
    house = House("a", verify_hours=0.02 / 3600)
    async with started(house):
        await house.ready()
        wall.ahead = timedelta(hours=-1)
        house.sinks["a"].records["a"] = house.sinks["a"].records["a"]._replace(value=b"tampered")
        (resource,) = house.manager._resources.values()
        await eventually(lambda: house.sinks["a"].records["a"].value == b"1", what="the repair")
        assert resource.last_verify is not None


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta()])
async def test_a_stall_is_noticed_whatever_the_clock_did(wall: Clock, step: timedelta) -> None:
    house = House("a", max_age=0.3)
    async with started(house):
        await house.ready()
        house.sources["a"].deaf.set()
        house.sources["a"].silent = True
        wall.ahead = step
        await eventually(lambda: not house.manager.readiness().ready, what="somebody notices")
        assert "READY_MAX_AGE_SECONDS" in str(house.manager.readiness().reason)
        house.sources["a"].disconnect()
        house.sources["a"].deaf.clear()


def test_what_is_told_together_stays_in_order_when_the_clock_was_set_back(wall: Clock) -> None:
    first, second = Instant.now(), Instant.now()
    wall.ahead = timedelta(hours=-1)
    for _ in range(1000):
        now = Instant.now()
        assert first.shown_at(now) <= second.shown_at(now) <= now.wall
        assert first.shown_at(now) == first.shown_at(now)
