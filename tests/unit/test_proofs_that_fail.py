"""A proof that fails on a connection which stays: asked for again, told meanwhile, and at last the connection goes."""

from __future__ import annotations

import structlog

from hybridsync.proofs import FAILURES_IN_A_ROW
from tests.unit.engine import Engine, ScriptedSource, fast, synced


def engine() -> Engine:
    return Engine(source=ScriptedSource(a=b"1"), options=fast())


async def test_one_failed_proof_is_asked_for_again_and_nothing_else_happens() -> None:
    async with synced(engine()) as it:
        with structlog.testing.capture_logs() as entries:
            it.source.failing_proofs = 1
            await it.until(lambda: it.source.failing_proofs == 0)
            await it.proven()
            await it.in_sync()

        assert it.triggers == []
        assert it.resource.counters.gaps == 0
        told = [entry for entry in entries if "no proof" in entry["event"]]
        assert [(entry["log_level"], entry["error"]) for entry in told] == [("warning", "memory: no proof")]


async def test_while_proofs_fail_the_status_says_so_and_nothing_is_in_sync() -> None:
    async with synced(Engine(source=ScriptedSource(a=b"1"), options=fast(confirm_interval_seconds=0.2))) as it:
        it.source.failing_proofs = FAILURES_IN_A_ROW - 1
        confirmed = it.resource.confirmed
        await it.until(lambda: it.status.state.error == "memory: no proof", "the error is told")

        assert it.resource.confirmed == confirmed
        assert not it.status.in_sync
        assert it.resource.trouble == "r: memory: no proof"
        await it.in_sync()
        assert it.resource.trouble is None
        assert it.triggers == []


async def test_a_few_failures_in_a_row_end_the_connection_and_a_full_sync_makes_it_good() -> None:
    async with synced(engine()) as it:
        it.source.failing_proofs = FAILURES_IN_A_ROW
        await it.until(lambda: it.resource.counters.gaps == 1, "the watch is given up")
        await it.in_sync()

        assert it.triggers == ["reconnect"]


async def test_a_source_that_never_gives_a_proof_is_never_in_sync_and_never_silent() -> None:
    it = engine()
    async with synced(it):
        it.source.failing_proofs = 10**9
        confirmed = it.resource.confirmed
        await it.until(lambda: it.resource.counters.gaps >= 2)
        it.source.put("a", b"changed")
        await it.until(lambda: it.sink.records["a"].value == b"changed", "changes flow all the same")
        assert not it.status.in_sync or it.resource.confirmed != confirmed
        it.source.failing_proofs = 0
        await it.in_sync()
