"""From a znode to the document that stands for it: pure functions, no I/O.

The document is put together as BSON bytes right here, once: the text of a value is copied as it is,
numbers and dates are packed by `struct`, and only a JSON value goes through an encoder. pymongo gets
a `RawBSONDocument` and encodes nothing again. BSON's layout: https://bsonspec.org/spec.html

Fields come in one fixed order and `syncedAt` is the last one, so two documents are the same
exactly when their bytes without the last field are (`same_content`).
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeAlias

import bson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from hybridsync.model import Record
from hybridsync.znode import Stat

PlainEncoding: TypeAlias = Literal["utf8", "binary"]

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""What MongoDB stores at most (https://www.mongodb.com/docs/manual/reference/limits/)."""

MAX_LEVELS = 100
"""Levels of nesting that MongoDB promises for a document, the document itself included (same page)."""

_STRUCTURED = re.compile(rb"[ \t\n\r]*[\[{]")

_INT32 = struct.Struct("<i")
_NULL_VALUE = b"\x0avalue\0"
_NULL_PARENT = b"\x0aparent\0"
_ENCODING = {
    name: b"\x02encoding\0" + _INT32.pack(len(name) + 1) + name.encode() + b"\0"
    for name in ("json", "utf8", "binary", "empty")
}

# version, stat and syncedAt have a fixed size. Types: 0x12 int64, 0x10 int32, 0x09 date, 0x03 document.
_STAT = struct.Struct("<7sq7sq7sq7sq9si16sq12six")
_STAT_HEAD = b"\x03stat\0" + _INT32.pack(_INT32.size + _STAT.size)
_VERSION = struct.Struct("<9sq")
_SYNCED_AT = struct.Struct("<10sqx")


class _Lossy(ValueError):
    """A JSON text that BSON, or a reader of BSON, would not give back as it was."""


def encode(record: Record, root: str, synced_at: datetime) -> RawBSONDocument:
    """The document of a znode in the richest encoding that loses nothing. Takes any bytes as value.

    `root` is the mirrored path: its own document has no parent. A value for which no document of
    16 MiB is enough still comes back; whether it fits is for the caller to see.
    """
    data = record.value
    if _STRUCTURED.match(data):
        element = _json_element(data)
        if element is not None:
            document = _document(record, root, synced_at, element, "json")
            if len(document.raw) <= MAX_DOCUMENT_BYTES:
                return document
    try:
        return encode_plain(record, root, synced_at, "utf8")
    except UnicodeDecodeError:
        return encode_plain(record, root, synced_at, "binary")


def encode_plain(record: Record, root: str, synced_at: datetime, encoding: PlainEncoding) -> RawBSONDocument:
    """The document with the value as text or as bytes, for a server that refuses the richer one.

    A value without any byte is `empty` in every encoding. Raises `UnicodeDecodeError` when text is asked
    for and the bytes are none.
    """
    data = record.value
    if not data:
        return _document(record, root, synced_at, _NULL_VALUE, "empty")
    if encoding == "utf8":
        data.decode()  # only to know that it is text: the bytes are the same in BSON
        element = b"\x02value\0" + _INT32.pack(len(data) + 1) + data + b"\0"
    else:
        element = b"\x05value\0" + _INT32.pack(len(data)) + b"\0" + data
    return _document(record, root, synced_at, element, encoding)


def same_content(stored: bytes, document: RawBSONDocument) -> bool:
    """Whether a stored document is equal to ours in everything but `syncedAt`."""
    return stored[: -_SYNCED_AT.size] == document.raw[: -_SYNCED_AT.size]


def parent_of(key: str, root: str) -> str | None:
    """The path above `key`; `None` for the mirrored root itself."""
    return None if key == root else key.rpartition("/")[0] or "/"


def _document(record: Record, root: str, synced_at: datetime, value: bytes, encoding: str) -> RawBSONDocument:
    key, _, _, stat = record
    parent = parent_of(key, root)
    body = b"".join(
        (
            _text(b"\x02_id\0", key),
            _NULL_PARENT if parent is None else _text(b"\x02parent\0", parent),
            _text(b"\x02name\0", key.rpartition("/")[2] or key),
            value,
            _ENCODING[encoding],
            _tail(stat, round(synced_at.timestamp() * 1000)),
        )
    )
    return RawBSONDocument(_INT32.pack(_INT32.size + len(body)) + body)


def _text(head: bytes, text: str) -> bytes:
    data = text.encode()
    return head + _INT32.pack(len(data) + 1) + data + b"\0"


def _tail(stat: Stat, synced_at: int) -> bytes:
    return b"".join(
        (
            _VERSION.pack(b"\x12version\0", stat.mzxid),
            _STAT_HEAD,
            _STAT.pack(
                b"\x12czxid\0",
                stat.czxid,
                b"\x12mzxid\0",
                stat.mzxid,
                b"\x09ctime\0",
                stat.ctime,
                b"\x09mtime\0",
                stat.mtime,
                b"\x10version\0",
                stat.version,
                b"\x12ephemeralOwner\0",
                stat.ephemeralOwner,
                b"\x10dataLength\0",
                stat.dataLength,
            ),
            _SYNCED_AT.pack(b"\x09syncedAt\0", synced_at),
        )
    )


def _json_element(data: bytes) -> bytes | None:
    """The field `value` as BSON, type byte included; `None` when the JSON would lose something.

    Not JSON, duplicate keys, numbers beyond BSON's, nesting too deep, NUL in a key, lone
    surrogates: each has its own exception somewhere below, and all mean the same here.
    """
    try:
        value = _JSON.decode(data.decode())
        if data.count(b"[") + data.count(b"{") >= MAX_LEVELS and _levels(value) >= MAX_LEVELS:
            return None
        return bson.encode({"value": value})[_INT32.size : -1]
    except (ValueError, OverflowError, RecursionError, BSONError):
        return None


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
