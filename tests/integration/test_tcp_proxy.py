"""The proxy that the fault tests lean on does what its methods say."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from hybridsync.embedded.ports import LOOPBACK
from tests.proxy import TcpProxy

ProxyFactory = Callable[[str, int], TcpProxy]

SILENCE = 0.3
"""Seconds of waiting for bytes that must not come; too short a wait could only hide a fault."""


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        threads: list[threading.Thread] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=answer, args=(connection,), daemon=True))
                threads[-1].start()

        def answer(connection: socket.socket) -> None:
            with connection:
                try:
                    while data := connection.recv(65_536):
                        connection.sendall(data)
                except OSError:
                    return

        accepting = threading.Thread(target=serve, daemon=True)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join(30)
        for thread in threads:
            thread.join(30)


@pytest.fixture
def proxy(echo: int, proxy_factory: ProxyFactory) -> TcpProxy:
    return proxy_factory(LOOPBACK, echo)


def dial(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout=30)


def receive(client: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count and (chunk := client.recv(count - len(received))):
        received += chunk
    return received


def assert_silent(client: socket.socket) -> None:
    client.settimeout(SILENCE)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(30)


def assert_reset(client: socket.socket) -> None:
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_bytes_pass_in_both_directions_and_are_counted(proxy: TcpProxy) -> None:
    payload = bytes(range(256)) * 4_000
    with dial(proxy) as client:
        sender = threading.Thread(target=client.sendall, args=(payload,))
        sender.start()
        assert receive(client, len(payload)) == payload
        sender.join(30)
        assert proxy.open_connections == 1
    assert proxy.bytes == {"to_server": len(payload), "to_client": len(payload)}
    assert proxy.connections == 1


def test_the_end_of_a_stream_is_passed_on_after_all_of_its_bytes(proxy: TcpProxy) -> None:
    payload = b"x" * 300_000
    with dial(proxy) as client:
        client.sendall(payload)
        client.shutdown(socket.SHUT_WR)
        assert receive(client, len(payload) + 1) == payload


def test_a_cut_resets_what_is_open_and_lets_new_connections_in(proxy: TcpProxy) -> None:
    with dial(proxy) as first, dial(proxy) as second:
        for client in (first, second):
            client.sendall(b"a")
            assert receive(client, 1) == b"a"
        proxy.cut()
        assert proxy.open_connections == 0
        assert_reset(first)
        assert_reset(second)
    with dial(proxy) as third:
        third.sendall(b"b")
        assert receive(third, 1) == b"b"


def test_refusing_resets_and_refuses_until_it_accepts_again_on_the_same_port(proxy: TcpProxy) -> None:
    port = proxy.port
    with dial(proxy) as client:
        client.sendall(b"a")
        assert receive(client, 1) == b"a"
        proxy.refuse()
        assert_reset(client)
    with pytest.raises(ConnectionRefusedError):
        dial(proxy)
    proxy.accept_again()
    assert proxy.port == port
    with dial(proxy) as client:
        client.sendall(b"b")
        assert receive(client, 1) == b"b"


def test_a_stall_holds_bytes_back_and_resuming_delivers_them(proxy: TcpProxy) -> None:
    with dial(proxy) as client:
        client.sendall(b"a")
        assert receive(client, 1) == b"a"
        proxy.stall()
        client.sendall(b"b")
        assert_silent(client)
        with dial(proxy) as late:
            late.sendall(b"c")
            assert_silent(late)
            proxy.resume()
            assert receive(client, 1) == b"b"
            assert receive(late, 1) == b"c"


def test_a_stall_of_answers_lets_requests_through(proxy: TcpProxy) -> None:
    with dial(proxy) as client:
        proxy.stall("to_client")
        client.sendall(b"abc")
        assert_silent(client)
        assert proxy.bytes == {"to_server": 3, "to_client": 0}


def test_a_stall_of_requests_lets_nothing_reach_the_server(proxy: TcpProxy) -> None:
    with dial(proxy) as client:
        proxy.stall("to_server")
        client.sendall(b"abc")
        assert_silent(client)
        assert proxy.bytes == {"to_server": 0, "to_client": 0}


def test_a_stalled_connection_can_be_cut(proxy: TcpProxy) -> None:
    with dial(proxy) as client:
        client.sendall(b"a")
        assert receive(client, 1) == b"a"
        proxy.stall()
        client.sendall(b"b")
        proxy.cut()
        assert_reset(client)


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_a_connection_is_dropped_after_exactly_so_many_bytes(proxy: TcpProxy, direction: str) -> None:
    with dial(proxy) as client:
        proxy.drop_after(5, "to_server" if direction == "to_server" else "to_client")
        client.sendall(b"0123456789")
        received = b""
        try:
            received = receive(client, 10)
        except ConnectionResetError:
            assert direction == "to_server"
        assert b"01234".startswith(received)
    assert proxy.bytes["to_server" if direction == "to_server" else "to_client"] == 5
    with dial(proxy) as again:
        again.sendall(b"0123456789")
        assert receive(again, 10) == b"0123456789"


def test_delayed_bytes_come_late_and_the_delay_does_not_add_up(proxy: TcpProxy) -> None:
    proxy.delay(0.5)
    with dial(proxy) as client:
        before = time.monotonic()
        client.sendall(b"a")
        assert receive(client, 1) == b"a"
        assert time.monotonic() - before >= 1.0


def test_a_target_that_is_gone_resets_the_client(proxy_factory: ProxyFactory) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        gone = listener.getsockname()[1]
    proxy = proxy_factory(LOOPBACK, gone)
    with pytest.raises(ConnectionResetError), dial(proxy) as client:
        client.recv(1)


def test_a_closed_proxy_leaves_no_thread_behind(echo: int) -> None:
    with TcpProxy(LOOPBACK, echo) as proxy, dial(proxy) as client:
        client.sendall(b"a")
        assert receive(client, 1) == b"a"
    assert not any(thread.name == f"proxy-{proxy.port}" for thread in threading.enumerate())
    with pytest.raises(ConnectionRefusedError):
        dial(proxy)
