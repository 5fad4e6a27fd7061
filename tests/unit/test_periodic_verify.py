"""The periodic check of a running resource: what is drift, what repairs it, and when a check does not count."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from hybridsync.clock import Instant
from hybridsync.errors import SourceDisconnected, SyncStalled
from hybridsync.model import Applied, Change, Record
from hybridsync.periodic_verify import Interrupted, check
from hybridsync.status import VerifyOutcome
from tests.eventually import eventually
from tests.unit.engine import Engine, ScriptedSink, ScriptedSource, fast, synced, values


class Noting(ScriptedSink):
    """Remembers the keys of every change that was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def apply(self, changes: Sequence[Change]) -> Applied:
        self.asked += [change.key for change in changes]
        return await super().apply(changes)


def an_engine(records: int = 20, **options: Any) -> Engine:
    source = ScriptedSource(**{f"k{number:03}": b"value" for number in range(records)})
    source.list_batch = 10
    return Engine(fast(**options), source, Noting())


def drift(engine: Engine) -> None:
    """One record missing, one extra, one with the version it should have and another content."""
    records = engine.sink.records
    del records["k001"]
    records["extra"] = Record("extra", b"value", records["k002"].version)
    records["k003"] = records["k003"]._replace(value=b"tampered")


def facts(outcome: VerifyOutcome) -> tuple[int, int, int, int]:
    return outcome.missing, outcome.extra, outcome.different, outcome.repaired


async def test_equal_sides_are_found_equal_and_nothing_is_written() -> None:
    async with synced(an_engine()) as engine:
        writes = engine.sink.writes
        outcome = await check(engine.resource)

        assert (outcome.compared, facts(outcome), outcome.error) == (20, (0, 0, 0, 0), None)
        assert (outcome.samples, engine.sink.writes) == ({}, writes)


async def test_drift_is_counted_and_just_those_records_are_made_right_without_a_full_sync() -> None:
    async with synced(an_engine()) as engine:
        sink = engine.sink
        assert isinstance(sink, Noting)
        sink.asked.clear()
        events = engine.resource.counters.events
        drift(engine)
        outcome = await check(engine.resource)

        assert facts(outcome) == (1, 1, 1, 3)
        assert outcome.samples == {"missing": ("k001",), "extra": ("extra",), "different": ("k003",)}
        assert sorted(sink.asked) == ["extra", "k001", "k003"]
        assert (engine.level, engine.triggers) == (True, [])
        assert engine.resource.counters.events == events, "a repair is no event of the source"
        assert engine.status.last_event_time is None


async def test_a_repair_tells_nothing_about_propagation_and_the_next_change_does() -> None:
    engine = an_engine()
    engine.resource._committed_at = lambda record: 0.0
    heard: list[float] = []
    engine.resource.on_propagation.append(heard.append)
    async with synced(engine):
        drift(engine)
        assert (await check(engine.resource)).repaired == 3
        assert heard == []

        engine.source.put("k003", b"changed")
        await eventually(lambda: len(heard) == 1)


async def test_what_a_repair_cannot_settle_gets_a_full_sync_called_verify() -> None:
    """The number of the state in the mirror is higher than the source's: only a full sync has seen which it is."""
    async with synced(an_engine()) as engine:
        engine.sink.records["k004"] = Record("k004", b"from the future", 1_000_000)
        outcome = await check(engine.resource)

        assert (facts(outcome), outcome.error) == ((0, 0, 1, 1), None)
        assert engine.triggers == ["verify"]
        await engine.in_sync()


async def test_drift_that_stays_is_told_by_the_resource() -> None:
    async with synced(an_engine()) as engine:
        engine.sink.refused = {"k001"}
        drift(engine)
        engine.resource.last_verify = await check(engine.resource)

        assert facts(engine.resource.last_verify) == (1, 1, 1, 2)
        assert engine.resource.trouble == "r: 1 records differ from the source"
        assert engine.triggers == ["verify"]


async def test_more_extra_records_than_a_sweep_may_delete_are_left_to_a_person() -> None:
    async with synced(an_engine(records=60)) as engine:
        for number in range(100):
            engine.sink.records[f"x{number:03}"] = Record(f"x{number:03}", b"?", 1)
        before = dict(engine.sink.records)
        outcome = await check(engine.resource)

        assert (outcome.extra, outcome.repaired) == (100, 0)
        assert "SWEEP_LIMIT_PERCENT=50" in (outcome.error or "")
        assert engine.sink.records == before
        assert engine.triggers[0] == "verify!"
        assert "SWEEP_LIMIT_PERCENT" in (engine.resource.trouble or "")


async def test_a_mirror_that_is_far_behind_has_not_drifted() -> None:
    """However long a write takes: what is on its way is no drift."""
    async with synced(an_engine()) as engine:
        engine.sink.gate.clear()
        for key in ("k001", "k002", "new"):
            engine.source.put(key, b"newer")
        engine.source.remove("k005")
        checking = asyncio.create_task(check(engine.resource))
        reads = len(engine.source.reads)
        await engine.until(lambda: len(engine.source.reads) > reads + 1, "the suspects are looked at")
        await asyncio.wait({checking}, timeout=0.5)
        assert not checking.done()
        engine.sink.gate.set()
        outcome = await checking

        assert (outcome.missing, outcome.extra, outcome.different) == (0, 0, 0)
        assert engine.triggers == []


async def test_steady_changes_are_no_drift() -> None:
    async with synced(an_engine()) as engine:
        over = False

        async def change() -> None:
            number = 0
            while not over:
                number += 1
                engine.source.put("k001", b"%d" % number)
                engine.source.put(f"new{number % 7}", b"")
                engine.source.remove(f"new{(number + 3) % 7}")
                await asyncio.sleep(0.001)

        changing = asyncio.create_task(change())
        try:
            outcomes = [await check(engine.resource) for _ in range(5)]
        finally:
            over = True
            await changing
        assert [facts(outcome)[:3] for outcome in outcomes] == [(0, 0, 0)] * 5


async def test_a_full_sync_that_begins_ends_the_check_before_a_second_walk() -> None:
    async with synced(an_engine()) as engine:
        engine.source.listing_gate.clear()
        checking = asyncio.create_task(check(engine.resource))
        listings = engine.source.listings
        await engine.until(lambda: engine.source.listings > listings, "the check lists")
        result = engine.resource.request_sync()
        await engine.until(lambda: engine.resource.syncing)
        engine.source.listing_gate.set()

        with pytest.raises(Interrupted, match="full sync"):
            await checking
        assert (await result).error is None


async def test_a_source_that_goes_away_ends_the_check_without_drift() -> None:
    async with synced(an_engine()) as engine:
        before = dict(engine.sink.records)
        engine.source.listing_gate.clear()
        checking = asyncio.create_task(check(engine.resource))
        listings = engine.source.listings
        await engine.until(lambda: engine.source.listings > listings, "the check lists")
        engine.source.offline = True
        engine.source.disconnect()
        engine.source.listing_gate.set()

        with pytest.raises((Interrupted, SourceDisconnected)):
            await checking
        assert engine.sink.records == before
        await engine.until(lambda: engine.resource.incomparable is not None)
        with pytest.raises(Interrupted):
            await check(engine.resource)


async def test_a_check_without_any_progress_ends_with_an_error() -> None:
    async with synced(an_engine(sync_timeout_seconds=2.0)) as engine:
        engine.source.listing_gate.clear()

        with pytest.raises(SyncStalled, match="no progress for 2 s"):
            await check(engine.resource)


async def test_a_record_deleted_during_its_repair_does_not_stay_as_a_phantom() -> None:
    async with synced(an_engine()) as engine:
        del engine.sink.records["k001"]
        engine.sink.gate.clear()
        checking = asyncio.create_task(check(engine.resource))
        await engine.until(lambda: engine.sink.in_flight, "the repair is on its way")
        engine.source.remove("k001")
        engine.sink.gate.set()
        outcome = await checking

        assert (outcome.missing, outcome.repaired) == (1, 1)
        assert "k001" not in engine.sink.records


async def test_records_that_break_the_rules_are_kept_and_are_no_drift() -> None:
    async with synced(an_engine()) as engine:
        kept = engine.sink.records["k001"]
        del engine.source.records["k001"]
        engine.source.invalid["k001"] = "port: a whole number is needed"
        outcome = await check(engine.resource)

        assert facts(outcome) == (0, 0, 0, 0)
        assert values(engine.sink)["k001"] == kept.value


async def test_a_resource_that_is_not_followed_is_not_comparable() -> None:
    engine = an_engine()
    assert engine.resource.incomparable is not None
    async with synced(engine):
        assert engine.resource.incomparable is None
        engine.resource._informer.freshness.open_gap(Instant.now())
        assert "changes may be missing since" in (engine.resource.incomparable or "")
        engine.resource.stop()
        assert engine.resource.incomparable == "the service is stopping"
