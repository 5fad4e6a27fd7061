"""A source that can resume: after a gap, and after a restart, the watch goes on and nothing is listed."""

from __future__ import annotations

import pytest

from hybridsync.decision import Mode
from hybridsync.status import InformerState
from tests.unit.engine import Engine, ScriptedSource, fast, fresh, running, synced, values


def engine(**options: object) -> Engine:
    patient = {"informer_max_reconnects": 10_000} | options
    made = Engine(source=ScriptedSource(a=b"1", b=b"2", c=b"3"), options=fast(**patient))
    made.source.resumable = True
    return made


def next_life(before: Engine) -> Engine:
    """A new process on the same source, sink and store."""
    return Engine(options=before.options, source=before.source, sink=before.sink, store=before.store)


async def test_after_a_cut_the_watch_goes_on_and_nothing_is_listed() -> None:
    async with synced(engine()) as it:
        listings = it.source.listings
        it.source.offline = True
        it.source.disconnect()
        await it.until(lambda: it.status.informer_state is InformerState.DISCONNECTED)
        it.source.put("a", b"changed")
        it.source.remove("b")
        it.source.put("d", b"new")
        assert it.status.gap_since is not None
        it.source.offline = False
        await it.in_sync()

        assert (it.triggers, it.source.listings) == ([], listings)
        assert it.status.gap_since is None


async def test_the_gap_stays_open_until_what_came_after_the_position_is_written() -> None:
    async with synced(engine()) as it:
        it.source.offline = True
        it.source.disconnect()
        await it.until(lambda: it.status.informer_state is InformerState.DISCONNECTED)
        it.source.put("a", b"changed")
        it.sink.gate.clear()
        it.source.offline = False
        await it.until(lambda: it.sink.in_flight == 1)
        probed = it.source.connects
        assert it.status.gap_since is not None
        assert not it.status.in_sync
        it.sink.gate.set()
        await it.in_sync()
        assert it.source.connects == probed


async def test_a_restart_goes_on_from_the_state_and_lists_nothing() -> None:
    async with synced(engine()) as it:
        it.source.put("d", b"watched")
        await it.proven()
    second = next_life(it)
    listings = second.source.listings
    second.source.put("e", b"while it was down")
    second.source.remove("a")
    async with running(second):
        await second.in_sync()
        await second.proven()

        assert second.source.listings == listings
        assert second.triggers == []
        assert second.status.decision is not None
        assert second.status.decision.action == "skip"


async def test_a_killed_process_goes_on_from_the_last_position_that_was_saved() -> None:
    it = engine()
    async with synced(it):
        it.source.put("d", b"watched")
        await it.until(lambda: it.store.states["r"].resume_from == it.source.resume_point, "it is remembered")
        assert it.store.states["r"].resource_version == it.source.resume_point
        await it.task.stop(0)  # as a kill would: nothing is flushed, nothing saved
        it.source.disconnect()
        second = next_life(it)
        second.source.put("e", b"while it was down")
        listings = second.source.listings
        async with running(second):
            await second.in_sync()
            assert second.source.listings == listings


async def test_a_position_that_is_too_old_at_start_up_is_made_good_by_the_catch_up() -> None:
    async with synced(engine()) as it:
        pass
    it.source.forget_history()
    second = next_life(it)
    second.source.remove("a")
    async with running(second):
        await second.in_sync()
        assert second.triggers == ["catch_up"]


async def test_a_position_too_old_at_start_up_needs_nobodys_consent() -> None:
    async with synced(engine(auto_sync_on_informer_failure=False)) as it:
        pass
    it.source.forget_history()
    second = next_life(it)
    async with running(second):
        await second.in_sync()
        assert second.triggers == ["catch_up"]


async def test_a_position_that_became_too_old_in_a_gap_is_an_expiry() -> None:
    async with synced(engine()) as it:
        it.source.offline = True
        it.source.disconnect()
        it.source.remove("a")
        it.source.forget_history()
        it.source.offline = False
        await it.in_sync()

        assert it.triggers == ["expired"]
        assert it.resource.counters.expiries == 1


async def test_more_failures_than_allowed_list_everything_once() -> None:
    async with synced(engine(informer_max_reconnects=2)) as it:
        it.source.offline = True
        it.source.disconnect()
        await it.until(lambda: it.status.state.informer_reconnect_count > 2)
        it.source.offline = False
        await it.in_sync()

        assert it.triggers == ["max_reconnects"]
        assert it.status.state.informer_reconnect_count == 0


async def test_a_failed_full_sync_is_not_forgiven_by_a_watch_that_resumes() -> None:
    async with synced(engine()) as it:
        it.source.failing_reads = 1
        it.resource.request_sync()
        await it.until(lambda: "manual!" in it.triggers)
        it.source.disconnect()
        await it.until(lambda: it.triggers[-1] == "manual", "the failed sync is made good")
        await it.in_sync()


async def test_a_document_that_could_not_be_stored_leaves_nothing_to_resume_from() -> None:
    async with synced(engine()) as it:
        it.sink.refused.add("d")
        it.source.put("d", b"too strange")
        await it.until(lambda: it.resource.counters.failed_documents == 1)
        it.source.put("e", b"fine")
        await it.until(lambda: values(it.sink).get("e") == b"fine")
        await it.until(lambda: it.status.pending == 0)
        await it.until(lambda: it.store.states["r"].resume_from is None)
    assert it.store.states["r"].resume_from is None
    it.sink.refused.clear()
    second = next_life(it)
    async with running(second):
        await second.in_sync()
        assert second.triggers == ["catch_up"], "the next start tries it again"


async def test_a_source_that_cannot_resume_has_no_position_to_go_on_from() -> None:
    it = Engine(source=ScriptedSource(a=b"1"), options=fast())
    async with synced(it):
        it.source.put("a", b"2")
        await it.proven()
    assert it.store.states["r"].resume_from is None


@pytest.mark.parametrize("mode", ["always", "never"])
async def test_only_a_fresh_state_in_mode_auto_is_gone_on_from(mode: str) -> None:
    async with synced(engine()) as it:
        pass
    second = Engine(options=fast(mode=Mode(mode)), source=it.source, sink=it.sink, store=it.store)
    second.source.put("e", b"while it was down")
    async with running(second):
        await second.until(lambda: second.status.informer_state is InformerState.WATCHING)
        if mode == "always":
            await second.in_sync()
            assert second.triggers == ["startup"]
        else:
            await second.until(lambda: second.resource.ready)
            assert second.status.gap_since is not None


async def test_invalid_records_are_neither_swept_nor_hidden() -> None:
    it = fresh(engine())
    it.source.records.pop("b")
    it.source.invalid["b"] = "port: must be an integer"
    async with running(it):
        await it.until(lambda: it.triggers == ["catch_up"])
        assert set(values(it.sink)) == {"a", "b", "c"}
        assert it.status.exceptions.first(9) == [("b", "invalid", "port: must be an integer")]
