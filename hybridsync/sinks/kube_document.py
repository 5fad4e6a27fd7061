"""From a Kubernetes object to the document that stands for it: pure functions, no I/O.

    { _id: "namespace/name" or "name", uid, namespace, name, labels, value, version, syncedAt }

`value` is the object. Where BSON cannot hold it without loss (an integer beyond 64 bits, nesting over 100
levels, a key that is there twice), it is its JSON as text and a field `encoding` with `utf8` follows it;
bytes that are no text are kept as binary. `view` is there only when the resource leaves out or keeps
parts of the objects in a way of its own, and changes with that way.

Fields come in one fixed order and `syncedAt` is the last one, so two documents are the same
exactly when their bytes without the last field are (`same_content`).
"""

from __future__ import annotations

import re
import struct
from typing import Any

import bson
from bson.datetime_ms import DatetimeMS

from hybridsync.kube_object import ObjectMeta
from hybridsync.model import Record
from hybridsync.sinks.codec import MAX_DOCUMENT_BYTES, Document, PlainEncoding
from hybridsync.sinks.json_value import json_element

_OBJECT = re.compile(rb"[ \t\n\r]*\{")
_INT32 = struct.Struct("<i")
_SYNCED_AT_BYTES = len(bson.encode({"syncedAt": DatetimeMS(0)})) - _INT32.size


def encode(record: Record, view: str, synced_at: int) -> Document | str:
    """The document of an object in the richest encoding that loses nothing, or why there is none.

    `record.meta` is an `ObjectMeta`; `view` is empty for objects as they are served. `synced_at`:
    milliseconds since 1970, UTC.
    """
    try:
        document = _with_parsed_value(record, view, synced_at)
        return document if document is not None else _in_plain(record, view, synced_at)
    except UnicodeEncodeError:
        return "its name, uid, resourceVersion or labels are not valid Unicode"


def encode_plain(record: Record, view: str, synced_at: int, encoding: PlainEncoding) -> Document:
    """The document with the JSON as text or as bytes, for a server that refuses the richer one.

    Raises `UnicodeDecodeError` when text is asked for and the bytes are none.
    """
    data = record.value
    if encoding == "utf8":
        data.decode()  # only to know that it is text: the bytes are the same in BSON
        value = b"\x02value\0" + _INT32.pack(len(data) + 1) + data + b"\0"
    else:
        value = b"\x05value\0" + _INT32.pack(len(data)) + b"\0" + data
    return _document(record, value, {"encoding": encoding}, view, synced_at)


def same_content(stored: bytes, document: Document) -> bool:
    """Whether a stored document is equal to ours in everything but `syncedAt`."""
    return stored[:-_SYNCED_AT_BYTES] == document[:-_SYNCED_AT_BYTES]


def _with_parsed_value(record: Record, view: str, synced_at: int) -> Document | None:
    found = _OBJECT.match(record.value)
    value = json_element(record.value, found.end() - 1) if found else None
    if value is None:
        return None
    document = _document(record, value, {}, view, synced_at)
    return document if len(document) <= MAX_DOCUMENT_BYTES else None


def _in_plain(record: Record, view: str, synced_at: int) -> Document:
    try:
        return encode_plain(record, view, synced_at, "utf8")
    except UnicodeDecodeError:
        return encode_plain(record, view, synced_at, "binary")


def _document(record: Record, value: bytes, marks: dict[str, str], view: str, synced_at: int) -> Document:
    meta: ObjectMeta = record.meta
    head = {
        "_id": record.key,
        "uid": meta.uid,
        "namespace": meta.namespace or None,
        "name": meta.name,
        "labels": _labels(meta),
    }
    tail: dict[str, Any] = {**marks, "version": meta.resource_version}
    if view:
        tail["view"] = view
    tail["syncedAt"] = DatetimeMS(synced_at)
    body = bson.encode(head)[_INT32.size : -1] + value + bson.encode(tail)[_INT32.size :]
    return _INT32.pack(_INT32.size + len(body)) + body


def _labels(meta: ObjectMeta) -> dict[str, str]:
    """In the order of their names. A name with NUL, which no BSON key can hold, is in `value` only."""
    return {name: text for name, text in sorted(meta.labels.items()) if "\0" not in name}
