"""A full sync writes what differs and nothing else, and shows how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from hybridsync import full_sync as module
from hybridsync.dirty import DirtySet
from hybridsync.errors import SinkUnavailable, SourceDisconnected, SyncStalled
from hybridsync.model import Batch, Listing
from hybridsync.testing import MemorySink, MemorySource
from hybridsync.write_pipeline import IN_FLIGHT
from tests.eventually import eventually
from tests.unit.engine import ScriptedSink, ScriptedSource, filled, full_sync, values


async def test_an_unchanged_tree_writes_nothing() -> None:
    source, sink = filled(50)
    sync = full_sync(source, sink)
    await sync.run()

    assert sink.writes == 0
    assert (sync.progress.read, sync.progress.unchanged) == (50, 50)
    assert sync.listing.position == "50"


async def test_an_empty_mirror_gets_everything() -> None:
    source, sink = filled(2500, sink_too=False)
    source.list_batch = 400
    sync = full_sync(source, sink)
    await sync.run()

    assert values(sink) == values(source)
    assert (sync.progress.read, sync.progress.inserted, sync.progress.updated) == (2500, 2500, 0)


async def test_one_changed_one_new_one_gone_are_three_writes() -> None:
    source, sink = filled(150)
    source.put("k00003", b"changed")
    source.put("new", b"new")
    source.remove("k00149")
    sync = full_sync(source, sink)
    await sync.run()

    assert values(sink) == values(source)
    assert sink.writes == 3
    progress = sync.progress
    assert (progress.inserted, progress.updated, progress.deleted, progress.unchanged) == (1, 1, 1, 148)


async def test_a_record_deleted_and_created_again_with_the_same_value_is_written() -> None:
    source, sink = filled(3)
    source.remove("k00001")
    source.put("k00001", b"value")
    await full_sync(source, sink).run()

    assert sink.records == source.records


async def test_a_source_restored_from_a_backup_wins_although_it_counts_from_low_numbers() -> None:
    source, sink = filled(5)
    for key in list(source.records):
        source.put(key, b"later")
    await full_sync(source, sink).run()
    source.reset_history()
    source.put("k00000", b"restored")
    await full_sync(source, sink).run()

    assert sink.records == source.records


async def test_what_a_sink_cannot_store_is_named_and_the_rest_is_written() -> None:
    source, sink = ScriptedSource(a=b"1", b=b"2", c=b"3"), ScriptedSink()
    sink.refused = {"b"}
    sync = full_sync(source, sink)
    await sync.run()

    assert values(sink) == {"a": b"1", "c": b"3"}
    assert sync.failed == {"b": "too strange"}


async def test_one_of_several_batches_in_flight_fails_and_nothing_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_RECORDS", 10)
    source, sink = filled(90, sink_too=False)
    sink.records["gone"] = source.records["k00000"]._replace(key="gone")
    sink.failing_writes = 1
    with pytest.raises(SinkUnavailable, match="write failed"):
        await full_sync(source, sink).run()

    assert "gone" in sink.records
    assert sink.sweeps == 0
    await full_sync(source, sink).run()
    assert values(sink) == values(source)


async def test_never_more_than_a_few_batches_are_in_flight_and_an_error_leaves_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BATCH_RECORDS", 3)
    source, sink = ScriptedSource(), ScriptedSink()
    for number in range(60):
        source.put(f"k{number:02}", b"v")
    sink.gate.clear()
    sync = asyncio.create_task(full_sync(source, sink).run())
    await eventually(lambda: sink.in_flight == IN_FLIGHT)
    for _ in range(50):
        await asyncio.sleep(0)
    assert sink.in_flight == IN_FLIGHT
    source.disconnect()
    sync.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sync

    assert sink.in_flight == 0


async def test_progress_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_RECORDS", 3)
    source, sink = ScriptedSource(a=b"1", b=b"1", c=b"1", d=b"1"), ScriptedSink()
    source.listing_gate.clear()
    running = full_sync(source, sink)
    assert running.progress.read == 0
    task = asyncio.create_task(running.run())
    await eventually(lambda: source.listings == 1)
    assert running.progress.read == 0
    sink.gate.clear()
    source.listing_gate.set()
    await eventually(lambda: running.progress.read == 4)
    assert running.progress.inserted == 0, "nothing is acknowledged yet"
    running.listing.total = 4
    sink.gate.set()
    await task

    assert running.progress.inserted == 4
    assert running.progress.total == 4
    assert running.progress.elapsed_seconds > 0


async def test_without_any_progress_it_gives_up() -> None:
    source, sink = ScriptedSource(a=b"1"), MemorySink()
    source.listing_gate.clear()
    with pytest.raises(SyncStalled, match=r"^the full sync made no progress for 0\.02 s$"):
        await full_sync(source, sink, stall_seconds=0.02).run()


async def test_a_sink_that_never_answers_stalls_it_and_no_write_stays_behind() -> None:
    source, sink = ScriptedSource(a=b"1"), ScriptedSink()
    sink.gate.clear()
    with pytest.raises(SyncStalled):
        await full_sync(source, sink, stall_seconds=0.02).run()

    assert sink.in_flight == 0


async def test_a_sink_that_never_answers_a_removal_stalls_it_and_no_write_stays_behind() -> None:
    source, sink = ScriptedSource(a=b"1"), ScriptedSink()
    sink.records = {key: source.records["a"]._replace(key=key) for key in ("a", "gone")}
    sink.gate.clear()
    with pytest.raises(SyncStalled):
        await full_sync(source, sink, stall_seconds=0.02).run()

    assert sink.in_flight == 0


async def test_a_slow_one_that_makes_progress_outlives_the_limit_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes most of the allowed time on the loop's own clock, so the test does not wait for it."""
    now = 0.0
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", lambda: now)

    class Slow(MemorySource):
        async def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
            nonlocal now
            async for batch in super().list(listing):
                now += 50
                yield batch

    source, sink = Slow(), MemorySink()
    for number in range(60):
        source.put(f"k{number:02}", b"v")
    await full_sync(source, sink, stall_seconds=60).run()

    assert now >= 20 * 50
    assert values(sink) == values(source)


async def test_a_timeout_of_the_source_itself_is_not_mistaken_for_a_stall() -> None:
    source, sink = ScriptedSource(a=b"1"), MemorySink()
    source.bug = TimeoutError("from below")
    with pytest.raises(TimeoutError, match="from below"):
        await full_sync(source, sink).run()


async def test_a_connection_cut_in_the_middle_ends_it_with_that_error() -> None:
    source, sink = ScriptedSource(a=b"1", b=b"2", c=b"3", d=b"4"), MemorySink()
    source.listing_gate.clear()
    async with source.watch(DirtySet()):
        task = asyncio.create_task(full_sync(source, sink).run())
        await eventually(lambda: source.listings == 1)
        source.disconnect()
        source.listing_gate.set()
        with pytest.raises(SourceDisconnected):
            await task

    assert sink.records == {}
