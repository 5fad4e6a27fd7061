"""A source whose root is not there: a mistake unless a watch saw it go. It empties no mirror, of whatever size."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hybridsync.errors import SweepRefused
from hybridsync.model import Applied, Change
from hybridsync.preview import preview
from hybridsync.state import SyncStatus
from hybridsync.sweep_guard import SweepRules
from hybridsync.verify import verify
from tests.unit.engine import Engine, ScriptedSource, completed, copy, fast, filled, fresh, full_sync, running, synced


def engine() -> Engine:
    return Engine(source=ScriptedSource(**{f"k{number}": b"v" for number in range(61)}), options=fast())


def empty(it: Engine) -> None:
    it.source.records.clear()
    it.source.root_missing = True


async def test_a_mistyped_root_empties_nothing_and_says_how_much_it_would_have() -> None:
    source, sink = filled(61)
    source.records.clear()
    source.root_missing = True
    with pytest.raises(SweepRefused, match=r"memory: its root is not there, so 61 of 61 .* nothing was changed"):
        await full_sync(source, sink).run()
    assert len(sink.records) == 61

    planned = await preview(source, sink, SweepRules(50))
    assert (planned.delete, "its root is not there" in (planned.refused or "")) == (61, True)
    report = await verify(source, sink, repair=True, settle_seconds=0, sweep_limit_percent=50)
    assert (report.extra, report.repaired, len(sink.records)) == (61, 0, 61)
    assert "its root is not there" in (report.error or "")


async def test_a_root_that_is_missing_beside_an_empty_mirror_is_no_error() -> None:
    source, sink = filled(0)
    source.root_missing = True
    await full_sync(source, sink).run()


@pytest.mark.parametrize(
    "rules", [SweepRules(100), SweepRules(50, allowed=True), SweepRules(50, removal_seen=lambda: True)]
)
async def test_who_says_that_it_is_right_is_believed(rules: SweepRules) -> None:
    source, sink = filled(61)
    source.records.clear()
    source.root_missing = True
    sync = full_sync(source, sink)
    sync.rules = rules
    await sync.run()
    assert sink.records == {}


async def test_nothing_listed_after_a_change_of_the_configuration_empties_nothing() -> None:
    it = engine()
    copy(it.source, it.sink)
    it.store.states["r"] = completed(config_fingerprint="another", last_sync_count=61)
    it.source.records.clear()
    async with running(it):
        await it.until(lambda: bool(it.results), "a refused sync")
        assert "nothing was listed after the configuration was changed" in (it.results[0].error or "")
        assert len(it.sink.records) == 61
        assert not it.resource.ready, "the mirror is that of another configuration"
        assert (await it.resource.request_sync(allow_sweep=True)).error is None
        await it.in_sync()
        assert it.sink.records == {}


async def test_an_emptied_root_that_is_still_there_is_followed() -> None:
    source, sink = filled(61)
    source.records.clear()
    await full_sync(source, sink).run()
    assert sink.records == {}


async def test_a_sync_that_is_refused_leaves_ready_what_was_whole_also_after_a_restart() -> None:
    it = engine()
    async with synced(it):
        empty(it)
        result = await it.resource.request_sync()
        assert "its root is not there" in (result.error or "")
        assert it.resource.ready
        assert not it.status.in_sync
    assert it.store.states["r"].status is SyncStatus.FAILED

    second = Engine(source=it.source, sink=it.sink, store=it.store, options=fast())
    async with running(second):
        await second.until(lambda: bool(second.results), "it tries behind the readiness")
        assert second.resource.ready
        assert second.results[0].error is not None
        assert second.triggers[0] == "catch_up!"
        assert len(second.sink.records) == 61


async def test_allowing_the_sweep_counts_once_and_also_for_a_sync_that_runs() -> None:
    it = engine()
    async with synced(it):
        empty(it)
        it.source.listing_gate.clear()
        first = it.resource.request_sync()
        await it.until(lambda: it.status.progress is not None)
        second = it.resource.request_sync(allow_sweep=True)
        it.source.listing_gate.set()
        assert ((await first).error, (await second).error) == (None, None)
        assert it.sink.records == {}

        it.sink.records = {"k": filled(1)[0].records["k00000"]}
        assert "its root is not there" in ((await it.resource.request_sync()).error or "")


async def test_a_removal_that_the_watch_saw_is_remembered_before_it_is_applied_and_finished_by_the_next_life() -> None:
    it = fresh(engine())
    async with synced(it):
        remembered: list[bool] = []
        apply = it.sink.apply

        async def noting(changes: Sequence[Change]) -> Applied:
            remembered.append(it.store.states["r"].removal_seen)
            return await apply(changes)

        it.sink.apply = noting  # type: ignore[method-assign]
        it.source.removal_seen = it.source.root_missing = True
        it.source.remove("k0")
        await it.until(lambda: bool(remembered))
        assert remembered == [True]
        it.sink.apply = apply  # type: ignore[method-assign]
    it.source.records.clear()
    it.source.removal_seen = False  # another process has seen nothing itself

    second = Engine(source=it.source, sink=it.sink, store=it.store, options=fast())
    async with running(second):
        await second.in_sync()
        assert second.sink.records == {}
        assert second.store.states["r"].removal_seen, "until the root is there again"
        second.source.root_missing = False
        second.source.put("new", b"v")
        assert (await second.resource.request_sync()).error is None
        assert not second.store.states["r"].removal_seen


async def test_what_was_remembered_of_one_configuration_excuses_no_mistake_in_another() -> None:
    it = engine()
    copy(it.source, it.sink)
    it.store.states["r"] = completed(config_fingerprint="another", last_sync_count=61, removal_seen=True)
    empty(it)
    async with running(it):
        await it.until(lambda: bool(it.results))
        assert it.results[0].error is not None
        assert len(it.sink.records) == 61
