"""All resources together: readiness and its reasons, trouble that stays where it is, triggers."""

from __future__ import annotations

import asyncio

import pytest

from hybridsync.errors import Stopping
from hybridsync.manager import HybridSyncManager, ManagerOptions
from hybridsync.status import SyncResult
from hybridsync.supervisor import Supervised
from tests.eventually import eventually
from tests.unit.engine import values
from tests.unit.house import House, started


@pytest.fixture(autouse=True)
def _quick_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybridsync.manager.PING_INTERVAL_SECONDS", 0.002)


async def test_the_reasons_for_not_being_ready_in_their_order() -> None:
    house = House("a", "b")
    house.ping_gate.clear()
    house.sources["b"].listing_gate.clear()
    async with started(house):
        await eventually(lambda: house.answer[2] == ("b",))
        assert house.manager.readiness().reason == "MongoDB cannot be reached"
        house.ping_gate.set()
        await eventually(lambda: house.answer == (False, "waiting for the first full sync", ("b",)))
        assert not house.manager.started
        house.sources["b"].listing_gate.set()
        await house.ready()
        house.manager.begin_stopping()

        assert house.answer == (False, "the service is stopping", ())


async def test_that_mongodb_is_away_is_logged_once_also_when_it_never_was_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    house = House("a")
    house.away(True)
    async with started(house):
        for times in (1, 2):
            pings = house.pings
            await eventually(lambda pings=pings: house.pings > pings + 5)  # type: ignore[misc]
            house.away(False)
            await house.ready()
            house.away(True)
            logged = capsys.readouterr().out
            assert logged.count("MongoDB cannot be reached") == 1, times
            assert "MongoDB: no answer" in logged


async def test_tasks_of_others_run_under_the_same_eyes() -> None:
    deaths = 0

    async def dying() -> None:
        nonlocal deaths
        deaths += 1
        raise ZeroDivisionError("nobody foresaw this")

    other = Supervised("mirror watch", dying, delays=(0.001, 0.002))
    manager = HybridSyncManager([], House().ping, House().close, ManagerOptions(), [other])
    await manager.start()
    await eventually(lambda: "mirror watch" in manager.dead_tasks())
    await eventually(lambda: deaths > 3)
    await manager.stop()


async def test_ready_falls_with_mongodb_and_started_stays() -> None:
    house = House("a")
    async with started(house):
        await house.ready()
        house.away(True)
        await eventually(lambda: house.answer == (False, "MongoDB cannot be reached", ()))
        assert house.manager.started
        assert "MongoDB cannot be reached" in house.manager.degraded()
        house.away(False)
        await house.ready()

        await eventually(lambda: house.manager.degraded() == [])


async def test_started_is_remembered_although_nobody_asked_for_readiness() -> None:
    house = House("a")
    async with started(house):
        await eventually(lambda: house.manager.started)

        assert house.manager.started


async def test_a_mirror_not_confirmed_for_too_long_is_not_ready() -> None:
    house = House("a", "b", max_age=0.3, confirm_interval_seconds=0.002)
    async with started(house):
        await house.ready()
        house.sources["b"].deaf.set()
        await eventually(lambda: house.answer == (False, "not confirmed within READY_MAX_AGE_SECONDS=0.3", ("b",)))
        house.sources["b"].deaf.clear()
        house.sources["b"].disconnect()

        await house.ready()


async def test_the_trouble_of_one_never_stops_another() -> None:
    house = House("a", "b")
    house.sources["a"].offline = True
    async with started(house):
        await eventually(lambda: values(house.sinks["b"]) == {"a": b"1"})
        house.sources["b"].put("a", b"2")
        await eventually(lambda: values(house.sinks["b"]) == {"a": b"2"})
        assert house.answer == (False, "waiting for the first full sync", ("a",))
        await eventually(lambda: house.manager.degraded() == ["a: memory: offline"])
        house.sources["a"].offline = False

        await house.ready()
        await eventually(lambda: house.manager.degraded() == [])


async def test_a_dead_task_is_named_and_the_others_live() -> None:
    house = House("a", "b")
    async with started(house):
        await house.ready()
        house.sources["a"].bug = ZeroDivisionError("nobody foresaw this")
        house.sources["a"].put("a", b"2")
        await eventually(lambda: house.manager.dead_tasks() == ["resource a"])
        assert "resource a is dead" in house.manager.degraded()
        house.sources["b"].put("a", b"2")
        await eventually(lambda: values(house.sinks["b"]) == {"a": b"2"})

        await eventually(lambda: house.manager.dead_tasks() == [] and values(house.sinks["a"]) == {"a": b"2"})


async def test_a_trigger_starts_what_is_idle_and_joins_what_runs() -> None:
    house = House("a", "b")
    async with started(house):
        await house.ready()
        house.sources["a"].listing_gate.clear()
        first = house.manager.trigger(["a"])
        assert (first.accepted, first.already_running) == (["a"], [])
        second = house.manager.trigger(None)
        assert (second.accepted, second.already_running) == (["b"], ["a"])
        house.sources["a"].listing_gate.set()

        results = await asyncio.gather(first.results["a"], *second.results.values())
        assert [result.error for result in results] == [None, None, None]
        assert results[0] is results[1]
        assert house.manager.trigger(["b", "b"]).accepted == ["b"]


async def test_an_unknown_name_starts_nothing() -> None:
    house = House("a")
    async with started(house):
        await house.ready()
        with pytest.raises(KeyError):
            house.manager.trigger(["a", "unknown"])

        assert house.manager.trigger(["a"]).already_running == []


async def test_while_stopping_no_trigger_is_accepted_and_running_ones_are_told() -> None:
    house = House("a")
    async with started(house):
        await house.ready()
        house.sources["a"].listing_gate.clear()
        running = house.manager.trigger(None)
        await eventually(lambda: house.manager.statuses()[0].progress is not None)
        house.manager.begin_stopping()

        assert (await running.results["a"]).error == "the service is stopping"
        with pytest.raises(Stopping):
            house.manager.trigger(None)


async def test_listeners_hear_the_name_with_the_result() -> None:
    house = House("a", "b")
    heard: list[tuple[str, SyncResult]] = []
    house.manager.add_sync_listener(lambda name, result: heard.append((name, result)))
    async with started(house):
        await house.ready()

    assert sorted(name for name, _ in heard) == ["a", "b"]
    assert all(result.error is None for _, result in heard)


async def test_a_manager_without_resources_is_ready_when_mongodb_answers_and_stops() -> None:
    house = House()
    async with started(house):
        await house.ready()

    assert house.closed == 1


async def test_one_sync_of_each_shows_progress_and_fails_by_itself() -> None:
    house = House("a", "b")
    house.sources["a"].offline = True
    seen: set[str] = set()
    results = await house.manager.sync_once(["a", "b"], lambda status: seen.add(status.name))

    assert (results["a"].error, results["b"].error) == ("memory: offline", None)
    assert seen == {"a", "b"}
    assert values(house.sinks["b"]) == {"a": b"1"}


async def test_verify_reports_each_and_an_error_instead_of_a_result() -> None:
    house = House("a", "b")
    house.sources["a"].offline = True
    house.sinks["b"].records = dict(house.sources["b"].records)
    reports = await house.manager.verify(["a", "b"], repair=False)

    assert (reports["a"].error, reports["b"].error, reports["b"].compared) == ("memory: offline", None, 1)


async def test_plans_of_all_write_nothing() -> None:
    house = House("a", "b")
    plans = await house.manager.plan()

    assert list(plans) == house.manager.resource_names == ["a", "b"]
    assert house.store.saved == []
