"""Reading ahead: whatever the pieces, the bytes come in order, and waiting sees what is in memory."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridsync.zookeeper.buffered_socket import AHEAD_BYTES, BufferedSocket, wait_for

Pair = tuple[BufferedSocket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    near, far = socket.socketpair()
    with near, far:
        yield BufferedSocket(near), far


@given(sent=st.binary(min_size=1, max_size=2000), sizes=st.lists(st.integers(1, 3 * AHEAD_BYTES), min_size=1))
def test_bytes_come_in_order_whatever_the_pieces(sent: bytes, sizes: list[int]) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(sent)
        far.shutdown(socket.SHUT_WR)
        ahead = BufferedSocket(near)
        received = b""
        turn = 0
        while piece := ahead.recv(sizes[turn % len(sizes)]):
            assert len(piece) <= sizes[turn % len(sizes)]
            received += piece
            turn += 1
        assert received == sent
        assert ahead.pending() == 0


def test_waiting_sees_what_was_read_ahead_and_other_sockets_as_well(pair: Pair) -> None:
    ahead, far = pair
    other, wake = socket.socketpair()
    with other, wake:
        far.sendall(b"abcdef")
        assert ahead.recv(2) == b"ab"
        assert ahead.pending() == 4
        assert wait_for([ahead, other], [], 60.0) == ([ahead], [])
        wake.send(b"x")
        assert wait_for([ahead, other], [], 60.0) == ([ahead, other], [])
        assert ahead.recv(100) == b"cdef"
        assert wait_for([ahead, other], [ahead], 60.0) == ([other], [ahead])


def test_waiting_ends_with_its_time_or_with_the_stream(pair: Pair) -> None:
    ahead, far = pair
    assert wait_for([ahead], [], 0.001) == ([], [])
    far.close()
    assert wait_for([ahead], [], None) == ([ahead], [])
    assert ahead.recv(10) == b""


def test_a_closed_socket_is_an_error(pair: Pair) -> None:
    ahead, _ = pair
    ahead.close()
    with pytest.raises(OSError, match="closed"):
        wait_for([ahead], [], 0.0)


def test_shutting_down_wakes_whoever_waits(pair: Pair) -> None:
    ahead, _ = pair
    ahead.shut_down()
    assert wait_for([ahead], [], None) == ([ahead], [])
    assert ahead.recv(10) == b""
