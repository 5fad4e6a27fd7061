"""JSON text as the BSON field `value`: parsed, where nothing is lost by it. Pure functions, no I/O."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import bson
import orjson
from bson.errors import BSONError

MAX_LEVELS = 100
"""Levels of nesting that MongoDB promises for a document, the document itself included
(https://www.mongodb.com/docs/manual/reference/limits/)."""

_INT32 = struct.Struct("<i")


class _Lossy(ValueError):
    """A JSON text that BSON, or a reader of BSON, would not give back as it was."""


def json_element(data: bytes, start: int) -> bytes | None:
    """The field `value` as BSON, type byte included; `None` when the JSON would lose something.

    The JSON begins at `start`; `_SCAN` is what `JSONDecoder.decode` calls, without its two regular
    expressions. It ends with `StopIteration` where there is no JSON at all.
    Not JSON, duplicate keys, numbers beyond BSON's, nesting too deep, NUL in a key, lone
    surrogates: each has its own exception somewhere below, and all mean the same here.
    """
    try:
        value = _read_back(data)
        if value is None:
            text = data.decode()
            value, end = _SCAN(text, start)
            if end != len(text) and text[end:].strip(" \t\n\r"):
                return None
            if _may_be_deep(data) and _levels(value) >= MAX_LEVELS:
                return None
        return bson.encode({"value": value})[_INT32.size : -1]
    except (ValueError, StopIteration, OverflowError, RecursionError, BSONError):
        return None


def _read_back(data: bytes) -> Any:
    """The object or list, in a tenth of the time, of which orjson writes exactly these bytes again.

    So nothing was lost: no key twice, no number rounded. `None` says nothing: most JSON with blanks comes here, too.
    """
    if b'"$ref"' in data or _may_be_deep(data):
        return None
    try:
        value = orjson.loads(data)
        return value if orjson.dumps(value) == data else None
    except (ValueError, TypeError):
        return None


def _may_be_deep(data: bytes) -> bool:
    return data.count(b"[") + data.count(b"{") >= MAX_LEVELS


def _levels(value: Any) -> int:
    """How deep containers are nested, counted without recursion."""
    levels = 0
    containers = [value]
    while containers and levels < MAX_LEVELS:
        levels += 1
        containers = [
            child
            for container in containers
            for child in (container.values() if type(container) is dict else container)
            if type(child) is dict or type(child) is list
        ]
    return levels


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _Lossy
    if "$ref" in value and "$id" in value:  # drivers read it as a DBRef, which is another type
        raise _Lossy
    return value


def _float(text: str) -> float:
    value = float(text)
    shortest = repr(value)
    if shortest == text:
        return value
    try:
        if Decimal(text) == Decimal(shortest):
            return value
    except InvalidOperation:
        pass  # an exponent beyond even Decimal's
    raise _Lossy


def _constant(text: str) -> float:
    raise _Lossy(text)  # NaN, Infinity and -Infinity are not JSON


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
_SCAN: Callable[[str, int], tuple[Any, int]] = vars(_JSON)["scan_once"]
