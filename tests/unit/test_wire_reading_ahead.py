"""Reading ahead: whatever the pieces, the bytes come in order, and waiting sees what is in memory."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridsync.zookeeper.buffered_socket import AHEAD_BYTES, BufferedSocket, wait_for
from hybridsync.zookeeper.handler import READ_UNASKED, Handler

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


def test_what_was_read_ahead_is_had_as_a_whole_or_not_at_all(pair: Pair) -> None:
    ahead, far = pair
    far.sendall(b"abcdef")
    assert ahead.read_ahead(1) is None, "nothing was read yet"
    assert ahead.recv(2) == b"ab"
    assert ahead.read_ahead(3) == b"cde"
    assert ahead.read_ahead(2) is None
    assert ahead.read_ahead(0) == b""
    assert ahead.recv(100) == b"f"


def test_a_stream_of_messages_does_not_keep_what_is_to_be_sent_waiting(pair: Pair) -> None:
    ahead, far = pair
    handler = Handler(None)
    waiting, wake = socket.socketpair()
    with waiting, wake:
        far.sendall(b"x" * 200)
        wake.send(b"!")
        ahead.recv(1)
        turns = [handler.select([ahead, waiting], [], [], 0.0)[0] for _ in range(100)]
    assert all(ahead in turn for turn in turns)
    assert sum(waiting in turn for turn in turns) >= 100 // (READ_UNASKED + 1)
    ahead.recv(200)
