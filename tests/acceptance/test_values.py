"""Every kind of bytes a znode can hold: each is in the mirror, in the richest encoding that loses nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from bson.int64 import Int64

from tests.acceptance.place import Place
from tests.service import Service, wait_until

MIB = b"x" * (1024 * 1024 - 4096)
"""jute.maxbuffer is 1 MiB for the whole request."""

JSON: dict[str, tuple[bytes, Any]] = {
    "object": (b'{"a": 1, "b": [true, false, null, "x", 1.5]}', {"a": 1, "b": [True, False, None, "x", 1.5]}),
    "array": (b"[1, 2, 3]", [1, 2, 3]),
    "empty-object": (b"{}", {}),
    "empty-array": (b"[]", []),
    "blanks-around": (b' \n\t{"a": 1}\r\n ', {"a": 1}),
    "unicode": ('{"ключ": "значение 🎉"}'.encode(), {"ключ": "значение 🎉"}),
    "surrogate-pair": (b'{"a": "\\ud83c\\udf89"}', {"a": "🎉"}),
    "int64": (b"[9223372036854775807, -9223372036854775808]", [2**63 - 1, -(2**63)]),
    "nul-in-text": (b'{"a": "x\\u0000y"}', {"a": "x\0y"}),
    "nested-99": (b"[" * 98 + b"1" + b"]" * 98, None),
}
TEXT: dict[str, bytes] = {
    "word": b"hello",
    "unicode-text": "Ünïcødé 🎉 \u2028".encode(),
    "number": b"42",
    "json-string": b'"quoted"',
    "json-true": b"true",
    "json-null": b"null",
    "nul-byte": b"a\0b",
    "only-nul": b"\0",
    "blanks": b"  \n",
    "broken-json": b'{"a": 1',
    "trailing-comma": b"[1,]",
    "two-jsons": b"{}{}",
    "nan": b"[NaN]",
    "infinity": b'{"a": -Infinity}',
    "too-large-float": b"[1e999]",
    "too-exact-float": b"[0.1000000000000000055511151231257827]",
    "beyond-int64": b"[9223372036854775808]",
    "huge-int": b"[" + b"9" * 5000 + b"]",
    "twins": b'{"a": 1, "a": 2}',
    "twins-below": b'[{"a": 1, "a": 1}]',
    "lone-surrogate": b'{"a": "\\ud800"}',
    "nul-in-key": b'{"a\\u0000b": 1}',
    "too-deep": b"[" * 150 + b"]" * 150,
    "far-too-deep": b"[" * 100_000 + b"]" * 100_000,
    "dbref": b'{"$ref": "c", "$id": 1}',
    "bom": b'\xef\xbb\xbf{"a": 1}',
    "mebibyte": MIB,
}
BINARY: dict[str, bytes] = {
    "not-utf8": b"\xff\xfe\x00",
    "latin-1": "é".encode("latin-1"),
    "json-with-bad-byte": b'{"a": "\xff"}',
    "overlong": b"\xc0\x80",
    "utf8-surrogate": b"\xed\xa0\x80",
    "all-bytes": bytes(range(256)),
    "binary-mebibyte": b"\xff" * len(MIB),
}
LOSSLESS: dict[str, bytes] = {
    "dollar-key": b'{"$set": {"a": 1}}',
    "dotted-key": b'{"a.b": 1, ".": 2}',
    "empty-key": b'{"": 1}',
    "_id-key": b'{"_id": {"$ne": 1}}',
    "minus-zero": b"[-0.0]",
    "float-forms": b"[1.0, 1e2, 0.1, 1.7976931348623157e308, 5e-324]",
    "operators": b'{"$where": "sleep(1000)", "$expr": [1]}',
    "extended-json": b'{"$numberLong": "5", "$oid": "5f5f5f5f5f5f5f5f5f5f5f5f", "$date": 1}',
}
"""JSON that BSON can hold, though a server may refuse it: json or the text, but nothing lost."""


@pytest.fixture(scope="module")
def place(shared_place: Place) -> Iterator[Place]:
    """All values listed by a first sync below `/listed`, and written under the watch below `/watched`."""
    values = {name: data for name, (data, _) in JSON.items()} | TEXT | BINARY | LOSSLESS | {"empty": b""}
    shared_place.grow({"": b"", "/listed": b"", "/watched": b""})
    shared_place.grow({f"/listed/{name}": data for name, data in values.items()})
    with Service(shared_place.settings()) as service:
        service.wait_in_sync()
        shared_place.grow({f"/watched/{name}": data for name, data in values.items()})
        service.wait_in_sync()
        entry = service.resource()
        assert (entry["status"], entry["error"]) == ("completed", None)
        assert "warnings" not in entry["lastResult"]
        yield shared_place


WAYS = pytest.mark.parametrize("way", ["listed", "watched"])


@WAYS
@pytest.mark.parametrize("name", JSON)
def test_json_objects_and_arrays_are_stored_parsed(place: Place, way: str, name: str) -> None:
    document = place.document(f"/{way}/{name}")
    data, parsed = JSON[name]

    assert document["encoding"] == "json"
    assert document["value"] == (json.loads(data) if parsed is None else parsed)


@WAYS
@pytest.mark.parametrize("name", TEXT)
def test_other_text_is_stored_as_it_is(place: Place, way: str, name: str) -> None:
    document = place.document(f"/{way}/{name}")

    assert (document["encoding"], document["value"]) == ("utf8", TEXT[name].decode())


@WAYS
@pytest.mark.parametrize("name", BINARY)
def test_bytes_that_are_no_text_are_stored_as_binary(place: Place, way: str, name: str) -> None:
    document = place.document(f"/{way}/{name}")

    assert (document["encoding"], bytes(document["value"])) == ("binary", BINARY[name])


@WAYS
@pytest.mark.parametrize("name", LOSSLESS)
def test_json_that_a_server_may_refuse_is_never_lost(place: Place, way: str, name: str) -> None:
    document = place.document(f"/{way}/{name}")
    data = LOSSLESS[name]

    if document["encoding"] == "json":
        assert repr(document["value"]) == repr(json.loads(data))
    else:
        assert (document["encoding"], document["value"]) == ("utf8", data.decode())


@WAYS
def test_no_data_is_empty_with_a_null_value(place: Place, way: str) -> None:
    document = place.document(f"/{way}/empty")

    assert (document["encoding"], document["value"], document["stat"]["dataLength"]) == ("empty", None, 0)


def test_floats_and_whole_numbers_keep_their_types(place: Place) -> None:
    floats = place.document("/listed/float-forms")["value"]
    whole = place.document("/listed/int64")["value"]

    assert [type(number) for number in floats] == [float] * 5
    assert [type(number) for number in whole] == [Int64] * 2
    assert math.copysign(1, place.document("/listed/minus-zero")["value"][0]) == -1


def test_a_value_that_changes_its_kind_is_stored_anew_each_time(place: Place) -> None:
    for data, encoding, value in (
        (b'{"a": 1}', "json", {"a": 1}),
        (b"", "empty", None),
        (b"\xff", "binary", b"\xff"),
        (b"text", "utf8", "text"),
        (b"[]", "json", []),
    ):
        place.set("/watched/word", data)

        def stored(wanted: tuple[str, Any] = (encoding, value)) -> bool:
            document = place.document("/watched/word")
            return (document["encoding"], document["value"]) == wanted

        wait_until(stored, f"{data!r} is stored")
    place.set("/watched/word", TEXT["word"])
    wait_until(lambda: place.document("/watched/word")["value"] == "hello", "the first value is back")
