"""The collection is dropped, renamed, put back from a dump: nothing is known of what holds the records now."""

from __future__ import annotations

import pytest

from hybridsync.decision import Reason
from hybridsync.state import SyncStatus
from tests.unit.engine import Engine, ScriptedSource, completed, copy, fast, fresh, running, synced


def engine() -> Engine:
    it = Engine(source=ScriptedSource(a=b"1", b=b"2"), options=fast())
    it.sink.home = "A"
    return it


def take_away(it: Engine, home: str | None = "B") -> None:
    it.sink.records.clear()
    it.sink.home = home
    it.sink.generation += 1


async def test_a_mirror_that_is_gone_is_not_served_and_nothing_is_claimed_of_it_until_it_is_there_again() -> None:
    async with synced(engine()) as it:
        it.source.listing_gate.clear()
        take_away(it)
        await it.until(lambda: it.status.progress is not None, "a full sync")
        assert it.status.confirmed_at is None
        assert it.status.gap_since is not None
        assert not it.status.in_sync
        assert not it.resource.ready
        it.source.listing_gate.set()
        await it.in_sync()

        assert it.resource.ready
        assert it.triggers == ["reconnect"]
        assert it.store.states["r"].mirror == "B"


async def test_a_sink_that_may_have_lost_something_and_has_not_is_served_all_the_while() -> None:
    """A session of the published znodes ended, for one: they are still there, most likely."""
    async with synced(engine()) as it:
        it.source.listing_gate.clear()
        it.sink.generation += 1
        await it.until(lambda: it.status.progress is not None, "a full sync")
        assert it.resource.ready
        assert it.status.confirmed_at is None
        it.source.listing_gate.set()
        await it.in_sync()


async def test_a_watch_that_resumes_does_not_forgive_what_a_new_collection_lacks() -> None:
    it = engine()
    it.source.resumable = True
    async with synced(it):
        it.source.listing_gate.clear()
        take_away(it)
        await it.until(lambda: it.status.gap_since is not None)
        it.source.disconnect()
        it.source.listing_gate.set()
        await it.until(lambda: it.level, "everything is there again")
        await it.in_sync()


async def test_a_process_that_dies_while_it_fills_a_new_collection_is_not_believed_by_the_next() -> None:
    it = engine()
    async with synced(it):
        it.source.listing_gate.clear()
        take_away(it)
        await it.until(lambda: it.status.progress is not None)
        state = it.store.states["r"]
        assert (state.status, state.partial) == (SyncStatus.IN_PROGRESS, True)

        second = Engine(source=ScriptedSource(a=b"1", b=b"2"), store=it.store, options=fast())
        second.sink.home = "B"
        second.sink.records = {"a": second.source.records["a"]}
        second.source.listing_gate.clear()
        async with running(second):
            await second.until(lambda: second.status.decision is not None)
            assert second.status.decision is not None
            assert second.status.decision.blocking
            assert not second.resource.ready
            second.source.listing_gate.set()
            await second.in_sync()
            assert not second.store.states["r"].partial
        it.source.listing_gate.set()


@pytest.mark.parametrize("resumable", [False, True])
async def test_a_collection_that_was_made_anew_while_nobody_looked_is_synced_before_it_is_served(
    resumable: bool,
) -> None:
    it = engine()
    it.source.resumable = resumable
    copy(it.source, it.sink)
    it.sink.records.pop("a")
    it.sink.home = "B"
    it.store.states["r"] = completed(mirror="A", resume_from="2")
    async with running(it):
        await it.in_sync()
        assert it.status.decision is not None
        assert it.status.decision.reason is Reason.MIRROR_MISSING
        assert it.triggers == ["startup"]


async def test_a_position_of_another_server_is_never_resumed_from() -> None:
    it = fresh(engine())
    it.source.resumable = True
    it.source.place = "cluster 2"
    it.store.states["r"] = completed(mirror="A", resume_from="2", place="cluster 1")
    it.sink.records.pop("a")  # as nothing is told of what differs there
    async with running(it):
        await it.until(lambda: bool(it.results), "a listing")
        await it.in_sync()
        assert it.triggers == ["catch_up"]
        await it.until(lambda: it.store.states["r"].place == "cluster 2")

        it.results.clear()
        it.source.place = "cluster 3"
        it.source.records["b"] = it.source.records["b"]._replace(value=b"3", version=77)
        it.source.disconnect()
        await it.until(lambda: it.level, "the third cluster is listed as well")
        await it.in_sync()
