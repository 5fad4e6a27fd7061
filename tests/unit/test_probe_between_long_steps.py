"""A sync has many long steps for the event loop; a probe that comes in between waits for one or two, not for all."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from hybridsync.errors import SweepRefused
from hybridsync.give_way import MANY_RECORDS, PROBE_TURNS
from hybridsync.sinks.short_work import FELT_SECONDS, FIRST_BYTES, INLINE_SECONDS, ShortWork
from hybridsync.sources.exclude import Exclude
from hybridsync.status import ResourceStatus
from hybridsync.zookeeper.calls import Answer
from hybridsync.zookeeper.limits import Limits
from hybridsync.zookeeper.session import Session
from hybridsync.zookeeper.walk import MANY_NAMES, _Reader, read_paths
from hybridsync.zookeeper.wire import Data, MultiRead
from tests.eventually import eventually
from tests.unit.engine import filled, full_sync
from tests.unit.fake_manager import FakeManager
from tests.unit.test_http_server_limits import Port, listening

STEP = 500


async def turns_until_answered(port: Port, path: str) -> int:
    """Turns of the event loop from the connection to its end; the request is there before the first."""
    with socket.create_connection(("127.0.0.1", port.number)) as caller:
        caller.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        caller.setblocking(False)
        answer, turns = b"", 0
        while True:
            turns += 1
            await asyncio.sleep(0)
            while select.select([caller], [], [], 0)[0]:
                piece = caller.recv(65536)
                if not piece:
                    assert answer.startswith(b"HTTP/1.1 200 ")
                    return turns
                answer += piece


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_a_probe_needs_no_more_turns_than_it_is_given(path: str) -> None:
    async with listening() as port:
        assert min([await turns_until_answered(port, path) for _ in range(3)]) <= PROBE_TURNS


async def test_a_probe_waits_for_hardly_a_step_of_a_full_sync() -> None:
    source, sink = filled(20 * STEP)
    source.list_batch = STEP
    sync = full_sync(source, sink)
    async with listening() as port:
        running = asyncio.create_task(sync.run())
        while not sync.progress.read and not running.done():  # noqa: ASYNC110  # it must not be over by then
            await asyncio.sleep(0)
        before = sync.progress.read

        await turns_until_answered(port, "/health/ready")

        assert sync.progress.read - before <= 2 * STEP
        assert not running.done()
        await running


async def test_a_probe_waits_for_hardly_one_of_the_metrics_that_others_asked_for() -> None:
    class Watched(FakeManager):
        asked = 0

        def statuses(self) -> list[ResourceStatus]:
            self.asked += 1
            return super().statuses()

    fake = Watched()
    async with listening(fake) as port:
        others = [await port.call(b"GET /health/sync HTTP/1.1\r\nHost: x\r\n\r\n" * 5) for _ in range(40)]
        await eventually(lambda: fake.asked)
        before = fake.asked

        await turns_until_answered(port, "/health/live")

        assert fake.asked - before <= 2
        assert await port.asked() == (200, {"live": True})
        assert fake.asked < 200
        for other in others:
            assert (await other.answer())[0] == 200


class Turns:
    """Counts turns of the event loop, between one question and the next."""

    def __init__(self) -> None:
        self._count = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self._count += 1
            await asyncio.sleep(0)

    def since(self) -> int:
        count, self._count = self._count, 0
        return count

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


class AnsweringSession:
    """Stands for a session whose answers are there at once; `looked_at` is told the length of one when it is."""

    where = "nowhere"
    limits = Limits(where)

    def __init__(self, looked_at: Callable[[int], None]) -> None:
        self._looked_at = looked_at

    def server_path(self, path: str) -> str:
        return path

    async def send(self, reads: MultiRead, *, epoch: int, answer_bytes: int) -> asyncio.Future[Answer]:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        answered.set_result(Answer(Results(self._looked_at, [Data(b"", bytes(68), 1, 0)] * len(reads.values)), 1))
        return answered


class Results(list[Data]):
    """What an answer brought; tells when it is taken."""

    def __init__(self, looked_at: Callable[[int], None], results: list[Data]) -> None:
        super().__init__(results)
        self._looked_at = looked_at

    def __getitem__(self, key: Any) -> Any:
        if key.stop:  # not the slice of the lists of children, which is empty here
            self._looked_at(len(self))
        return super().__getitem__(key)


async def test_answers_with_many_znodes_are_looked_at_after_a_probe() -> None:
    turns = Turns()
    looked_at: list[tuple[int, int]] = []
    session = AnsweringSession(lambda count: looked_at.append((count, turns.since())))
    paths = [f"/parent/{number}" for number in range(20 * MANY_RECORDS)]

    pieces = await read_paths(cast(Session, session), paths, Exclude(()), epoch=1)

    assert sum(len(piece.found) for piece in pieces) == len(paths)
    many = [waited for count, waited in looked_at if count >= MANY_RECORDS]
    few = [waited for count, waited in looked_at if count < MANY_RECORDS]
    assert min(many, default=0) >= PROBE_TURNS
    assert max(few, default=PROBE_TURNS) < PROBE_TURNS
    await turns.stop()


@pytest.mark.parametrize(("seconds", "gives_way"), [(2 * FELT_SECONDS, True), (FELT_SECONDS / 2, False)])
async def test_only_encoding_that_takes_some_time_gives_way(seconds: float, gives_way: bool) -> None:
    work = ShortWork(lambda: 0.0)  # before it knows anything, it takes FIRST_BYTES to need INLINE_SECONDS
    turns = Turns()
    turns.since()

    assert (await work.run(int(FIRST_BYTES * seconds / INLINE_SECONDS), turns.since) >= PROBE_TURNS) == gives_way
    await turns.stop()


async def test_work_that_was_found_long_meanwhile_leaves_the_loop() -> None:
    now = 0.0

    def long() -> int:
        nonlocal now
        now += 10 * INLINE_SECONDS
        return threading.get_ident()

    work = ShortWork(lambda: now)
    first, second = await asyncio.gather(work.run(FIRST_BYTES, long), work.run(FIRST_BYTES, long))

    assert first == threading.get_ident() != second


class Even:
    """Leaves out every other name, and notes the turns before each thousandth look."""

    def __init__(self, turns: Turns) -> None:
        self.waited: list[int] = []
        self._turns = turns
        self._looks = 0

    def __bool__(self) -> bool:
        return True

    def excluded(self, path: str) -> bool:
        if self._looks % MANY_NAMES == 0:
            self.waited.append(self._turns.since())
        self._looks += 1
        return int(path.rpartition("-")[2]) % 2 == 1

    def nothing_below(self, path: str) -> bool:
        return False


async def test_many_names_are_looked_at_by_and_by() -> None:
    names = [f"child-{number}" for number in range(3 * MANY_NAMES)]
    turns = Turns()
    leave_out = Even(turns)
    reader = _Reader(cast(Session, AnsweringSession(lambda _: None)), leave_out, 1, descend=True)

    assert await reader._wanted("/parent", names) == names[::2]

    assert all(waited >= PROBE_TURNS for waited in leave_out.waited[1:])
    assert len(leave_out.waited) == 3
    await turns.stop()


async def test_a_probe_gets_through_the_counting_of_what_is_gone() -> None:
    source, sink = filled(20 * STEP)
    source.records.clear()
    sync = full_sync(source, sink)
    turns = Turns()

    with pytest.raises(SweepRefused):
        await sync.run()

    assert turns.since() >= 20 * STEP / 1000 * PROBE_TURNS
    await turns.stop()
