"""Requests and answers byte by byte: what a server may send, and what it must not."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridsync.znode import Stat, version_of
from hybridsync.zookeeper import wire
from hybridsync.zookeeper.wire import AddWatch, ErrorCode, MalformedAnswer, MultiRead, OpResult, read_event
from tests.multiread_answers import END, STAT, answer_of, data_of, header, lists_first, request_for

LONG = st.integers(-(2**63), 2**63 - 1)
INT = st.integers(-(2**31), 2**31 - 1)
STATS = st.builds(Stat, LONG, LONG, LONG, LONG, INT, INT, INT, LONG, INT, INT, LONG)
NAMES = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=9)
RESULTS: st.SearchStrategy[OpResult] = st.one_of(
    st.builds(data_of, st.binary(max_size=40), STATS),
    st.lists(NAMES, max_size=6),
    st.builds(ErrorCode, INT),
)
HEADER = b"\0" * 16


def encoded(results: Sequence[OpResult]) -> bytes:
    """The whole answer, header included."""
    return HEADER + answer_of(results) + END


@given(st.lists(RESULTS, max_size=8).map(lists_first))
def test_every_answer_comes_back_as_it_was_meant(results: list[OpResult]) -> None:
    assert request_for(results).deserialize(encoded(results), len(HEADER)) == results


@given(st.lists(RESULTS, min_size=1, max_size=5).map(lists_first), st.data())
def test_an_answer_cut_anywhere_is_refused(results: list[OpResult], data: st.DataObject) -> None:
    answer = encoded(results)
    cut = data.draw(st.integers(len(HEADER), len(answer) - 1))
    with pytest.raises(MalformedAnswer):
        request_for(results).deserialize(answer[:cut], len(HEADER))


@given(st.lists(RESULTS, max_size=5).map(lists_first), st.binary(min_size=1, max_size=20))
def test_an_answer_with_something_behind_it_is_refused(results: list[OpResult], rest: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        request_for(results).deserialize(encoded(results) + rest, len(HEADER))


@given(st.lists(RESULTS, min_size=1, max_size=5).map(lists_first), RESULTS)
def test_more_or_fewer_results_than_asked_for_are_refused(results: list[OpResult], extra: OpResult) -> None:
    with pytest.raises(MalformedAnswer):
        request_for(results).deserialize(encoded([*results, extra]), len(HEADER))
    with pytest.raises(MalformedAnswer):
        request_for(results).deserialize(encoded(results[:-1]), len(HEADER))


def test_a_result_of_another_kind_than_asked_for_is_refused() -> None:
    asked: list[OpResult] = [data_of(b"", Stat(*[0] * 11))]
    with pytest.raises(MalformedAnswer):
        request_for(asked).deserialize(encoded([["child"]]), len(HEADER))


@given(st.lists(RESULTS, min_size=1, max_size=5).map(lists_first), st.data())
def test_a_damaged_answer_is_refused_or_has_as_many_results_as_asked_for(
    results: list[OpResult], data: st.DataObject
) -> None:
    answer = bytearray(encoded(results))
    for _ in range(data.draw(st.integers(1, 4))):
        answer[data.draw(st.integers(len(HEADER), len(answer) - 1))] = data.draw(st.integers(0, 255))
    try:
        understood = request_for(results).deserialize(bytes(answer), len(HEADER))
    except MalformedAnswer:
        return
    assert len(understood) == len(results)


@given(st.binary(max_size=200), st.integers(0, 3))
def test_noise_is_never_taken_for_an_answer_of_another_length(noise: bytes, count: int) -> None:
    request = MultiRead(lists=[b"/x"] * count, values=[b"/x"] * count)
    try:
        understood = request.deserialize(noise, 0)
    except MalformedAnswer:
        return
    assert len(understood) == 2 * count


@pytest.mark.parametrize("length", [-2, -(2**31), 2**31 - 1, 1_000])
def test_an_impossible_length_is_refused_without_reserving_memory(length: int) -> None:
    for kind, request in ((wire.GET_DATA, MultiRead(values=[b"/x"])), (wire.GET_CHILDREN, MultiRead(lists=[b"/x"]))):
        answer = header(kind, 0, 0, length) + b"\0" * 100 + END
        with pytest.raises(MalformedAnswer):
            request.deserialize(answer, 0)


def test_no_value_and_no_children_are_empty() -> None:
    answer = header(8, 0, 0, -1) + header(4, 0, 0, -1) + STAT + END
    request = MultiRead(lists=[b"/x"], values=[b"/x"])
    assert request.deserialize(answer, 0) == [[], data_of(b"", Stat(*range(11)))]


def test_a_child_whose_name_holds_a_slash_is_refused() -> None:
    with pytest.raises(MalformedAnswer):
        request_for([["a"]]).deserialize(encoded([["a/b"]]), len(HEADER))


def test_requests_are_written_as_the_server_reads_them() -> None:
    request = MultiRead(lists=["/ü".encode()], values=[b"/a", b"/bc"])
    assert request.type == 22
    assert request.serialize() == bytes.fromhex(
        "00000008 00 ffffffff 00000003 2fc3bc 00 00000004 00 ffffffff 00000002 2f61 00"
        "00000004 00 ffffffff 00000003 2f6263 00 ffffffff 01 ffffffff"
    )
    assert AddWatch.type == 106
    assert AddWatch("/a").serialize() == bytes.fromhex("00000002 2f61 00000001")
    assert len(MultiRead(values=[b"/a"]).serialize()) - len(MultiRead().serialize()) == wire.OP_OVERHEAD + 2


@given(NAMES)
def test_an_event_says_which_path_changed(name: str) -> None:
    path = f"/{name}".encode()
    assert read_event(struct.pack("!iii", wire.CHANGED, 3, len(path)) + path, 0) == (wire.CHANGED, f"/{name}")


def test_a_character_beyond_the_basic_plane_may_come_as_two_surrogates() -> None:
    path = "/😀".encode("utf-16-be", "surrogatepass")
    units = "".join(chr(int.from_bytes(path[at : at + 2], "big")) for at in range(0, len(path), 2))
    raw = units.encode("utf-8", "surrogatepass")
    assert read_event(struct.pack("!iii", wire.CREATED, 3, len(raw)) + raw, 0).path == "/😀"


@pytest.mark.parametrize(
    "event",
    [b"", b"\0" * 11, struct.pack("!iii", 1, 3, 5) + b"/abc", struct.pack("!iii", 1, 3, 3) + b"/abc",
     struct.pack("!iii", 1, 3, 2) + b"/\xff", struct.pack("!iii", 1, 3, -7) + b"/"],
)  # fmt: skip
def test_an_event_that_cannot_be_understood_is_refused(event: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        read_event(event, 0)


@given(STATS, STATS)
def test_versions_are_equal_exactly_for_the_same_state_of_the_same_znode(one: Stat, other: Stat) -> None:
    same = (one.czxid, one.mzxid, one.mtime) == (other.czxid, other.mzxid, other.mtime)
    assert (version_of(one) == version_of(other)) == same
    assert version_of(one) >= 0
