"""The value: whatever bytes a znode holds, the document gives them back."""

from __future__ import annotations

import json
import random
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridsync.sinks.json_value import json_element
from hybridsync.sinks.znode_document import encode_plain
from tests.mirror_records import SYNCED_MS, document_of, znode

MIB = 1 << 20


def decoded(data: bytes) -> tuple[Any, str]:
    document = bson.decode(document_of(znode("/a", data), "/a"))
    return document["value"], document["encoding"]


def identical(left: Any, right: Any) -> bool:
    """Equal with types, signs of zero and the order of keys."""
    return json.dumps(left) == json.dumps(right)


def assert_nothing_is_lost(data: bytes) -> str:
    value, encoding = decoded(data)
    match encoding:
        case "json":
            assert isinstance(value, (dict, list))
            assert identical(value, json.loads(data))
        case "utf8":
            assert value.encode() == data
        case "binary":
            assert value == data
        case _:
            assert (value, encoding, data) == (None, "empty", b"")
    return encoding


@given(st.binary())
def test_any_bytes_come_back(data: bytes) -> None:
    assert_nothing_is_lost(data)


@given(st.text().map(str.encode) | st.from_regex(rb'[\[{][\[\]{}":,0-9eE.+\\u $a-]*', fullmatch=True))
def test_any_text_comes_back(data: bytes) -> None:
    assert_nothing_is_lost(data)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["$ref", "$id", "$db", "a.b", ""]), inner)
    ),
)


@given(JSON_VALUES, st.booleans())
def test_any_json_comes_back(value: Any, ascii_only: bool) -> None:
    assert_nothing_is_lost(json.dumps(value, ensure_ascii=ascii_only).encode())


@given(JSON_VALUES)
def test_json_is_understood_alike_with_and_without_blanks(value: Any) -> None:
    """Without blanks it may take a shorter way."""
    try:
        shortest = json.dumps([value], ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return  # half of a surrogate pair
    assert json_element(shortest, 0) == json_element(json.dumps([value], ensure_ascii=False).encode(), 0)
    assert_nothing_is_lost(shortest)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"", "empty"),
        (b"{}", "json"),
        (b"[]", "json"),
        (b' \r\n\t{"a": 1}\n', "json"),
        (b'{"$set": {"a.b": 1, "": 2}}', "json"),
        (b'{"$ref": "#/definitions/a"}', "json"),
        (b'{"b": 1, "10": 2, "9": 3, "a": 4}', "json"),
        (b"[9223372036854775807, -9223372036854775808]", "json"),
        (b"[0.1, 1.50, 1e5, -0.0, 1E-7, 123456789.125]", "json"),
        (b'["\\u0000"]', "json"),
        ('{"ü": "\\ud83d\\ude00"}'.encode(), "json"),
        (b"[" * 99 + b"]" * 99, "json"),
        (b'{"$ref": "a", "$id": 1}', "utf8"),
        (b'[{"x": {"$db": "c", "$ref": "a", "$id": 1}}]', "utf8"),
        (b'{"a": 1, "a": 1}', "utf8"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "utf8"),
        (b"[9223372036854775808]", "utf8"),
        (b"[-9223372036854775809]", "utf8"),
        (b"[" + b"9" * 5000 + b"]", "utf8"),
        (b"[NaN]", "utf8"),
        (b"[Infinity]", "utf8"),
        (b"[-Infinity]", "utf8"),
        (b"[1e400]", "utf8"),
        (b"[1e-400]", "utf8"),
        (b"[1e-99999999999999999999999]", "utf8"),
        (b"[0.12345678901234567890]", "utf8"),
        (b'{"a\\u0000b": 1}', "utf8"),
        (b'["\\ud800"]', "utf8"),
        (b'{"\\udfff": 1}', "utf8"),
        (b"[" * 100 + b"]" * 100, "utf8"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "utf8"),
        (b"[" * 100_000, "utf8"),
        (b"[" * 100_000 + b"]" * 100_000, "utf8"),
        (b"\xef\xbb\xbf{}", "utf8"),
        (b"{} x", "utf8"),
        (b"{'a': 1}", "utf8"),
        (b"7", "utf8"),
        (b'"text"', "utf8"),
        (b"null", "utf8"),
        (b"a\0b", "utf8"),
        (b"\0", "utf8"),
        (b" ", "utf8"),
        ("[]".encode("utf-16"), "binary"),
        (b'["\xff"]', "binary"),
        (b"\xff", "binary"),
        (b"\xed\xa0\x80", "binary"),
    ],
)
def test_each_kind_of_value_gets_its_encoding(data: bytes, encoding: str) -> None:
    if encoding == "json" and data[-1] in b"]}" and b"\\u" not in data:
        assert identical(decoded(data)[0], json.loads(data))
    value, chosen = decoded(data)
    assert chosen == encoding
    if chosen == "utf8":
        assert value.encode() == data
    if chosen == "binary":
        assert value == data


def test_brackets_inside_of_strings_are_no_nesting() -> None:
    assert assert_nothing_is_lost(json.dumps(["[" * 500]).encode()) == "json"


def test_a_wide_value_is_not_deep() -> None:
    assert assert_nothing_is_lost(json.dumps([[[]] for _ in range(500)]).encode()) == "json"


@pytest.mark.parametrize(
    "data",
    [
        b"[" + b"1," * (MIB // 2 - 1) + b"1]",
        b'{"a":"' + b"x" * (MIB - 8) + b'"}',
        b"[" + b"1e5," * (MIB // 4 - 1) + b"1]",
        b"[" + b"[]," * (MIB // 3 - 1) + b"1]",
        b"{" + b",".join(b'"%d":0' % number for number in range(90_000)) + b"}",
        b"x" * MIB,
        random.Random(1).randbytes(MIB),
    ],
    ids=["ints", "string", "floats", "lists", "keys", "text", "bytes"],
)
def test_a_value_of_one_mebibyte_comes_back(data: bytes) -> None:
    assert_nothing_is_lost(data)


def test_json_that_outgrows_a_document_is_kept_as_text() -> None:
    data = b"[" + b"1," * (MIB * 3 // 2) + b"1]"
    assert decoded(data) == (data.decode(), "utf8")


@given(st.binary(min_size=1))
def test_bytes_can_always_be_kept_as_bytes(data: bytes) -> None:
    document = bson.decode(encode_plain(znode("/a", data), "/a", SYNCED_MS, "binary"))
    assert (document["value"], document["encoding"]) == (data, "binary")


def test_bytes_that_are_no_text_cannot_be_kept_as_text() -> None:
    with pytest.raises(UnicodeDecodeError):
        encode_plain(znode("/a", b"\xff"), "/a", SYNCED_MS, "utf8")
