"""Source and mirror compared record by record: what counts, what does not, and what a repair touches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest

from hybridsync.errors import ListingFailed, SinkUnavailable, SyncStalled
from hybridsync.model import Applied, Batch, Change, Index, Listing
from hybridsync.testing import MemorySink, MemorySource
from hybridsync.verify import VerifyReport, verify
from tests.unit.engine import copy, filled, values


class Catching(MemorySink):
    """`meanwhile` happens between the first look and the second; `applied` is every key ever written."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.meanwhile = meanwhile
        self.applied: list[str] = []

    async def held(self, keys: Sequence[str]) -> Index:
        self.meanwhile()
        return await super().held(keys)

    async def apply(self, changes: Sequence[Change]) -> Applied:
        self.applied += [change.key for change in changes]
        return await super().apply(changes)


def drifted() -> tuple[MemorySource, Catching]:
    """One record missing, one extra, one of another version, one of the same version and other content."""
    source, _ = filled(50)
    sink = Catching()
    sink.records = dict(source.records)
    del sink.records["k00001"]
    sink.records["extra"] = source.records["k00002"]._replace(key="extra")
    source.put("k00003", b"newer")
    sink.records["k00004"] = source.records["k00004"]._replace(value=b"tampered")
    return source, sink


def facts(report: VerifyReport) -> tuple[int, int, int, int]:
    return report.missing, report.extra, report.different, report.repaired


async def test_equal_sides_have_no_drift() -> None:
    source, sink = filled(50)
    report = await verify(source, sink, settle_seconds=0)

    assert (report.drift, report.compared, report.samples) == (0, 50, {})


async def test_missing_extra_and_different_records_are_counted_and_named() -> None:
    source, sink = drifted()
    before = dict(sink.records)
    report = await verify(source, sink, settle_seconds=0)

    assert facts(report) == (1, 1, 2, 0)
    assert report.drift == 4
    assert report.samples == {"missing": ["k00001"], "extra": ["extra"], "different": ["k00003", "k00004"]}
    assert sink.records == before, "without repair nothing is written"


async def test_a_repair_makes_just_those_right() -> None:
    source, sink = drifted()
    report = await verify(source, sink, repair=True, settle_seconds=0)

    assert facts(report) == (1, 1, 2, 4)
    assert values(sink) == values(source)
    assert sorted(sink.applied) == ["extra", "k00001", "k00003", "k00004"]
    assert (await verify(source, sink, settle_seconds=0)).drift == 0


async def test_a_difference_that_a_second_look_does_not_see_does_not_count() -> None:
    """A running service brought every change in between the two looks."""
    source, sink = drifted()
    sink.meanwhile = lambda: copy(source, sink)
    report = await verify(source, sink, repair=True, settle_seconds=0)

    assert report.drift == 0
    assert sink.applied == []


async def test_a_record_that_changes_all_the_time_and_is_followed_is_no_drift() -> None:
    """The mirror is behind at every look, and moves on from look to look."""
    source, _ = filled(5)
    sink = Catching()
    sink.records = dict(source.records)
    source.put("k00001", b"newer")

    def followed() -> None:
        copy(source, sink)
        source.put("k00001", b"newest")

    sink.meanwhile = followed
    report = await verify(source, sink, repair=True, settle_seconds=0)

    assert (report.drift, sink.applied) == (0, [])


async def test_a_record_that_changes_all_the_time_and_is_not_followed_is_drift() -> None:
    source, _ = filled(5)
    sink = Catching(lambda: source.put("k00001", b"newer"))
    sink.records = dict(source.records)
    source.put("k00001", b"new")

    assert facts(await verify(source, sink, settle_seconds=0)) == (0, 0, 1, 0)


async def test_what_is_gone_from_both_sides_at_the_second_look_does_not_count() -> None:
    source, sink = drifted()

    def all_deleted() -> None:
        for key in list(source.records):
            source.remove(key)
        sink.records.clear()

    sink.meanwhile = all_deleted

    assert (await verify(source, sink, settle_seconds=0)).drift == 0


async def test_a_repair_that_does_not_hold_is_not_called_one() -> None:
    source, sink = drifted()

    def undone() -> None:
        sink.records.pop("k00001", None)

    sink.meanwhile = undone
    report = await verify(source, sink, repair=True, settle_seconds=0)

    assert (report.missing, report.repaired) == (1, 3)


async def test_what_may_not_be_read_is_neither_compared_nor_repaired() -> None:
    source, sink = MemorySource(), Catching()
    for key in ("/a", "/a/secret", "/a/secret/x", "/a/secrets"):
        source.put(key, b"v")
    sink.records = dict(source.records)
    source.remove("/a/secret/x")
    source.remove("/a/secrets")
    source.hidden = {"/a/secret"}
    report = await verify(source, sink, repair=True, settle_seconds=0)

    assert (report.unreadable, report.extra, report.samples) == (1, 1, {"extra": ["/a/secrets"]})
    assert set(sink.records) == {"/a", "/a/secret", "/a/secret/x"}


async def test_what_may_no_longer_be_read_at_the_second_look_is_not_erased() -> None:
    source, sink = MemorySource(), Catching()
    source.put("/a", b"old")
    sink.records = dict(source.records)
    source.put("/a", b"new")

    def forbidden() -> None:
        source.hidden = {"/a"}

    sink.meanwhile = forbidden
    report = await verify(source, sink, repair=True, settle_seconds=0)

    assert report.drift == 0
    assert values(sink) == {"/a": b"old"}


async def test_only_the_first_few_keys_are_named_and_all_are_counted() -> None:
    source, sink = filled(1200, sink_too=False)
    report = await verify(source, sink, settle_seconds=0)

    assert report.missing == 1200
    assert len(report.samples["missing"]) == 10


async def test_a_repair_that_would_remove_too_much_changes_nothing_and_says_so() -> None:
    """The source came back empty, or the path is wrong: that is for a person to say."""
    full, _ = filled(150)
    source, sink = MemorySource(), Catching()
    source.put("new", b"v")
    sink.records = dict(full.records)
    report = await verify(source, sink, repair=True, settle_seconds=0, sweep_limit_percent=50)

    assert facts(report) == (1, 150, 0, 0)
    assert "150 of 150 records" in (report.error or "")
    assert sink.applied == []
    assert (await verify(source, sink, repair=True, settle_seconds=0, sweep_limit_percent=100)).repaired == 151
    assert values(sink) == {"new": b"v"}


async def test_a_repair_looks_again_until_a_record_deleted_meanwhile_is_gone() -> None:
    """The source deletes the record while its repair is on its way: nobody else would remove it."""
    source, _ = filled(5)

    class Late(Catching):
        async def apply(self, changes: Sequence[Change]) -> Applied:
            source.remove("k00001")
            return await super().apply(changes)

    sink = Late()
    sink.records = dict(source.records)
    del sink.records["k00001"]
    report = await verify(source, sink, repair=True, settle_seconds=0)

    assert facts(report) == (1, 0, 0, 1)
    assert values(sink) == values(source)
    assert "k00001" not in sink.records


async def test_many_differences_are_repaired_in_batches() -> None:
    source, sink = filled(1200, sink_too=False)
    writes: list[int] = []

    class Batches(Catching):
        async def apply(self, changes: Sequence[Change]) -> Applied:
            writes.append(len(changes))
            return await super().apply(changes)

    sink = Batches()
    report = await verify(source, sink, repair=True, settle_seconds=0)

    assert (report.repaired, sum(writes)) == (1200, 1200)
    assert max(writes) <= 200
    assert len(writes) <= 12


async def test_a_comparison_without_any_progress_ends_with_an_error() -> None:
    source, sink = filled(3)

    class Frozen(MemorySource):
        async def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
            await asyncio.Event().wait()
            yield Batch([])

    with pytest.raises(SyncStalled, match=r"no progress for 0\.05 s"):
        await verify(Frozen(), sink, settle_seconds=0, stall_seconds=0.05)
    assert (await verify(source, sink, settle_seconds=0, stall_seconds=60)).compared == 3


class BreaksOff(MemorySource):
    """Its listing ends early: with an error, or without a position."""

    def __init__(self, error: bool) -> None:
        super().__init__()
        self.error = error

    async def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
        async for batch in super().list(listing):
            yield batch
            if self.error:
                raise ListingFailed("memory: broken off")
            return


@pytest.mark.parametrize("error", [True, False])
async def test_an_incomplete_listing_has_no_result_and_repairs_nothing(error: bool) -> None:
    full, _ = filled(30)
    source, sink = BreaksOff(error), Catching()
    source.records = dict(full.records)
    sink.records = dict(full.records)
    with pytest.raises(ListingFailed, match="memory: "):
        await verify(source, sink, repair=True, settle_seconds=0)

    assert sink.applied == []


async def test_a_sink_that_is_away_has_no_result() -> None:
    source, sink = filled(3)
    sink.offline = True
    with pytest.raises(SinkUnavailable):
        await verify(source, sink, settle_seconds=0)
