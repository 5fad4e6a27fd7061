"""Probes while others misuse the port: slow, endless, malformed, deaf, and very many of them."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

from hybridsync.http_server import MAX_CONNECTIONS
from tests.acceptance.place import Place
from tests.service import Service, wait_until

TOKEN = "open-sesame-45"
ROUNDS = 40
SPARE_FILES = 100
SPARE_MEGABYTES = 150.0


@pytest.fixture(scope="module")
def service(shared_place: Place) -> Iterator[Service]:
    """A service in sync whose trigger needs a token."""
    shared_place.grow({"": b"", "/a": b"1"})
    with Service(shared_place.settings(CONTROL_TOKEN=TOKEN)) as started:
        started.wait_in_sync()
        yield started


class Attack:
    """Connections that are kept up for the length of a block; each says `pieces(turn)` turn after turn."""

    def __init__(self, service: Service, count: int, pieces: Callable[[int], bytes], pause: float = 0.0) -> None:
        address = urlsplit(service.url)
        self._address = (str(address.hostname), int(address.port or 0))
        self._count = count
        self._pieces = pieces
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._selector = selectors.DefaultSelector()
        self.opened = 0
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.sent >= self._count, "the attack goes on")
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                while len(self._selector.get_map()) < self._count and not self._over.is_set():
                    self._open()
                for key, _ in self._selector.select(1.0):
                    self._speak(key)
                self._over.wait(self._pause)
        finally:
            for key in list(self._selector.get_map().values()):
                self._close(key)
            self._selector.close()

    def _open(self) -> None:
        try:
            connection = socket.create_connection(self._address, timeout=30)
        except OSError:  # the service has ended, or has no room
            self._over.wait(0.05)
            return
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_WRITE, [0])
        self.opened += 1

    def _speak(self, key: selectors.SelectorKey) -> None:
        assert isinstance(key.fileobj, socket.socket)
        try:
            key.fileobj.send(self._pieces(key.data[0]))
        except BlockingIOError:
            return
        except OSError:  # thrown out: another one comes in its place
            self._close(key)
            return
        key.data[0] += 1
        self.sent += 1

    def _close(self, key: selectors.SelectorKey) -> None:
        assert isinstance(key.fileobj, socket.socket)
        self._selector.unregister(key.fileobj)
        with contextlib.suppress(OSError):
            key.fileobj.close()


def files(service: Service) -> int:
    """How many the process has open."""
    return len(os.listdir(f"/proc/{service.pid}/fd"))


def megabytes(service: Service) -> float:
    """What the process occupies."""
    with open(f"/proc/{service.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def probe_throughout(service: Service) -> None:
    """Asks again and again; every answer must come, and be the one of a service that is well."""
    before, slowest = megabytes(service), 0.0
    for _ in range(ROUNDS):
        began = time.monotonic()
        for path in ("/health/live", "/health/ready", "/health/sync"):
            assert service.get(path)[0] == 200
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 15
    assert files(service) < MAX_CONNECTIONS + SPARE_FILES
    assert megabytes(service) - before < SPARE_MEGABYTES
    service.wait_in_sync()


def slowly(text: bytes) -> Callable[[int], bytes]:
    """One byte at a time, and from the end on the last one for ever."""
    return lambda turn: text[min(turn, len(text) - 1) :][:1]


def at_once(head: bytes, then: bytes) -> Callable[[int], bytes]:
    """A beginning, and one more piece in every turn."""
    return lambda turn: then if turn else head


GET = b"GET /health/sync HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /health/sync/trigger HTTP/1.1\r\nHost: x\r\n"
ALLOWED = POST + f"Authorization: Bearer {TOKEN}\r\n".encode()
CHUNK = b"8000\r\n" + b" " * 0x8000 + b"\r\n"


@pytest.mark.parametrize("count", [300, MAX_CONNECTIONS + 200])
def test_headers_that_come_byte_by_byte_hold_up_no_probe(service: Service, count: int) -> None:
    with Attack(service, count, slowly(GET + b"X: " + b"a" * 100_000), pause=0.05):
        probe_throughout(service)


def test_bodies_that_come_byte_by_byte_hold_up_no_probe(service: Service) -> None:
    with Attack(service, 300, at_once(ALLOWED + b"Content-Length: 60000\r\n\r\n", b" "), pause=0.05):
        probe_throughout(service)


@pytest.mark.parametrize("head", [GET, POST, ALLOWED], ids=["get", "refused", "allowed"])
def test_bodies_without_end_hold_up_no_probe(service: Service, head: bytes) -> None:
    with Attack(service, 20, at_once(head + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK, CHUNK)):
        probe_throughout(service)


def test_headers_without_end_hold_up_no_probe(service: Service) -> None:
    with Attack(service, 50, at_once(GET + b"X: ", b"a" * 4000)):
        probe_throughout(service)


def test_callers_that_ask_and_never_read_hold_up_no_probe(service: Service) -> None:
    question = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    with Attack(service, 50, at_once(question, question), pause=0.05):
        probe_throughout(service)


def test_noise_holds_up_no_probe_and_fills_no_log(service: Service) -> None:
    lines = len(service.stderr_lines)
    with Attack(service, 50, lambda turn: os.urandom(200) + b"\r\n\r\n", pause=0.02) as attack:
        probe_throughout(service)
        wait_until(lambda: attack.opened > 200, "they are thrown out, and come again")
    assert len(service.stderr_lines) - lines < 10


def test_all_this_started_nothing_and_it_stops_in_time_under_attack(place: Place) -> None:
    place.grow({"": b""})
    with Service(place.settings(CONTROL_TOKEN=TOKEN)) as service:
        service.wait_in_sync()
        before = len(service.logged("full sync completed"))
        with Attack(service, 300, at_once(POST + b"Content-Length: 2\r\n\r\n{}", b"{"), pause=0.05):
            assert len(service.logged("full sync completed")) == before
            assert service.terminate() == 0
            service.ending = True
        assert "Traceback" not in service.stderr
