"""Changes that cannot be written yet wait, in bounds, and nothing is lost."""

from __future__ import annotations

import asyncio

import pytest

from hybridsync.errors import ListingFailed
from hybridsync.status import InformerState
from tests.unit.engine import Engine, ScriptedSource, fast, synced


def engine(**options: object) -> Engine:
    return Engine(source=ScriptedSource(a=b"1", b=b"2"), options=fast(**options))


async def test_while_the_sink_is_away_changes_stay_pending_and_are_then_written() -> None:
    async with synced(engine()) as it:
        it.sink.offline = True
        it.source.put("a", b"waits")
        it.source.put("c", b"waits too")
        it.source.remove("b")
        await it.until(lambda: it.resource.trouble == "r: memory: sink offline")
        assert it.status.pending == 3
        assert not it.status.in_sync
        assert it.status.informer_state is InformerState.WATCHING
        assert it.status.gap_since is None, "nothing is missed, only not written"
        it.sink.offline = False
        await it.in_sync()

        assert it.resource.trouble is None
        assert it.results == []


async def test_a_write_that_fails_half_way_is_repeated_whole() -> None:
    async with synced(engine()) as it:
        it.sink.failing_writes = 3
        for number in range(10):
            it.source.put(f"k{number}", b"new")
        await it.in_sync()

        assert it.results == []


async def test_a_read_that_fails_is_repeated() -> None:
    async with synced(engine()) as it:
        it.source.failing_reads = 3
        it.source.put("a", b"changed")
        await it.in_sync()

        assert it.results == []


async def test_more_pending_keys_than_allowed_become_one_full_sync() -> None:
    async with synced(engine(dirty_limit=5)) as it:
        it.sink.offline = True
        for number in range(50):
            it.source.put(f"k{number:02}", b"new")
        it.source.remove("a")
        assert not it.status.in_sync
        await it.until(lambda: it.status.gap_since is not None)
        it.sink.offline = False
        await it.in_sync()

        assert it.triggers[-1] == "reconnect"
        assert it.source.listings >= 2


async def test_an_overflow_during_a_full_sync_leads_to_another() -> None:
    async with synced(engine(dirty_limit=5)) as it:
        it.source.listing_gate.clear()
        asked = it.resource.request_sync()
        await it.until(lambda: it.status.progress is not None)
        for number in range(20):
            it.source.put(f"A{number:02}", b"behind the listing")
        it.source.listing_gate.set()
        assert (await asked).error is None
        assert not it.status.in_sync
        await it.in_sync()

        assert it.triggers == ["manual", "reconnect"]


async def test_the_sink_away_during_a_full_sync_fails_it_and_the_next_one_succeeds() -> None:
    async with synced(engine()) as it:
        it.sink.offline = it.store.offline = True
        result = await it.resource.request_sync()
        assert result.error == "memory: sink offline"
        assert it.resource.trouble == "r: the last full sync failed: memory: sink offline"
        it.sink.offline = it.store.offline = False
        it.sink.records.clear()
        await it.until(lambda: it.level)
        await it.in_sync()

        assert it.triggers[-1] == "manual"
        assert it.resource.trouble is None


async def test_a_sync_refused_by_the_guard_is_told_and_changes_go_on_arriving() -> None:
    it = Engine(source=ScriptedSource(**{f"k{number:03}": b"v" for number in range(120)}))
    it.options = fast(failed_sync_backoff=(600.0, 600.0))
    it = Engine(source=it.source, options=it.options)
    async with synced(it):
        it.source.silent = True
        for number in range(100):
            it.source.remove(f"k{number:03}")
        it.source.disconnect()
        await it.until(lambda: it.results)
        assert it.triggers == ["reconnect!"]
        assert it.resource.trouble is not None
        assert "SWEEP_LIMIT_PERCENT" in it.resource.trouble
        assert len(it.sink.records) == 120
        it.source.put("k119", b"changed")
        await it.until(lambda: it.sink.records["k119"].value == b"changed")

        assert it.status.gap_since is not None
        assert not it.status.in_sync
        assert it.resource.ready, "the old mirror is served"


async def test_a_manual_sync_is_joined_by_those_who_ask_while_it_runs() -> None:
    async with synced(engine()) as it:
        it.source.listing_gate.clear()
        first = it.resource.request_sync()
        assert it.resource.syncing
        await it.until(lambda: it.status.progress is not None)
        second = it.resource.request_sync()
        it.source.listing_gate.set()

        assert (await first) is (await second)
        assert it.triggers == ["manual"]


@pytest.mark.parametrize("error", [ListingFailed("one znode could not be read")])
async def test_a_manual_sync_that_fails_is_owed_until_it_succeeds(error: Exception) -> None:
    async with synced(engine()) as it:
        it.source.bug = error
        assert (await it.resource.request_sync()).error == str(error)
        await it.until(lambda: len(it.results) == 2)

        assert it.triggers == ["manual!", "manual"]


async def test_after_a_failed_sync_nothing_is_called_in_sync_although_changes_arrive() -> None:
    async with synced(engine(failed_sync_backoff=(3600.0, 3600.0))) as it:
        it.source.bug = ListingFailed("one znode could not be read")
        await it.resource.request_sync()
        it.source.put("a", b"followed")
        await it.proven()

        assert it.status.gap_since is None
        assert not it.status.in_sync


async def test_a_request_that_cannot_connect_fails_with_the_reason() -> None:
    async with synced(engine(informer_max_reconnects=10**9)) as it:
        it.source.offline = True
        it.source.disconnect()
        async with asyncio.timeout(60):
            result = await it.resource.request_sync()

        assert result.error == "memory: offline"
        it.source.offline = False
        await it.in_sync()


async def test_a_sink_that_may_have_lost_what_it_held_is_filled_again() -> None:
    async with synced(engine()) as it:
        it.sink.records.clear()
        it.sink.generation += 1
        await it.until(lambda: it.triggers == ["reconnect"])
        await it.in_sync()

        assert it.status.gap_since is None


async def test_what_a_sink_loses_while_the_source_is_away_is_made_good_although_the_watch_resumes() -> None:
    it = engine(informer_max_reconnects=10_000)
    it.source.resumable = True
    async with synced(it):
        it.source.offline = True
        it.source.disconnect()
        it.sink.records.clear()
        it.sink.generation += 1
        it.source.offline = False
        await it.until(lambda: it.triggers == ["reconnect"])
        await it.in_sync()


async def test_a_full_sync_that_fails_for_a_lost_sink_is_tried_again_with_pauses() -> None:
    async with synced(engine(failed_sync_backoff=(0.02, 0.05))) as it:
        it.sink.records.clear()
        it.sink.offline = True
        it.sink.generation += 1
        await it.until(lambda: it.triggers.count("reconnect!") >= 2)
        assert it.status.gap_since is not None
        assert not it.status.in_sync
        it.sink.offline = False
        await it.in_sync()
