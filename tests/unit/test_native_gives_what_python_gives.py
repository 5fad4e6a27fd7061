"""What native/ gives is byte for byte what Python gives, whatever it is asked; and it takes on what is common."""

from __future__ import annotations

import gc
import json
import struct
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any
from unittest.mock import Mock, patch

import bson
import pytest
from bson.int64 import Int64
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tree import value as leaf_value
from hybridsync import native
from hybridsync.model import Record
from hybridsync.sinks.codec import LENIENT, MALFORMED
from hybridsync.sinks.znode_codec import ZnodeCodec
from hybridsync.znode import STAT_BYTES, Stat, version_of
from hybridsync.zookeeper.wire import Data, ErrorCode, MalformedAnswer, MultiRead, OpResult, _read_names
from tests.mirror_records import SYNCED_MS, document_of, znode
from tests.multiread_answers import END, answer_of, data_of, lists_first, request_for, sent_stat

pytestmark = pytest.mark.skipif(native.QUICK is None, reason="native/ was not built, so there is nothing to compare")
relaxed = settings(deadline=None)

LONG = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, -1, 2**63 - 1, -(2**63)])
INT = st.integers(-(2**31), 2**31 - 1) | st.sampled_from([0, -1, 2**31 - 1, -(2**31)])
STATS = st.builds(Stat, LONG, LONG, LONG, LONG, INT, INT, INT, LONG, INT, INT, LONG)
NAMES = st.text(st.characters(exclude_characters="/", codec="utf-8"), min_size=1, max_size=9)
PATHS = st.just("/") | st.lists(NAMES, max_size=4).map(lambda names: "/" + "/".join(names))


def quick() -> ModuleType:
    assert native.QUICK is not None
    return native.QUICK


def in_python(call: Callable[[], Any]) -> Any:
    """What the call gives where nothing was built."""
    with patch.object(native, "QUICK", None):
        return call()


def outcome(call: Callable[[], Any]) -> Any:
    """What the call gives, or that it is refused."""
    try:
        return call()
    except Exception as refused:
        return type(refused)


# -- documents ---------------------------------------------------------------------------------------


def made_quickly(record: Record, root: str = "/a", synced_at: int = SYNCED_MS) -> bytes | None:
    made: bytes | None = quick().znode_document(record.key, record.value, record.meta, root, synced_at)
    return made


def made_in_python(record: Record, root: str = "/a", synced_at: int = SYNCED_MS) -> bytes:
    made: bytes = in_python(lambda: document_of(record, root, synced_at))
    return made


def assert_same_document(value: bytes, key: str = "/a/b") -> None:
    """Declining is allowed, which `document_of` alone does not show."""
    record = znode(key, value)
    assert made_quickly(record) in (None, made_in_python(record))
    assert document_of(record, "/a") == made_in_python(record)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["$ref", "$id", "$db", "a.b", "", "_id"]), inner)
    ),
)
WAYS_TO_WRITE: list[dict[str, Any]] = [
    {"separators": (",", ":")},
    {"separators": (",", ":"), "ensure_ascii": False},
    {"ensure_ascii": False},
    {"indent": 2},
    {"separators": (" ,\t", "\r\n: "), "ensure_ascii": False},
]


def written(value: Any, way: dict[str, Any]) -> bytes:
    """With lone surrogates as bytes when they are not escaped: no UTF-8 then."""
    return json.dumps(value, **way).encode("utf-8", "surrogatepass")


JSON_TEXTS = st.builds(
    written, (st.lists(JSON_VALUES) | st.dictionaries(st.text(), JSON_VALUES)), st.sampled_from(WAYS_TO_WRITE)
)
PIECES = st.binary(max_size=3) | st.sampled_from(
    [
        *(b'"', b"\\", b"\\u0000", b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b"{}", b"[]", b'""'),
        *(b"-", b"0", b".", b"e", b"E+", b"1e5", b"-0", b"9" * 19, b"true", b"nul", b"NaN", b'"$ref":1,'),
        *(b" ", b"\n", b"\0", b"\x1f", b"\x7f", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", "😀".encode()),
    ]
)


def damaged(data: bytes, at: int, cut: int, piece: bytes) -> bytes:
    """With a piece in place of `cut` bytes; everything behind goes when `cut` is negative."""
    at %= len(data) + 1
    return data[:at] + piece + (b"" if cut < 0 else data[at + cut :])


POSITIONS = st.integers(0, 10_000)
CHANGES = st.lists(
    st.tuples(
        POSITIONS,
        st.integers(-1, 5),
        st.binary(max_size=4) | INT.map(struct.Struct("!i").pack) | INT.map(struct.Struct("<i").pack),
    ),
    max_size=3,
)
DAMAGED_TEXTS = st.builds(damaged, JSON_TEXTS, POSITIONS, st.integers(-1, 3), PIECES)
TWICE_DAMAGED_TEXTS = st.builds(damaged, DAMAGED_TEXTS, POSITIONS, st.integers(0, 1), PIECES)
NUMBERS = (
    st.from_regex(rb"-?[0-9]{1,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{0,3})?", fullmatch=True)
    | st.floats().map(lambda number: repr(number).encode())
    | (st.integers(-(2**70), 2**70) | LONG).map(lambda number: str(number).encode())
)


@relaxed
@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_and_any_text_make_the_same_document(value: bytes) -> None:
    assert_same_document(value)


@relaxed
@given(JSON_TEXTS)
def test_any_json_however_written_makes_the_same_document(value: bytes) -> None:
    assert_same_document(value)


@relaxed
@given(DAMAGED_TEXTS | TWICE_DAMAGED_TEXTS)
def test_damaged_json_makes_the_same_document(value: bytes) -> None:
    assert_same_document(value)


@relaxed
@given(st.from_regex(rb'[ \n]*[\[{][\[\]{}":,0-9eE.+\\u $ab-]*', fullmatch=True))
def test_what_only_looks_like_json_makes_the_same_document(value: bytes) -> None:
    assert_same_document(value)


@relaxed
@given(st.lists(NUMBERS, min_size=1, max_size=5))
def test_any_spelling_of_a_number_makes_the_same_document(numbers: list[bytes]) -> None:
    assert_same_document(b"[" + b",".join(numbers) + b"]")
    assert_same_document(b'{"a":' + numbers[0] + b"}")


@relaxed
@given(PATHS | st.text(max_size=9), PATHS, st.booleans(), STATS, LONG)
def test_any_key_root_and_stat_make_the_same_document(
    key: str, root: str, is_root: bool, stat: Stat, synced_at: int
) -> None:
    record = Record(key, b'{"a":1}', version_of(stat), sent_stat(stat))
    root = key if is_root else root
    made = made_quickly(record, root, synced_at)
    assert made == made_in_python(record, root, synced_at) or (made is None and "/" not in key)


@pytest.mark.parametrize("size", [0, STAT_BYTES - 1, STAT_BYTES + 1])
def test_a_stat_of_another_size_is_refused(size: int) -> None:
    record = znode("/a/b", b"text")._replace(meta=bytes(size))
    for way in (made_quickly, made_in_python):
        with pytest.raises((TypeError, struct.error)):
            way(record)


def test_a_key_or_a_time_that_cannot_be_written_is_refused() -> None:
    for key, synced_at in (("/\ud800", 1), ("/a", 2**63), ("/a", -(2**63) - 1)):
        record = znode(key, b"text")
        for way in (made_quickly, made_in_python):
            with pytest.raises((UnicodeEncodeError, OverflowError, struct.error)):
                way(record, "/a", synced_at)


@pytest.mark.parametrize(
    "given",
    [(), ("/a", b"", (0,) * 11, "/"), (b"/a", b"", (0,) * 11, "/", 1), ("/a", "", (0,) * 11, "/", 1),
     ("/a", bytearray(), (0,) * 11, "/", 1), ("/a", b"", [0] * 11, "/", 1), ("/a", b"", (0,) * 10, "/", 1),
     ("/a", b"", (0,) * 11, None, 1), ("/a", b"", (0,) * 11, "/", "1")],
)  # fmt: skip
def test_a_document_of_arguments_of_other_types_is_refused(given: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        quick().znode_document(*given)


def nested(levels: int, inside: bytes = b"") -> bytes:
    return b"[" * levels + inside + b"]" * levels


def with_keys(count: int) -> bytes:
    return json.dumps({str(number): number for number in range(count)}).encode()


HARD_NUMBERS = b"""
    0 -0 00 -00 01 -01 0.0 -0.0 +1 - -a -- .5 -.5 1. 1.e1 1.0. 1.0.0 0.1 1.10 1.1 1e5 1E5 1e+5 1e05 1e16 1e+16 1e22
    1E+22 1e-05 1e-5 1e-7 1E400 1e400 -1e400 1e-400 5e-324 2.5e-324 1e 1e+ 1e- 1e5.0 0x10 1_0 1-1 1+1 1e1e1
    Infinity -Infinity NaN inf nan 2147483647 2147483648 -2147483648 -2147483649 4294967296 9007199254740993
    9007199254740993.0 9007199254740992.0 999999999999999999 -999999999999999999 1000000000000000000
    9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 9999999999999999999
    18446744073709551615 18446744073709551616 1797693134862315708145274237317043567981e270 1.7976931348623157e+308
    1.7976931348623159e+308 2.2250738585072014e-308 0.30000000000000004 0.1000000000000000055511151231257827
    123456789012345678.0 1234567890123456.0 12345678901234567.0 0.00001 0.0001 0.000012345678901234567
    tru true1 truefalse nulll nul fals -true True None
""".split()

HARD_VALUES = [
    *(b"[%s]" % number for number in HARD_NUMBERS),
    *(b'{"a":%s,"b":[%s ,1]}' % (number, number) for number in HARD_NUMBERS),
    *(nested(levels) for levels in (*range(29, 35), 98, 99, 100, 101, 5000)),
    *(nested(levels, b"1") for levels in (*range(29, 35), 99, 100)),
    *(b'{"a":' * levels + b"{}" + b"}" * levels for levels in (*range(28, 34), 97, 98, 99, 100)),
    *(with_keys(count) for count in (0, 1, 31, 32, 33, 34, 200)),
    # keys
    b'{"a":1,"a":1}', b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b'{"a":{"a":1},"b":{"a":1}}', b'{"":1,"":2}',
    b'{"":{}}', b'{"$ref":1}', b'{"$ref":1,"$id":2}', b'{"$id":2}', b'{"$ref":"a","$id":1,"$db":"c"}',
    b'["$ref","$id"]', b'{"\\u0024ref":1,"$id":2}', b'{"$reff":1,"$id":2}', b'{"x":{"$id":1,"$ref":{}}}', b'{"_id":1}',
    b'{"b":1,"_id":2}',
    # escapes, NUL and control characters
    b'["\\u0000"]', b'["\0"]', b'{"\\u0000":1}', b'{"\0":1}', b"[\0]", b"[1]\0", b"\0[1]", b"a\0b", b"\0", b'["\\x"]',
    b'["\\n\\t\\"\\\\\\/\\b"]', b'["\\u12"]', b'["\\ud83d\\ude00"]', b'["\\ud800"]', b'["\\udc00\\ud800"]', b"[\x01]",
    b'["\x1f"]', b'["\n"]', b'["\t"]', b'["\x7f"]',
    # UTF-8 and what is none
    b'["\xed\xa0\x80"]', b'["\xed\xa0\xbd\xed\xb8\x80"]', b'["\xc0\x80"]', b'["\xc1\xbf"]', b'["\xe0\x80\xaf"]',
    b'["\xf4\x90\x80\x80"]', b'["\xf8\x88\x80\x80\x80"]', b'["\xff"]', b'["\x80"]', b'["\xe2\x82"]', b"\xe2\x82",
    b"[\xff", '["ü"]'.encode(), '{"ü😀":"\U0010ffff"}'.encode(), '["\u2028\x85\x7f"]'.encode(), "[1]\xa0".encode(),
    "\u3000[1]".encode(), b"\xef\xbb\xbf[1]", b"[1]\xef\xbb\xbf", "[]".encode("utf-16"), "[1]".encode("utf-32-le"),
    # too much, too little
    b"[1] x", b"[1]]", b"[1],", b"[1][1]", b"{}{}", b"[1] \n\t\r ", b" \n\t\r [1]", b"\x0b[1]", b"\x0c[1]", b"[1]\x0b",
    b"[", b"{", b"]", b"}", b"[]", b"{}", b"[ ]", b"{ }", b"[,]", b"{,}", b"[1,]", b"[,1]", b"[1,,1]", b'{"a":1,}',
    b'{"a"}', b'{"a":}', b'{"a",1}', b'{"a"1}', b'{"a":1 "b":2}', b"{a:1}", b"{1:1}", b"{'a':1}", b'{"a" : 1}', b"[:1]",
    b'["', b'["a', b'["a"', b'{"', b'{"a', b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b"[1", b"[1,", b"[t", b"[-",
    b"[1.", b"[1 1]", b"[]//", b"[/**/]", b"[1]#", b'["a"b"]', b"[[],[{}],{}]",
    # no JSON
    b"", b" ", b"\n", b"0", b"7", b'"a"', b"null", b"true", b"text", "tüxt".encode(), b"\xff", b"x" * 500,
    b"\x80" * 500,
    # long
    b"[" + b"0," * 12 + b"0]", b"[" + b"0," * 1200 + b"0]", b"[" + b" " * 9000 + b"]", b'["' + b"x" * 9000 + b'"]',
]  # fmt: skip


@pytest.mark.parametrize("value", HARD_VALUES, ids=lambda value: repr(value[:40]))
def test_hard_values_make_the_same_document(value: bytes) -> None:
    assert_same_document(value)
    assert_same_document(value, key="/")


@pytest.mark.parametrize("size", [2**20 - 5, 2**20 - 4, 2**20, 2**20 + 1])
@pytest.mark.parametrize("unit", [b"x", b"\xff", b"[0,0]", b"0,"], ids=repr)
def test_values_around_the_largest_one_make_the_same_document(size: int, unit: bytes) -> None:
    value = (unit * (size // len(unit) + 1))[:size]
    assert_same_document(value)
    assert_same_document((b"[" + value)[: size - 2] + b"0]")


def test_json_that_outgrows_a_document_is_kept_as_text() -> None:
    assert_same_document(b"[" + b"1," * (3 * 2**19) + b"1]")
    assert_same_document(b"[1]", key="/" + "x" * (9 * 2**20))


PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters='"\\'), max_size=20)
COMMON_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18) + 1, 10**18 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | PLAIN_TEXT,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(PLAIN_TEXT, inner, max_size=30),
    max_leaves=30,
)


@relaxed
@given(
    st.lists(COMMON_JSON, max_size=20) | st.dictionaries(PLAIN_TEXT, COMMON_JSON, max_size=30),
    st.sampled_from([{**way, "ensure_ascii": False} for way in WAYS_TO_WRITE]),
)
def test_common_json_is_taken_on_and_makes_the_same_document(value: Any, way: dict[str, Any]) -> None:
    record = znode("/a/b", written(value, way))
    assert made_quickly(record) == made_in_python(record)


SETTINGS_OF_A_SERVICE = {"host": "10.0.0.1", "port": 6000, "weights": [0.1, -1.5, 1e22], "zone": None, "on": True}
COMMON_VALUES = [
    leaf_value(0), leaf_value(123_456, 7), b"", b"plain text", "Text: ü, 😀\n".encode(), b"\0\x01\xff" * 70,
    b"\x1f\x8b\x08\0", b"7", b"true", b"10.0.0.1:6000", b"key=value\nother=value\n", b"<xml/>", b"[]", b"{}",
    b' {"a": [1, 2.5, "x"]}\n', json.dumps(SETTINGS_OF_A_SERVICE).encode(),
    json.dumps(SETTINGS_OF_A_SERVICE, indent=2).encode(), with_keys(32), nested(31), b"x" * 500_000,
    b'["' + b"x" * 500_000 + b'"]', b"[" + b"1," * 50_000 + b"1]",
]  # fmt: skip


@pytest.mark.parametrize("value", COMMON_VALUES, ids=lambda value: repr(value[:40]))
@pytest.mark.parametrize("key", ["/", "/a", "/a/b", "/a/ü/😀"])
def test_common_values_are_taken_on_and_make_the_same_document(value: bytes, key: str) -> None:
    record = znode(key, value)
    assert made_quickly(record) == made_in_python(record)


# -- values ------------------------------------------------------------------------------------------

CHILDREN = st.lists(NAMES, max_size=4)
VALUES = st.builds(data_of, st.binary(max_size=40) | st.just(b"x" * 300), STATS)
RESULTS: st.SearchStrategy[OpResult | None] = VALUES | VALUES | st.none() | CHILDREN | st.builds(ErrorCode, INT)
"""`None` stands for a value that is null."""


def understood(request: MultiRead, answer: bytes, offset: int) -> Any:
    """All there is to see of what the answer is taken for: the results with types and hashes, or the refusal's text."""
    try:
        results = request.deserialize(answer, offset)
    except MalformedAnswer as refused:
        return str(refused)
    return [
        (type(one), list(map(type, one)), hash(one), one) if isinstance(one, Data) else (type(one), one)
        for one in results
    ]


def assert_understood_alike(request: MultiRead, answer: bytes, offset: int = 0) -> None:
    assert understood(request, answer, offset) == in_python(lambda: understood(request, answer, offset))


FIXED_RESULTS: list[OpResult | None] = [
    *(["a", "ü"], [], data_of(b"one", Stat(*range(11))), None, ErrorCode(-101)),
    *(data_of(b"", Stat(*[-1] * 11)), data_of(b"x" * 20, Stat(*range(11)))),
]


@relaxed
@given(st.lists(RESULTS, max_size=8).map(lists_first), st.binary(max_size=20))
def test_any_answer_is_understood_alike(results: list[OpResult | None], header: bytes) -> None:
    assert_understood_alike(request_for(results), header + answer_of(results) + END, len(header))


def test_an_answer_cut_anywhere_is_understood_alike() -> None:
    whole = answer_of(FIXED_RESULTS) + END
    for cut in range(len(whole) + 1):
        assert_understood_alike(request_for(FIXED_RESULTS), whole[:cut])


@pytest.mark.parametrize("byte", [0, 1, 4, 8, 127, 128, 255])
def test_an_answer_with_any_byte_changed_is_understood_alike(byte: int) -> None:
    whole = bytearray(answer_of(FIXED_RESULTS) + END)
    for at, before in enumerate(whole):
        whole[at] = byte
        assert_understood_alike(request_for(FIXED_RESULTS), bytes(whole))
        whole[at] = before


@relaxed
@given(
    st.lists(RESULTS, max_size=5).map(lists_first),
    CHANGES,
    st.integers(0, 90),
)
def test_a_damaged_answer_is_understood_alike(
    results: list[OpResult | None], changes: list[tuple[int, int, bytes]], offset: int
) -> None:
    answer = answer_of(results) + END
    for change in changes:
        answer = damaged(answer, *change)
    assert_understood_alike(request_for(results), answer)
    assert_understood_alike(request_for(results), answer, offset)


@relaxed
@given(st.lists(VALUES | st.none(), max_size=6), st.integers(-2, 8), st.binary(max_size=20))
def test_as_many_values_are_read_as_are_asked_for_and_follow_each_other(
    results: list[OpResult | None], most: int, behind: bytes
) -> None:
    answer = answer_of(results)
    expected = [data_of(b"", Stat(*range(11))) if one is None else one for one in results]
    read = max(0, min(most, len(results)))
    end = len(answer_of(results[:read]))
    assert quick().znode_values(answer + behind, 0, most, Data) == (expected[:read], end)


def test_a_value_that_is_cut_short_is_not_read() -> None:
    values = [
        data_of(b"one", Stat(*range(11))),
        data_of(b"", Stat(*[-1] * 11)),
        data_of(b"x" * 20, Stat(*[0] * 11)),
    ]
    ends = [len(answer_of([*values[:whole]])) for whole in range(len(values) + 1)]
    answer = answer_of([*values])
    for cut in range(len(answer)):
        read, end = quick().znode_values(answer[:cut], 0, 9, Data)
        assert (len(read), end) == max((whole, at) for whole, at in enumerate(ends) if at <= cut)


@pytest.mark.parametrize("length", [-(2**31), -3, -2, -1, 0, 2, 3, 4, 80, 2**31 - 1])
def test_a_value_whose_length_lies_is_understood_alike(length: int) -> None:
    answer = bytearray(answer_of([FIXED_RESULTS[2], None, None]) + END)
    answer[9:13] = struct.pack("!i", length)
    assert_understood_alike(request_for([None, None, None]), bytes(answer))


@pytest.mark.parametrize("offset", [-1, -(2**63), 1, 81, 82, 83, 2**31, 2**63 - 1])
def test_there_are_no_values_outside_of_the_answer(offset: int) -> None:
    answer = answer_of([None])
    assert quick().znode_values(answer, offset, 9, Data) == ([], offset)


@pytest.mark.parametrize(
    ("given", "refused"),
    [((), TypeError), ((b"", 0, 1), TypeError), ((bytearray(), 0, 1, Data), TypeError),
     ((b"", 0.0, 1, Data), TypeError), ((b"", 0, "1", Data), TypeError),
     ((b"", 0, 1, list), TypeError), ((b"", 0, 1, (0,)), TypeError),
     ((b"", 2**63, 1, Data), OverflowError), ((b"", 0, -(2**64), Data), OverflowError)],
)  # fmt: skip
def test_values_of_arguments_of_other_types_are_refused(given: tuple[Any, ...], refused: type[Exception]) -> None:
    with pytest.raises(refused):
        quick().znode_values(*given)


def test_a_collection_of_garbage_meets_no_value_that_is_half_made() -> None:
    """It calls other code, which can see all that takes part; to touch an item that is missing ends the process."""
    answer = answer_of([None] * 50)
    met: list[bool] = []

    def look(phase: str, info: dict[str, int]) -> None:
        met.extend("NULL" not in tuple.__repr__(one) for one in gc.get_objects(0) if type(one) is Data)

    before = gc.get_threshold()
    gc.callbacks.append(look)
    try:
        for threshold in range(1, 6):  # what is made when a collection comes depends on it
            gc.set_threshold(threshold)
            quick().znode_values(answer, 0, 50, Data)
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(look)
    assert met
    assert all(met)


# -- names -------------------------------------------------------------------------------------------


def names_in_python(answer: bytes, offset: int) -> Any:
    return outcome(lambda: in_python(lambda: _read_names(answer, offset)))


def names_of(names: list[bytes], count: int | None = None) -> bytes:
    counted = len(names) if count is None else count
    return struct.pack("!i", counted) + b"".join(struct.pack("!i", len(name)) + name for name in names)


@relaxed
@given(CHILDREN, st.binary(max_size=9), st.binary(max_size=9))
def test_names_are_taken_on_and_read_alike(children: list[str], before: bytes, behind: bytes) -> None:
    names = names_of([name.encode() for name in children])
    expected = children, len(before + names)
    assert quick().znode_names(before + names + behind, len(before)) == expected
    assert names_in_python(before + names + behind, len(before)) == expected


@relaxed
@given(st.lists(st.binary(max_size=4), max_size=4), st.integers(-2, 5), CHANGES, st.integers(0, 20))
def test_what_are_no_names_is_declined_or_read_alike(
    names: list[bytes], count: int, changes: list[tuple[int, int, bytes]], offset: int
) -> None:
    answer = names_of(names, count)
    for change in changes:
        answer = damaged(answer, *change)
    assert quick().znode_names(answer, offset) in (None, names_in_python(answer, offset))


@pytest.mark.parametrize("name", [b"", b"a/b", b"/", b"\xff", b"\xed\xa0\xbd\xed\xb8\x80"])
def test_a_name_that_is_not_common_is_declined(name: bytes) -> None:
    assert quick().znode_names(names_of([b"a", name]), 0) is None


@pytest.mark.parametrize("offset", [-1, -(2**63), 5, 9, 2**63 - 1])
def test_there_are_no_names_outside_of_the_answer(offset: int) -> None:
    assert quick().znode_names(names_of([b"a"])[:-1], offset) is None


@pytest.mark.parametrize(
    ("given", "refused"),
    [((), TypeError), ((b"",), TypeError), ((bytearray(), 0), TypeError), ((b"", 0.0), TypeError),
     ((b"", 2**63), OverflowError)],
)  # fmt: skip
def test_names_of_arguments_of_other_types_are_refused(given: tuple[Any, ...], refused: type[Exception]) -> None:
    with pytest.raises(refused):
        quick().znode_names(*given)


# -- versions ----------------------------------------------------------------------------------------


def index_of(batch: bytes) -> dict[str, int]:
    """The index of a batch, in which no key is twice, as `MongoMirror` puts it together."""
    index, others = ZnodeCodec.index_of(batch)
    for document in bson.decode_all(b"".join(others), LENIENT):
        assert document["_id"] not in index
        index[document["_id"]] = ZnodeCodec.version_in(document)
    return dict(index)


def assert_same_index(batch: bytes) -> None:
    assert outcome(lambda: index_of(batch)) == in_python(lambda: outcome(lambda: index_of(batch)))


def shown(key: str, version: int, czxid: int, mtime: int) -> bytes:
    """A document of ours as MongoDB shows it."""
    stat = {"czxid": Int64(czxid), "mtime": bson.DatetimeMS(mtime)}
    return bson.encode({"_id": key, "version": Int64(version), "stat": stat})


FIELDS = st.one_of(
    LONG.map(Int64), INT, LONG.map(bson.DatetimeMS), st.floats(), st.text(max_size=3), st.none(), st.binary(max_size=3),
    st.booleans(), st.lists(INT, max_size=2),
)  # fmt: skip
OURS = st.builds(shown, PATHS, LONG, LONG, LONG)
FOREIGN = st.builds(
    lambda key, fields: bson.encode({"_id": key, **dict(fields)}),
    PATHS,
    st.lists(
        st.tuples(
            st.sampled_from(["version", "stat", "czxid", "mtime", "name"]),
            FIELDS
            | st.permutations(["czxid", "mtime", "x"]).flatmap(
                lambda names: st.fixed_dictionaries({}, optional=dict.fromkeys(names, FIELDS))
            ),
        ),
        max_size=4,
    ),
)


def each_key_once(documents: list[bytes]) -> bytes:
    return b"".join({bson.decode(document, LENIENT)["_id"]: document for document in documents}.values())


@relaxed
@given(st.lists(OURS, max_size=6))
def test_documents_of_ours_are_all_taken_on_and_have_the_same_versions(documents: list[bytes]) -> None:
    batch = each_key_once(documents)
    index, others = quick().znode_versions(batch)
    assert others == []
    assert list(index.items()) == list(in_python(lambda: index_of(batch)).items())


@relaxed
@given(st.lists(OURS | FOREIGN, max_size=8))
def test_foreign_documents_among_ours_make_the_same_index(documents: list[bytes]) -> None:
    batch = each_key_once(documents)
    assert_same_index(batch)
    assert MALFORMED not in quick().znode_versions(batch)[0].values()


@pytest.mark.parametrize(
    "document",
    [
        {"_id": "/a"},
        {"_id": "/a", "version": Int64(1)},
        {"_id": "/a", "version": Int64(1), "stat": {}},
        {"_id": "/a", "version": 1, "stat": {"czxid": Int64(1), "mtime": bson.DatetimeMS(1)}},
        {"_id": "/a", "version": Int64(1), "stat": {"czxid": 1, "mtime": bson.DatetimeMS(1)}},
        {"_id": "/a", "version": Int64(1), "stat": {"czxid": Int64(1), "mtime": Int64(1)}},
        {"_id": "/a", "version": Int64(1), "stat": {"mtime": bson.DatetimeMS(1), "czxid": Int64(1)}},
        {"_id": "/a", "stat": {"czxid": Int64(1), "mtime": bson.DatetimeMS(1)}, "version": Int64(1)},
        {"_id": "/a", "version": Int64(1), "stat": {"czxid": Int64(1), "mtime": bson.DatetimeMS(1)}, "x": 1},
        {"_id": "/a", "version": Int64(1), "stat": {"czxid": Int64(1), "mtime": bson.DatetimeMS(1), "x": 1}},
        {"_id": "/a", "version": Int64(1), "stat": [{"czxid": Int64(1), "mtime": bson.DatetimeMS(1)}]},
        {"_id": "/a", "x": 1, "version": Int64(1), "stat": {"czxid": Int64(1), "mtime": bson.DatetimeMS(1)}},
        {"_id": 1, "version": Int64(1), "stat": {"czxid": Int64(1), "mtime": bson.DatetimeMS(1)}},
        {"_id": b"/a", "version": Int64(1), "stat": {"czxid": Int64(1), "mtime": bson.DatetimeMS(1)}},
    ],
    ids=repr,
)
def test_a_document_of_another_shape_is_left_to_python(document: dict[str, Any]) -> None:
    ours, foreign = shown("/b", -1, -1, -1), bson.encode(document)
    assert quick().znode_versions(ours + foreign) == ({"/b": 2**192 - 1}, [foreign])
    assert_same_index(foreign + ours)


def test_an_id_that_is_no_utf8_is_left_to_python() -> None:
    batch = shown("/abc", 1, 2, 3).replace(b"abc", b"a\xff\x80")
    assert quick().znode_versions(batch) == ({}, [batch])
    assert_same_index(batch)


def test_a_batch_cut_anywhere_is_refused_alike() -> None:
    batch = shown("/a", 1, 2, 3) + bson.encode({"_id": "/b", "x": 1}) + shown("/c", -1, -(2**63), 2**63 - 1)
    for cut in range(len(batch) + 1):
        assert_same_index(batch[:cut])


@pytest.mark.parametrize("byte", [0, 1, 3, 18, 127, 128, 255])
def test_a_batch_with_any_byte_changed_is_understood_or_refused_alike(byte: int) -> None:
    batch = bytearray(shown("/abc", 1, 2, 3) + shown("/def", -1, -(2**63), 2**63 - 1) + shown("/", 1, 1, 1))
    for at, before in enumerate(batch):
        batch[at] = byte
        assert_same_index(bytes(batch))
        batch[at] = before


@relaxed
@given(
    st.lists(OURS | FOREIGN, max_size=5),
    CHANGES,
)
def test_a_damaged_batch_is_understood_or_refused_alike(
    documents: list[bytes], changes: list[tuple[int, int, bytes]]
) -> None:
    batch = each_key_once(documents)
    for change in changes:
        batch = damaged(batch, *change)
    try:
        keys = [document["_id"] for document in bson.decode_all(batch, LENIENT)]
        if len(set(keys)) < len(keys):
            return  # which of them counts is nobody's question: MongoDB has no key twice
    except (bson.InvalidBSON, KeyError, TypeError):
        pass
    assert_same_index(batch)


@pytest.mark.parametrize("given", [(), (b"", b""), ("",), (bytearray(),), (memoryview(b""),), (None,)])
def test_versions_of_arguments_of_other_types_are_refused(given: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        quick().znode_versions(*given)


# -- the module as a whole ---------------------------------------------------------------------------


def test_the_quick_way_is_the_one_that_is_taken() -> None:
    """Without it the tests above would compare Python with Python."""
    asked = Mock(wraps=quick())
    with patch.object(native, "QUICK", asked):
        document_of(znode("/a", b"text"), "/a")
        request_for([["a"], None]).deserialize(answer_of([["a"], None]) + END, 0)
        ZnodeCodec.index_of(shown("/a", 1, 2, 3))
    assert [call[0] for call in asked.method_calls] == [
        "znode_document",
        "znode_names",
        "znode_values",
        "znode_versions",
    ]


KEY, ROOT, SENT_STAT = "/a/b-ü", "/a/root", sent_stat(Stat(*[2**31 - 9] * 11))
ANSWER = answer_of([None, None, ErrorCode(-101)])
BATCH = shown(KEY, 10**12, 10**12, 10**12) + bson.encode({"_id": ROOT, "x": 1}) + b"\x07\0"


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("znode_document", (KEY, b'{"a":[1,2.5,{"b":"text"}],"c":null}', SENT_STAT, ROOT, SYNCED_MS)),
        ("znode_document", (KEY, "text: ü, 😀".encode(), SENT_STAT, ROOT, SYNCED_MS)),
        ("znode_document", (KEY, b"\xff" * 900, SENT_STAT, ROOT, SYNCED_MS)),
        ("znode_document", (KEY, b"[1,2,1e5]" + b" " * 900, SENT_STAT, ROOT, SYNCED_MS)),
        ("znode_document", (KEY, b"[1,2,1.5.5]", SENT_STAT, ROOT, SYNCED_MS)),
        ("znode_document", (KEY, b'{"a":1,"a":1}', SENT_STAT, ROOT, SYNCED_MS)),
        ("znode_document", (KEY, b"text", SENT_STAT[1:], ROOT, SYNCED_MS)),
        ("znode_document", (KEY, b"text", SENT_STAT, ROOT, 2**80)),
        ("znode_document", ("/\ud800", b"text", SENT_STAT, ROOT, SYNCED_MS)),
        ("znode_document", (KEY, b"text", SENT_STAT, ROOT, ROOT)),
        ("znode_document", (KEY, "text", SENT_STAT, ROOT, SYNCED_MS)),
        ("znode_values", (ANSWER, 0, 1000, Data)),
        ("znode_values", (ANSWER[:-30], 0, 1000, Data)),
        ("znode_values", (ANSWER, 2**80, 1000, Data)),
        ("znode_values", (ANSWER, 0, 1000, list)),
        ("znode_names", (names_of([b"a", "ü".encode(), b"x" * 600]), 0)),
        ("znode_names", (names_of([b"a", b"\xff"]), 0)),
        ("znode_names", (names_of([b"a", b"b"])[:-1], 0)),
        ("znode_names", (names_of([]), 2**80)),
        ("znode_versions", (BATCH,)),
        ("znode_versions", (BATCH.replace(b"/a/b-", b"/a/\xff-"),)),
        ("znode_versions", (KEY,)),
    ],
    ids=lambda given: given if isinstance(given, str) else repr(given)[:60],
)
def test_ten_thousand_calls_leave_nothing_behind(name: str, given: tuple[Any, ...]) -> None:
    function = getattr(quick(), name)

    def call_often() -> None:
        for _ in range(10_000):
            with suppress(TypeError, OverflowError, UnicodeEncodeError):
                function(*given)

    watched = [*given, Data, None, b""]
    call_often()
    gc.collect()
    references, blocks = [sys.getrefcount(one) for one in watched], sys.getallocatedblocks()
    call_often()
    gc.collect()
    # a little may be other threads'; one block or reference a call would be 10,000
    assert max(abs(sys.getrefcount(one) - before) for one, before in zip(watched, references, strict=True)) < 1000
    assert sys.getallocatedblocks() - blocks < 1000
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        call_often()
        assert tracemalloc.get_traced_memory()[0] - before < 100_000  # also what is too large for a block
    finally:
        tracemalloc.stop()
