"""While all is well: changes arrive, proofs follow, and without a proof nothing is claimed."""

from __future__ import annotations

import asyncio

from hybridsync.clock import utc_now
from hybridsync.model import Record
from hybridsync.resource import Resource
from hybridsync.status import InformerState
from tests.unit.engine import Engine, ScriptedSource, fast, running, synced


def engine(**options: object) -> Engine:
    return Engine(source=ScriptedSource(a=b"1", b=b"2"), options=fast(**options))


async def half_open(it: Engine) -> None:
    """No probe is answered any more and no event arrives; what was already on its way has arrived."""
    it.source.deaf.set()
    for _ in range(20):
        await asyncio.sleep(0)
    it.source.silent = True


async def test_changes_arrive_without_a_listing_and_are_proven() -> None:
    async with synced(engine()) as it:
        listings = it.source.listings
        it.source.put("a", b"changed")
        it.source.remove("b")
        it.source.put("c", b"new")
        await it.in_sync()
        await it.proven()

        assert it.source.listings == listings
        assert it.status.last_event_time is not None
        counters = it.resource.counters
        assert (counters.events, counters.inserted, counters.updated, counters.deleted) == (3, 3, 1, 1)


async def test_a_key_that_changes_a_hundred_times_costs_few_reads() -> None:
    async with synced(engine()) as it:
        for number in range(100):
            it.source.put("a", b"%d" % number)
        await it.in_sync()

        assert it.sink.records["a"].value == b"99"
        assert len(it.source.reads) <= 2


async def test_confirmed_moves_on_by_itself_and_never_back() -> None:
    async with synced(engine()) as it:
        seen = []
        for _ in range(5):
            await it.proven()
            seen.append(it.status.confirmed_at)

        assert seen == sorted(seen)  # type: ignore[type-var]
        assert len(set(seen)) == 5
        assert it.results == []


async def test_on_a_half_open_connection_confirmed_stands_still_and_soon_nothing_is_claimed() -> None:
    async with synced(engine()) as it:
        await half_open(it)
        confirmed = it.status.confirmed_at
        it.source.put("a", b"missed")
        await it.until(lambda: not it.status.in_sync, "doubt")

        assert it.status.confirmed_at == confirmed
        assert it.status.informer_state is InformerState.WATCHING, "nobody has noticed yet"
        assert confirmed is not None
        it.source.disconnect()
        await it.until(lambda: it.status.gap_since is not None or it.results)
        it.source.deaf.clear()
        await it.in_sync()
        assert it.triggers == ["reconnect"]


async def test_the_gap_of_a_connection_found_dead_reaches_back_to_the_last_proof() -> None:
    async with synced(engine()) as it:
        await half_open(it)
        confirmed = it.status.confirmed_at
        it.source.offline = True
        it.source.disconnect()
        await it.until(lambda: it.status.gap_since is not None)

        assert it.status.gap_since == confirmed
        it.source.offline = False
        it.source.deaf.clear()


async def test_confirmed_waits_for_a_change_that_is_not_acknowledged() -> None:
    async with synced(engine()) as it:
        it.sink.gate.clear()
        it.source.put("a", b"waits")
        changed = utc_now()
        await it.until(lambda: it.sink.in_flight == 1)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert (it.status.in_sync, it.status.pending) == (False, 1)
        assert it.status.confirmed_at is not None
        assert it.status.confirmed_at < changed
        it.sink.gate.set()
        await it.proven()


async def test_a_change_during_a_full_sync_is_not_lost_and_not_claimed_early() -> None:
    it = engine()
    it.source.listing_gate.clear()
    async with running(it):
        await it.until(lambda: it.source.listings == 1)
        it.source.put("a", b"changed behind the listing")
        it.source.put("A", b"sorts before all that was listed")
        assert it.status.confirmed_at is None
        it.source.listing_gate.set()
        await it.in_sync()

        assert it.source.listings == 1


async def test_every_watched_change_reports_how_long_it_took() -> None:
    it = engine()
    committed: dict[str, float] = {"a": utc_now().timestamp() - 5, "b": utc_now().timestamp() + 60}

    def committed_at(record: Record) -> float | None:
        return committed.get(record.key)

    it.resource = Resource("r", it.source, it.sink, it.store, it.options, committed_at=committed_at)
    it.task._body = it.resource.run
    took: list[float] = []
    it.resource.on_propagation.append(took.append)
    async with synced(it):
        for key in ("a", "b", "c"):
            it.source.put(key, b"new")
        it.source.remove("c")
        await it.in_sync()

        assert len(took) == 2
        assert 5 <= took[0] < 65
        assert took[1] == 0.0, "clocks that disagree give no negative time"


async def test_a_document_that_cannot_be_stored_stops_nothing() -> None:
    async with synced(engine()) as it:
        it.sink.refused = {"a"}
        it.source.put("a", b"strange")
        it.source.put("b", b"fine")
        await it.until(lambda: it.sink.records["b"].value == b"fine")
        await it.until(lambda: it.resource.counters.failed_documents == 1)

        assert it.status.informer_state is InformerState.WATCHING


async def test_the_status_is_of_one_moment_and_does_not_change_afterwards() -> None:
    it = engine()
    it.source.listing_gate.clear()
    async with running(it):
        await it.until(lambda: it.status.progress is not None)
        status = it.status
        assert status.progress is not None
        read = status.progress.read
        it.source.listing_gate.set()
        await it.in_sync()

        assert status.progress.read == read
        assert it.status.progress is None
