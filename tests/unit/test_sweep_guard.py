"""A full sync removes what is gone, but not too much of it, and never after an incomplete listing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from hybridsync import full_sync as module
from hybridsync.errors import ListingFailed, SinkUnavailable, SweepRefused
from hybridsync.model import Batch, Listing
from hybridsync.testing import MemorySink, MemorySource
from tests.eventually import eventually
from tests.unit.engine import ScriptedSink, ScriptedSource, filled, full_sync, values


def lose(source: MemorySource, count: int) -> None:
    """Removes the first `count` records."""
    for key in sorted(source.records)[:count]:
        source.remove(key)


@pytest.mark.parametrize("lost", [51, 99, 100])
async def test_too_many_gone_is_refused_and_changes_nothing_at_all(lost: int) -> None:
    source, sink = filled(100)
    before = dict(sink.records)
    lose(source, lost)
    for number in range(5):
        source.put(f"new{number}", b"new")
    for key in sorted(source.records)[:3]:
        source.put(key, b"changed")
    sync = full_sync(source, sink)
    with pytest.raises(SweepRefused) as refused:
        await sync.run()

    assert sink.records == before
    assert sink.writes == 0
    assert str(refused.value).startswith(f"{lost} of 100 records of the mirror are gone at the source")
    assert "SWEEP_LIMIT_PERCENT=50" in str(refused.value)
    assert "nothing was changed" in str(refused.value)
    assert sync.progress.deleted == sync.progress.inserted == sync.progress.updated == 0


async def test_just_at_the_limit_passes() -> None:
    source, sink = filled(100)
    lose(source, 50)
    source.put("new", b"new")
    await full_sync(source, sink).run()

    assert values(sink) == values(source)


@pytest.mark.parametrize(
    ("limit", "lost", "passes"), [(0, 1, False), (0, 0, True), (12.5, 12, True), (12.5, 13, False)]
)
async def test_other_limits(limit: float, lost: int, passes: bool) -> None:
    source, sink = filled(100)
    lose(source, lost)
    if passes:
        await full_sync(source, sink, limit=limit).run()
        assert values(sink) == values(source)
    else:
        with pytest.raises(SweepRefused, match=f"SWEEP_LIMIT_PERCENT={limit:g}"):
            await full_sync(source, sink, limit=limit).run()
        assert len(sink.records) == 100


async def test_a_mirror_of_ninety_nine_is_not_guarded() -> None:
    source, sink = filled(99)
    lose(source, 99)
    await full_sync(source, sink).run()

    assert sink.records == {}


async def test_a_limit_of_a_hundred_percent_is_no_guard() -> None:
    source, sink = filled(300)
    lose(source, 300)
    await full_sync(source, sink, limit=100).run()

    assert sink.records == {}


async def test_an_empty_source_is_not_the_same_as_one_that_cannot_be_read() -> None:
    source, sink = filled(20)
    source.records.clear()
    source.failing_reads = 1
    with pytest.raises(ListingFailed):
        await full_sync(source, sink).run()
    assert len(sink.records) == 20

    await full_sync(source, sink).run()
    assert sink.records == {}


@pytest.mark.parametrize("count", [20, 200])
async def test_a_listing_that_breaks_off_in_the_middle_removes_nothing(count: int) -> None:
    class Breaks(MemorySource):
        async def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
            async for batch in super().list(listing):
                yield batch
                if batch.records[-1].key > "k00009":
                    raise ListingFailed("the middle")

    full, sink = filled(count)
    source = Breaks()
    source.records = dict(full.records)
    del source.records["k00000"]
    with pytest.raises(ListingFailed, match="the middle"):
        await full_sync(source, sink).run()

    assert len(sink.records) == count
    assert sink.sweeps == 0


@pytest.mark.parametrize("count", [20, 200])
async def test_a_listing_without_a_position_removes_nothing(count: int) -> None:
    class Forgets(MemorySource):
        async def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
            async for batch in super().list(listing):
                yield batch
            listing.position = None

    full, sink = filled(count)
    source = Forgets()
    source.records = dict(full.records)
    del source.records["k00000"]
    with pytest.raises(ListingFailed, match="memory: the listing ended without a position"):
        await full_sync(source, sink).run()

    assert len(sink.records) == count


async def test_nothing_is_removed_before_the_last_write_is_acknowledged() -> None:
    source, sink = ScriptedSource(new=b"new"), ScriptedSink()
    sink.records["gone"] = source.records["new"]._replace(key="gone")
    sink.gate.clear()
    sync = asyncio.create_task(full_sync(source, sink).run())
    await eventually(lambda: sink.in_flight == 1)
    for _ in range(50):
        await asyncio.sleep(0)
    assert sink.in_flight == 1, "the removal waits for the write"
    sink.bug = SinkUnavailable("memory: late failure")
    sink.gate.set()
    with pytest.raises(SinkUnavailable, match="late failure"):
        await sync

    assert "gone" in sink.records


async def test_differences_that_outgrow_memory_are_written_by_a_second_listing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HOLD_BYTES", 10 * (module.RECORD_OVERHEAD_BYTES + 5))
    source, sink = filled(200)
    for key in list(source.records):
        source.put(key, b"other")
    lose(source, 30)
    source.hidden = {"nothing/of/ours"}
    sync = full_sync(source, sink)
    await sync.run()

    assert source.listings == 2
    assert sync.listing.unreadable == ["nothing/of/ours"], "of the second listing only"
    assert values(sink) == values(source)
    assert (sync.progress.read, sync.progress.updated, sync.progress.deleted) == (170, 170, 30)


async def test_differences_that_outgrow_memory_are_still_refused_when_too_many_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HOLD_BYTES", 1000)
    source, sink = filled(200)
    before = dict(sink.records)
    for key in list(source.records):
        source.put(key, b"other")
    lose(source, 150)
    with pytest.raises(SweepRefused):
        await full_sync(source, sink).run()

    assert sink.records == before
    assert source.listings == 1


async def test_a_second_listing_that_finds_too_many_gone_removes_nothing_and_says_just_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only a source that loses most of its records between two listings can get so far."""

    class Shrinks(MemorySource):
        async def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
            if self.listings == 1:
                lose(self, 150)
            async for batch in super().list(listing):
                yield batch

    monkeypatch.setattr(module, "HOLD_BYTES", 1000)
    source, sink = Shrinks(), MemorySink()
    for value in (b"old", b"new"):
        sink.records = dict(source.records)
        for number in range(200):
            source.put(f"k{number:05}", value)
    with pytest.raises(SweepRefused, match=r"150 of 200 records .* nothing was removed"):
        await full_sync(source, sink).run()

    assert len(sink.records) == 200


async def test_a_growing_source_is_held_back_only_until_enough_of_the_mirror_was_seen_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HOLD_BYTES", 100 * module.RECORD_OVERHEAD_BYTES)
    source, sink = filled(100)
    for number in range(500):
        source.put(f"k00055-{number:03}", b"new")
    await full_sync(source, sink).run()

    assert source.listings == 1
    assert values(sink) == values(source)


async def test_what_may_not_be_read_is_kept_and_its_neighbours_are_not() -> None:
    source, sink = MemorySource(), MemorySink()
    for key in ("/a", "/a/secret", "/a/secret/x", "/a/secret/x/y", "/a/secrets", "/a/secret-not", "/b"):
        source.put(key, b"v")
    sink.records = dict(source.records)
    source.hidden = {"/a/secret"}
    for key in ("/a/secrets", "/a/secret-not", "/b", "/a/secret/x/y"):
        source.remove(key)
    sync = full_sync(source, sink)
    await sync.run()

    assert set(sink.records) == {"/a", "/a/secret", "/a/secret/x", "/a/secret/x/y"}
    assert sync.listing.unreadable == ["/a/secret"]


async def test_a_root_that_may_not_be_read_keeps_the_whole_mirror() -> None:
    source, sink = MemorySource(), MemorySink()
    for key in ("/", "/a", "/b"):
        source.put(key, b"v")
    sink.records = dict(source.records)
    source.records.clear()
    source.hidden = {"/"}
    await full_sync(source, sink).run()

    assert set(sink.records) == {"/", "/a", "/b"}


async def test_what_may_not_be_read_does_not_count_as_gone_for_the_guard() -> None:
    source, sink = MemorySource(), MemorySink()
    for number in range(100):
        source.put(f"/hidden/{number}", b"v")
    for number in range(20):
        source.put(f"/open/{number}", b"v")
    sink.records = dict(source.records)
    source.hidden = {"/hidden"}
    source.put("/open/0", b"changed")
    source.remove("/open/1")
    await full_sync(source, sink).run()

    assert len(sink.records) == 119
    assert sink.records["/open/0"].value == b"changed"


async def test_a_record_that_reappears_during_the_sweep_is_not_erased() -> None:
    """Deleted before the listing passed it, created again afterwards and already written by another hand."""
    source, sink = filled(10)
    source.remove("k00003")

    def reappears() -> None:
        source.put("k00003", b"back")
        sink.records["k00003"] = source.records["k00003"]

    sink.on_sweep = reappears
    await full_sync(source, sink).run()

    assert values(sink) == values(source)
