"""The port with callers that are too many, too slow or not speaking HTTP: the next one is answered all the same."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from hybridsync import http_server
from hybridsync.http_server import MAX_HEADERS, Listener, mark_busy
from hybridsync.service import build_app
from hybridsync.settings import Settings
from tests.eventually import eventually
from tests.unit.fake_manager import FakeManager, a_result, as_manager

PROBE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
WAITING = b'POST /health/sync/trigger HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{"wait": true}'
PATIENCE = 60.0


class Caller(NamedTuple):
    """One connection to the port."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, Any]]:
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            return int(head.split()[1]), json.loads(await self.reader.readexactly(length))

    async def hung_up_on(self) -> bool:
        """Waits for the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


class Port:
    """A listening server, and its callers."""

    def __init__(self, port: int) -> None:
        self.number = port
        self.callers: list[Caller] = []

    async def call(self, raw: bytes = b"") -> Caller:
        caller = Caller(*await asyncio.open_connection("127.0.0.1", self.number))
        self.callers.append(caller)
        await caller.say(raw)
        return caller

    async def asked(self, raw: bytes = PROBE) -> tuple[int, dict[str, Any]]:
        return await (await self.call(raw)).answer()


@asynccontextmanager
async def listening(fake: FakeManager | None = None, **limits: Any) -> AsyncIterator[Port]:
    app, _ = build_app(as_manager(fake or FakeManager()), Settings())
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listener = Listener(runner, **limits)
    port = Port(await listener.start("127.0.0.1", 0))
    try:
        yield port
    finally:
        for caller in port.callers:
            caller.writer.close()
        listener.close()
        await runner.cleanup()


async def test_when_there_are_too_many_the_oldest_idle_connection_makes_room() -> None:
    async with listening(max_connections=3) as port:
        slow = [await port.call(b"GET /health HTTP/1.1\r\nHo") for _ in range(3)]
        await asyncio.sleep(0)

        assert await port.asked() == (200, {"live": True})

        assert await slow[0].hung_up_on()
        await slow[1].say(b"st: x\r\n\r\n")
        assert (await slow[1].answer())[0] == 200


async def test_who_waits_for_an_answer_is_not_the_one_to_go() -> None:
    fake = FakeManager()
    async with listening(fake, max_connections=2) as port:
        waiting = await port.call(WAITING)
        await eventually(lambda: fake.futures)
        idle = await port.call()

        assert (await port.asked())[0] == 200

        assert await idle.hung_up_on()
        fake.futures["services"].set_result(a_result())
        assert (await waiting.answer())[0] == 200


async def test_a_new_caller_is_answered_also_when_all_others_wait_for_an_answer() -> None:
    fake = FakeManager()
    async with listening(fake, max_connections=2) as port:
        first = await port.call(WAITING)
        await eventually(lambda: len(fake.triggered) == 1)
        await port.call(WAITING)
        await eventually(lambda: len(fake.triggered) == 2)

        assert (await port.asked())[0] == 200
        assert await first.hung_up_on()


async def test_many_at_once_are_all_answered_as_long_as_they_are_not_too_many() -> None:
    async with listening() as port:
        answers = await asyncio.gather(*(port.asked() for _ in range(300)))

        assert answers == [(200, {"live": True})] * 300


@pytest.mark.parametrize("begun", [b"", b"GET /health", PROBE[:-2], PROBE + b"GET /hea"])
async def test_a_connection_without_a_whole_request_ends_after_its_time(begun: bytes) -> None:
    async with listening(keep_alive_seconds=0.2) as port:
        caller = await port.call(begun)
        if begun.startswith(PROBE):
            await caller.answer()

        assert await caller.hung_up_on()


SECRET = b"Zq-not-to-be-shown"
MALFORMED = [
    b"GET /health HTTP/1.1\r\nHost: x\r\nAuthorization " + SECRET + b"\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + SECRET + b"\0\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + SECRET + b"a" * 9000 + b"\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\n" + (b"X: " + SECRET + b"\r\n") * (MAX_HEADERS + 1) + b"\r\n",
    b"GET /" + SECRET + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://[" + SECRET + b"/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nHost: " + SECRET + b"\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /health/sync/trigger HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /health/sync/trigger HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + SECRET + b"\r\n",
    b"POST /health/sync/trigger HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    SECRET + b"\r\n\r\n",
    b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\r\n\0\r\n",
]


@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
async def test_what_is_not_http_gets_one_line_and_leaves_nothing_in_the_log(
    raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakeManager()
    with caplog.at_level(logging.INFO):
        async with listening(fake) as port:
            status, body = await port.asked(raw)

            assert (status, list(body), len(fake.triggered)) == (400, ["error"], 0)
            assert SECRET.decode() not in json.dumps(body)
            assert "\n" not in body["error"]
            assert (await port.asked())[0] == 200
    assert [record.getMessage() for record in caplog.records] == []


async def test_noise_leaves_no_garbage_behind() -> None:
    """Each piece of it once stayed in memory, up to 256 KiB, until the next run of the garbage collector."""
    noise = b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000

    def garbage() -> list[object]:
        return [one for one in gc.get_objects() if isinstance(one, HttpProcessingError)]

    async with listening() as port:
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                caller = await port.call(noise)
                await caller.say(noise)
                caller.writer.close()
                await caller.hung_up_on()
            await eventually(lambda: not garbage())
        finally:
            gc.enable()


async def test_a_body_that_breaks_off_starts_nothing_and_leaves_nothing_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake = FakeManager()
    with caplog.at_level(logging.INFO):
        async with listening(fake) as port:
            caller = await port.call(b"POST /health/sync/trigger HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{}")
            caller.writer.close()
            assert await caller.hung_up_on()
            chunked = b"POST /health/sync/trigger HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            other = await port.call(chunked + b"2\r\n{}\r\n")
            await other.say(b"zz\r\n")
            assert (await other.answer())[0] == 400
            assert (await port.asked())[0] == 200
    assert fake.triggered == []
    assert [record.getMessage() for record in caplog.records] == []


async def test_a_compressed_body_is_not_inflated() -> None:
    fake = FakeManager()
    bomb = gzip.compress(b"{}" + b" " * (8 << 20))
    head = f"POST /health/sync/trigger HTTP/1.1\r\nHost: x\r\nContent-Length: {len(bomb)}\r\n"
    async with listening(fake) as port:
        status, body = await port.asked(head.encode() + b"Content-Encoding: gzip\r\n\r\n" + bomb)

    assert (status, fake.triggered) == (400, [])
    assert "not JSON" in body["error"]


async def test_a_body_that_nobody_wants_does_not_keep_the_connection() -> None:
    async with listening() as port:
        caller = await port.call(b"GET /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")

        assert (await caller.answer())[0] == 200
        assert await caller.hung_up_on()


def test_a_process_that_may_open_few_files_takes_fewer_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(soft: int) -> int:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
        return http_server.connections_allowed(http_server.MAX_CONNECTIONS)

    assert [taken(100_000), taken(400), taken(1), taken(resource.RLIM_INFINITY)] == [512, 200, 1, 512]


async def test_behind_another_server_nothing_is_marked() -> None:
    """In somebody else's application the connections are aiohttp's own."""
    app = web.Application(middlewares=[mark_busy])

    async def hello(_: web.Request) -> web.Response:
        return web.json_response({"live": True})

    app.router.add_get("/health/live", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = Port(runner.addresses[0][1])
    try:
        assert (await port.asked())[0] == 200
    finally:
        port.callers[0].writer.close()
        await runner.cleanup()
