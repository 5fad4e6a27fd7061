"""What nobody foresaw: it is seen, told, survived, and what was missed meanwhile is made good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from hybridsync.status import InformerState
from hybridsync.supervisor import Supervised
from tests.eventually import eventually
from tests.unit.engine import Engine, ScriptedSource, running, synced


def bug() -> Exception:
    return ZeroDivisionError("nobody foresaw this")


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What was logged. Tracebacks would otherwise be drawn on the terminal, which takes seconds."""
    with capture_logs() as lines:
        yield lines


def patient(it: Engine) -> Engine:
    """Restarts only when `restart` says so, so that a test can look at the time between."""
    it.task = Supervised("resource r", it.resource.run, (3600.0, 3600.0))
    return it


def in_a_read(it: Engine) -> None:
    it.source.bug = bug()
    it.source.put("a", b"changed")


def in_a_write(it: Engine) -> None:
    it.sink.bug = bug()
    it.source.put("a", b"changed")


def in_a_listing(it: Engine) -> None:
    it.source.bug = bug()
    it.resource.request_sync()


crashes = pytest.mark.parametrize("crash", [in_a_read, in_a_write, in_a_listing])


@crashes
async def test_a_dead_task_is_seen_and_claims_nothing(crash: Callable[[Engine], None]) -> None:
    async with synced(patient(Engine(source=ScriptedSource(a=b"1")))) as it:
        crash(it)
        await it.until(lambda: it.task.dead)
        it.source.put("b", b"nobody watches")

        assert not it.status.in_sync
        assert it.status.gap_since is not None
        assert it.status.informer_state is InformerState.DISCONNECTED


@crashes
async def test_it_is_started_again_and_what_was_missed_is_made_good(crash: Callable[[Engine], None]) -> None:
    async with synced(Engine(source=ScriptedSource(a=b"1"))) as it:
        crash(it)
        await it.until(lambda: it.task.restarts == 1 or it.task.dead)
        it.source.put("b", b"missed, perhaps")
        await it.in_sync()

        assert it.task.restarts == 1
        assert not it.task.dead
        assert it.triggers[-1] in {"reconnect", "manual"}
        it.source.put("c", b"followed")
        await it.in_sync()


async def test_a_crash_in_the_first_sync_does_not_make_it_ready() -> None:
    it = patient(Engine(source=ScriptedSource(a=b"1")))
    it.source.bug = bug()
    async with running(it):
        await it.until(lambda: it.task.dead)

        assert not it.resource.ready
        assert it.triggers == ["startup!"]
        assert it.resource.trouble == "r: the last full sync failed: ZeroDivisionError: nobody foresaw this"


async def test_a_stop_while_dead_does_not_wait_for_the_restart() -> None:
    async with synced(patient(Engine(source=ScriptedSource(a=b"1")))) as it:
        in_a_read(it)
        await it.until(lambda: it.task.dead)
        async with asyncio.timeout(30):
            await it.stop()


async def test_a_body_that_returns_is_not_started_again() -> None:
    runs: list[int] = []

    async def body() -> None:
        runs.append(1)

    task = Supervised("t", body, (0.001, 0.001))
    task.start()
    await task.stop(30)

    assert (runs, task.dead, task.restarts) == ([1], False, 0)


async def test_a_body_that_dies_again_and_again_is_named_logged_and_started_again(
    logged: list[MutableMapping[str, Any]],
) -> None:
    runs: list[int] = []

    async def body() -> None:
        runs.append(1)
        if len(runs) < 5:
            raise bug()
        await asyncio.Event().wait()

    task = Supervised("t", body, (0.0001, 0.0002))
    task.start()
    await eventually(lambda: len(runs) == 5)

    assert (task.dead, task.restarts) == (False, 4)
    assert [(line["log_level"], line["task"], line["restarts"]) for line in logged] == [
        ("error", "t", number) for number in range(4)
    ]
    await task.stop(0.001)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_stopping_what_was_never_started_is_nothing() -> None:
    async def body() -> None:
        raise bug()

    task = Supervised("t", body)
    await task.stop(1)

    assert not task.dead
