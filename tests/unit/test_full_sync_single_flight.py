"""One full sync at a time, recorded before and after, everyone who waits is told."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import structlog

from hybridsync.clock import Instant, utc_now
from hybridsync.decision import Mode
from hybridsync.errors import ListingFailed, SinkUnavailable, Stopping, describe
from hybridsync.state import SyncStatus
from hybridsync.state_keeper import StateKeeper
from hybridsync.status import Counters, SyncResult, Trigger
from hybridsync.sync_runner import SyncRunner
from hybridsync.testing import MemoryStore
from tests.eventually import eventually
from tests.unit.engine import ScriptedSink, ScriptedSource, fast, values


class Bench:
    """A runner and everything it touches."""

    def __init__(self, **options: Any) -> None:
        self.source, self.sink, self.store = ScriptedSource(a=b"1", b=b"2"), ScriptedSink(), MemoryStore()
        self.keeper = StateKeeper("r", self.store)
        self.counters = Counters()
        log = structlog.get_logger()
        self.runner = SyncRunner(self.source, self.sink, self.keeper, fast(**options), self.counters, log)

    def start(self, trigger: Trigger = Trigger.MANUAL) -> asyncio.Task[Exception | None]:
        return asyncio.create_task(self.runner.run(trigger, Instant.now()))

    @property
    def statuses(self) -> list[SyncStatus]:
        return [state.status for state in self.store.saved]


async def test_in_progress_is_saved_before_the_first_write_and_completed_after_the_last() -> None:
    bench = Bench()
    bench.sink.gate.clear()
    task = bench.start()
    await eventually(lambda: bench.sink.in_flight == 1)
    assert bench.statuses == [SyncStatus.IN_PROGRESS]
    assert bench.sink.writes == 0
    bench.sink.gate.set()

    assert await task is None
    assert bench.statuses == [SyncStatus.IN_PROGRESS, SyncStatus.COMPLETED]
    assert values(bench.sink) == values(bench.source)


async def test_what_a_completed_sync_leaves_in_its_state() -> None:
    bench = Bench(config_fingerprint="mine")
    listed_from = Instant.at(utc_now() - timedelta(seconds=1))
    await bench.runner.run(Trigger.STARTUP, listed_from)
    state = bench.store.states["r"]

    assert (state.last_sync_count, state.resource_version, state.config_fingerprint) == (2, "2", "mine")
    assert state.confirmed_at == listed_from.wall
    assert state.last_sync_time is not None
    assert state.last_sync_time >= listed_from.wall
    assert state.error is None
    assert state.last_sync_duration is not None


async def test_nothing_is_written_when_in_progress_cannot_be_saved() -> None:
    bench = Bench()
    bench.store.offline = True
    error = await bench.start()

    assert isinstance(error, SinkUnavailable)
    assert bench.sink.writes == 0
    assert bench.source.listings == 0
    await bench.keeper.close(0)


async def test_a_failure_is_saved_when_the_store_is_back_and_keeps_what_the_last_success_left() -> None:
    bench = Bench()
    await bench.start()
    good = bench.store.states["r"]
    bench.source.bug = ListingFailed("memory: read failed")
    bench.source.listing_gate.clear()
    task = bench.start()
    await eventually(lambda: bench.statuses[-1] is SyncStatus.IN_PROGRESS)
    bench.store.offline = True
    bench.source.listing_gate.set()
    assert isinstance(await task, ListingFailed)
    assert (bench.statuses[-1], bench.keeper.state.status) == (SyncStatus.IN_PROGRESS, SyncStatus.FAILED)
    bench.store.offline = False
    await eventually(lambda: bench.store.states["r"].status is SyncStatus.FAILED)

    state = bench.store.states["r"]
    assert state.error == "memory: read failed"
    assert (state.last_sync_time, state.resource_version) == (good.last_sync_time, good.resource_version)


async def test_everyone_who_waits_gets_the_same_result_and_one_who_left_harms_nobody() -> None:
    bench = Bench()
    bench.source.listing_gate.clear()
    early = bench.runner.join()
    task = bench.start(Trigger.PERIODIC)
    await eventually(lambda: bench.source.listings == 1)
    late, left = bench.runner.join(), bench.runner.join()
    left.cancel()
    bench.source.listing_gate.set()
    await task

    result = bench.runner.last_result
    assert (await early) is (await late) is result
    assert result is not None
    assert (result.trigger, result.read, result.inserted, result.error) == (Trigger.PERIODIC, 2, 2, None)
    assert bench.source.listings == 1
    assert not bench.runner.busy


async def test_it_is_busy_from_the_asking_to_the_result_and_progress_shows_only_meanwhile() -> None:
    bench = Bench()
    assert (bench.runner.busy, bench.runner.progress) == (False, None)
    bench.runner.join()
    assert (bench.runner.busy, bench.runner.wanted, bench.runner.progress) == (True, True, None)
    bench.source.listing_gate.clear()
    task = bench.start()
    await eventually(lambda: bench.runner.progress is not None)
    assert bench.runner.busy
    bench.source.listing_gate.set()
    await task

    assert (bench.runner.busy, bench.runner.wanted, bench.runner.progress) == (False, False, None)


async def test_a_refusal_is_a_result_with_the_error() -> None:
    bench = Bench()
    waiting = bench.runner.join()
    bench.runner.refuse(Stopping("the service is stopping"))

    result = await waiting
    assert (result.error, result.read) == ("the service is stopping", 0)
    assert bench.runner.last_result is None, "no full sync ran"


async def test_cancelling_the_caller_cancels_the_sync_and_is_not_swallowed() -> None:
    bench = Bench()
    bench.sink.gate.clear()
    waiting = bench.runner.join()
    task = bench.start()
    await eventually(lambda: bench.sink.in_flight == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert bench.sink.in_flight == 0
    assert (await waiting).error == "the service is stopping"
    assert bench.statuses == [SyncStatus.IN_PROGRESS], "a sync that was cut off says so after the next start"
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_stopping_cuts_a_sync_off_and_the_caller_goes_on() -> None:
    bench = Bench()
    bench.source.listing_gate.clear()
    task = bench.start()
    await eventually(lambda: bench.source.listings == 1)
    bench.runner.cancel()

    assert isinstance(await task, Stopping)
    assert bench.statuses == [SyncStatus.IN_PROGRESS]


async def test_what_nobody_foresaw_is_returned_named_and_recorded() -> None:
    bench = Bench()
    bench.source.bug = ZeroDivisionError("by\nzero")
    error = await bench.start()
    await bench.keeper.close(30)

    assert isinstance(error, ZeroDivisionError)
    assert bench.store.states["r"].status is SyncStatus.FAILED
    assert bench.store.states["r"].error == "ZeroDivisionError: by zero"


async def test_every_sync_is_counted_by_trigger_and_outcome_and_reported() -> None:
    bench = Bench(mode=Mode.ALWAYS)
    heard: list[SyncResult] = []
    bench.runner.on_result.append(heard.append)
    await bench.start(Trigger.STARTUP)
    bench.source.failing_reads = 1
    await bench.start(Trigger.MANUAL)
    await bench.start(Trigger.MANUAL)
    await bench.keeper.close(30)

    assert bench.counters.syncs == {
        (Trigger.STARTUP, True): 1,
        (Trigger.MANUAL, False): 1,
        (Trigger.MANUAL, True): 1,
    }
    assert [result.error for result in heard] == [None, "memory: read failed", None]
    assert (bench.counters.inserted, bench.counters.unchanged) == (2, 2)


async def test_what_was_kept_or_could_not_be_stored_is_in_the_result() -> None:
    bench = Bench()
    bench.source.hidden = {"a"}
    bench.sink.refused = {"b"}
    await bench.start()
    result = bench.runner.last_result

    assert result is not None
    assert (result.unreadable_count, result.unreadable) == (1, ("a",))
    assert (result.failed_documents, result.failed_samples) == (1, ("b: too strange",))
    assert result.error is None


def test_an_error_is_one_line_with_its_type_only_where_hybridsync_did_not_word_it() -> None:
    assert describe(ListingFailed("two\n  lines")) == "two lines"
    assert describe(ValueError("two\n  lines")) == "ValueError: two lines"
    assert describe(ListingFailed()) == "ListingFailed"
    assert describe(KeyError()) == "KeyError"
