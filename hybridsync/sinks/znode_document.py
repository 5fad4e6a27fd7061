"""From a znode to the document that stands for it: pure functions, no I/O.

The document is put together as BSON bytes right here, once: the text of a value is copied as it is,
numbers and dates are packed by `struct`, and only a JSON value goes through an encoder. Where native/ was built,
the common documents come from there, with the same bytes, and pymongo encodes nothing again. BSON's layout:
https://bsonspec.org/spec.html

Fields come in one fixed order and `syncedAt` is the last one, so two documents are the same
exactly when their bytes without the last field are (`same_content`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from itertools import repeat
from operator import itemgetter

from hybridsync import native
from hybridsync.model import Record
from hybridsync.sinks.codec import MAX_DOCUMENT_BYTES, Document, PlainEncoding
from hybridsync.sinks.json_value import json_element
from hybridsync.znode import stat_of

_STRUCTURED = re.compile(rb"[ \t\n\r]*[\[{]")

_INT32 = struct.Struct("<i")
_NULL_VALUE = b"\x0avalue\0"
_NULL_PARENT = b"\x0aparent\0"
_ENCODING = {
    name: b"\x02encoding\0" + _INT32.pack(len(name) + 1) + name.encode() + b"\0"
    for name in ("json", "utf8", "binary", "empty")
}

# Each ends what is in front of it and begins the next text: its name and its length.
_ID = struct.Struct("<i5si")
_PARENT = struct.Struct("<x8si")
_NAME = struct.Struct("<x6si")

# version, stat and syncedAt have a fixed size. Types: 0x12 int64, 0x10 int32, 0x09 date, 0x03 document.
_STAT = struct.Struct("<7sq7sq7sq7sq9si16sq12six")
_TAIL = struct.Struct("<9sq6si" + _STAT.format.removeprefix("<") + "10sqx")
_SYNCED_AT = struct.Struct("<10sqx")

_KEY_VALUE_META = tuple(map(Record._fields.index, ("key", "value", "meta")))
"""Read without a step of Python each: this file sees every znode of a tree."""


def encode_all(records: Sequence[Record], root: str, synced_at: int) -> Iterator[Document]:
    """The documents of znodes, each in the richest encoding that loses nothing, made when it is asked for.

    `root` is the mirrored path: its own document has no parent. `synced_at`: milliseconds since 1970. Takes any
    bytes as values. One for which no document of 16 MiB is enough still comes back; whether it fits is for the
    caller to see.
    """
    if native.QUICK is None:
        return (_encode(record, root, synced_at) for record in records)
    keys, values, stats = (map(itemgetter(place), records) for place in _KEY_VALUE_META)
    quick = map(native.QUICK.znode_document, keys, values, stats, repeat(root), repeat(synced_at))
    return (
        _encode(record, root, synced_at) if made is None else made for record, made in zip(records, quick, strict=True)
    )


def _encode(record: Record, root: str, synced_at: int) -> Document:
    data = record.value
    if structured := _STRUCTURED.match(data):
        element = json_element(data, structured.end() - 1)
        if element is not None:
            document = _document(record, root, synced_at, element, "json")
            if len(document) <= MAX_DOCUMENT_BYTES:
                return document
    try:
        return encode_plain(record, root, synced_at, "utf8")
    except UnicodeDecodeError:
        return encode_plain(record, root, synced_at, "binary")


def encode_plain(record: Record, root: str, synced_at: int, encoding: PlainEncoding) -> Document:
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


def same_content(stored: bytes, document: Document) -> bool:
    """Whether a stored document is equal to ours in everything but `syncedAt`."""
    return stored[: -_SYNCED_AT.size] == document[: -_SYNCED_AT.size]


def parent_of(key: str, root: str) -> str | None:
    """The path above `key`; `None` for the mirrored root itself."""
    return None if key == root else key.rpartition("/")[0] or "/"


def _document(record: Record, root: str, synced_at: int, value: bytes, encoding: str) -> Document:
    """One pass, few calls: this is done for every znode of a tree."""
    path = record.key.encode()
    size = len(path)
    slash = path.rfind(b"/")
    name = path[slash + 1 :] or path
    if record.key == root:
        above = b"\0" + _NULL_PARENT[:-1]  # the \0 that `_NAME` puts in front ends the element's own name
    else:
        parent = path[:slash] or b"/"
        above = _PARENT.pack(b"\x02parent\0", len(parent) + 1) + parent
    body = b"".join(
        (
            path,
            above,
            _NAME.pack(b"\x02name\0", len(name) + 1),
            name,
            b"\0",
            value,
            _ENCODING[encoding],
            _tail(record.meta, synced_at),
        )
    )
    return _ID.pack(_ID.size + len(body), b"\x02_id\0", size + 1) + body


def _tail(stat: bytes, synced_at: int) -> bytes:
    czxid, mzxid, ctime, mtime, version, _, _, owner, length, _, _ = stat_of(stat)
    return _TAIL.pack(
        b"\x12version\0",
        mzxid,
        b"\x03stat\0",
        _INT32.size + _STAT.size,
        b"\x12czxid\0",
        czxid,
        b"\x12mzxid\0",
        mzxid,
        b"\x09ctime\0",
        ctime,
        b"\x09mtime\0",
        mtime,
        b"\x10version\0",
        version,
        b"\x12ephemeralOwner\0",
        owner,
        b"\x10dataLength\0",
        length,
        b"\x09syncedAt\0",
        synced_at,
    )
