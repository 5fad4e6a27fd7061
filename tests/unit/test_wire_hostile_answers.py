"""What no honest server sends: lengths, counts, kinds and error codes that lie. An error each time, at once."""

from __future__ import annotations

import socket
import struct
import threading
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridsync.znode import Stat
from hybridsync.zookeeper import wire
from hybridsync.zookeeper.buffered_socket import AHEAD_BYTES, BufferedSocket, wait_for
from hybridsync.zookeeper.wire import Data, ErrorCode, MalformedAnswer, MultiRead, OpResult, read_event
from tests.multiread_answers import END, STAT, answer_of, data_of, header, request_for

INT = st.integers(-(2**31), 2**31 - 1)
LARGEST_REQUEST = MultiRead(lists=[b"/x"] * 250, values=[b"/x"] * 250)


def understood(request: MultiRead, answer: bytes) -> list[OpResult] | None:
    """What the answer is taken for, `None` when it is refused. Any other error fails the test."""
    try:
        return request.deserialize(answer, 0)
    except MalformedAnswer as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert len(refusal) < 200
    return None


@given(
    lists=st.integers(0, 2),
    values=st.integers(0, 2),
    parts=st.lists(
        st.one_of(
            st.builds(header, st.sampled_from([4, 8, -1, 0, 22]), st.sampled_from([0, 1, 2]), INT, INT),
            st.builds(header, st.sampled_from([4, 8, -1]), st.just(0), st.sampled_from([0, -101]), st.integers(-2, 9)),
            st.just(STAT),
            st.just(END),
            st.builds(lambda raw: struct.pack("!i", len(raw)) + raw, st.binary(max_size=6)),
            st.binary(max_size=6),
        ),
        max_size=8,
    ),
)
def test_pieces_in_any_order_are_refused_or_are_exactly_what_they_are_taken_for(
    lists: int, values: int, parts: list[bytes]
) -> None:
    answer = b"".join(parts) + END
    found = understood(MultiRead(lists=[b"/x"] * lists, values=[b"/x"] * values), answer)
    if found is None:
        return
    for kind, result in zip([list] * lists + [Data] * values, found, strict=True):
        assert isinstance(result, (kind, ErrorCode))
    # the only bytes that mean these results, but for -1: how jute writes a value, or a list, that is none
    again = answer_of(found) + END
    assert again == answer or b"\xff\xff\xff\xff" in answer


@given(st.data())
def test_one_changed_number_in_a_header_never_moves_a_record_to_another_place(data: st.DataObject) -> None:
    values = data_of(b"one", Stat(*range(11))), data_of(b"", Stat(*range(5, 16)))
    results: list[OpResult] = [["a", "b"], [], values[0], ErrorCode(-101), values[1]]
    answer = bytearray(answer_of(results) + END)
    at = data.draw(st.integers(0, len(answer) - 4))
    answer[at : at + 4] = struct.pack("!i", data.draw(INT))
    found = understood(request_for(results), bytes(answer))
    if found is not None:
        # a byte of a value, a name or a stat may be another one; nothing else may
        assert [type(result) for result in found] == [type(result) for result in results]
        assert [len(result) for result in found if isinstance(result, list)] == [2, 0]
        assert [len(result.value) for result in found if isinstance(result, Data)] == [3, 0]


@pytest.mark.parametrize("err", [-101, -102, 1])
def test_a_result_with_an_error_in_its_header_is_no_result(err: int) -> None:
    value = header(wire.GET_DATA, 0, err, 3) + b"abc" + STAT + END
    names = header(wire.GET_CHILDREN, 0, err, 0) + END

    assert understood(MultiRead(values=[b"/x"]), value) is None
    assert understood(MultiRead(lists=[b"/x"]), names) is None


def test_an_error_that_is_told_in_two_ways_is_not_taken_for_a_znode_that_is_gone() -> None:
    assert understood(MultiRead(values=[b"/x"]), header(-1, 0, -102, -101) + END) is None


@pytest.mark.parametrize("lie", [2**31 - 1, 2**30, 10_000_000, -(2**31), -2])
@pytest.mark.parametrize(
    ("kind", "asked"),
    [(wire.GET_DATA, MultiRead(values=[b"/x"])), (wire.GET_CHILDREN, MultiRead(lists=[b"/x"]))],
)
def test_a_length_that_lies_costs_no_memory(kind: int, asked: MultiRead, lie: int) -> None:
    answer = header(kind, 0, 0, lie) + struct.pack("!i", lie) + b"\0" * 1000 + END
    tracemalloc.start()
    try:
        assert understood(asked, answer) is None
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=3000))
def test_noise_for_a_large_request_is_refused(noise: bytes) -> None:
    assert understood(LARGEST_REQUEST, noise) is None


@given(st.binary(max_size=60), st.sampled_from([1, 2, 3, 4, -1, 0, 9]), st.integers(-3, 60))
def test_an_event_is_refused_or_names_a_whole_path(raw: bytes, kind: int, length: int) -> None:
    try:
        event = read_event(struct.pack("!iii", kind, 3, length) + raw, 0)
    except MalformedAnswer:
        return
    if kind != wire.SESSION_EVENT:
        assert event.path.startswith("/")
        assert length == len(raw)


def test_an_event_without_a_path_is_refused() -> None:
    """It could be any change: taken as one of a path that nobody mirrors, it would be lost."""
    for length in (0, -1):
        with pytest.raises(MalformedAnswer):
            read_event(struct.pack("!iii", wire.CREATED, 3, length), 0)


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=300), max_size=12),
    sizes=st.lists(st.integers(1, 400)),
    cut=st.booleans(),
)
def test_bytes_read_ahead_are_those_that_were_sent_however_they_arrive(
    pieces: list[bytes], sizes: list[int], cut: bool
) -> None:
    """Sent piece by piece while the reader waits as kazoo does; the end may come in the middle of anything."""
    near, far = socket.socketpair()
    asked = [*sizes, AHEAD_BYTES]

    def send() -> None:
        for piece in pieces:
            far.sendall(piece)
        far.shutdown(socket.SHUT_WR) if cut else far.close()

    with near, far:
        ahead = BufferedSocket(near)
        sender = threading.Thread(target=send)
        sender.start()
        received: list[bytes] = []
        while True:
            assert wait_for([ahead], [], 60.0) == ([ahead], [])
            piece = ahead.recv(asked[len(received) % len(asked)])
            if not piece:
                break
            received.append(piece)
        sender.join(60)
        assert b"".join(received) == b"".join(pieces)
        assert ahead.pending() == 0


def test_a_reader_that_finds_the_connection_reset_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with near:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()
            ahead = BufferedSocket(near)
            assert wait_for([ahead], [], 60.0) == ([ahead], [])
            with pytest.raises(ConnectionResetError):
                ahead.recv(1)
