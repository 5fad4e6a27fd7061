"""Documents that no driver would write, as BSON made by hand, and one value of every BSON type."""

from __future__ import annotations

import struct
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection

ON = b"\x08on\0\1"
BEYOND_9999 = struct.pack("<q", 2**61)


def text(value: bytes) -> bytes:
    """A text as BSON holds it; its bytes need not be UTF-8."""
    return struct.pack("<i", len(value) + 1) + value + b"\0"


def document(*elements: bytes) -> bytes:
    """A document of these elements."""
    content = b"".join(elements)
    return struct.pack("<i", len(content) + 5) + content + b"\0"


def nested(depth: int) -> bytes:
    """A document that holds a document, and so on."""
    return document(b"\x03a\0" + nested(depth - 1)) if depth else document()


EVERY_TYPE: dict[str, tuple[int, bytes]] = {
    "double": (0x01, struct.pack("<d", 1.5)),
    "not a number": (0x01, struct.pack("<d", float("nan"))),
    "text": (0x02, text(b"plain")),
    "text with NUL": (0x02, text(b"a\0b")),
    "text that is no UTF-8": (0x02, text(b"\xff\xfe")),
    "surrogate": (0x02, text(b"\xed\xa0\x80")),
    "document": (0x03, document(b"\x02k\0" + text(b"v"))),
    "deep document": (0x03, nested(150)),
    "document with a name twice": (0x03, document(b"\x02k\0" + text(b"v"), b"\x02k\0" + text(b"w"))),
    "document that looks like a reference": (0x03, document(b"\x10r\0\1\0\0\0")),
    "array": (0x04, document(b"\x100\0\1\0\0\0")),
    "binary": (0x05, struct.pack("<i", 2) + b"\0ab"),
    "old binary of a wrong length": (0x05, struct.pack("<i", 1) + b"\2a"),
    "old UUID": (0x05, struct.pack("<i", 16) + b"\3" + b"u" * 16),
    "UUID": (0x05, struct.pack("<i", 16) + b"\4" + b"u" * 16),
    "short UUID": (0x05, struct.pack("<i", 3) + b"\4uuu"),
    "undefined": (0x06, b""),
    "ObjectId": (0x07, b"o" * 12),
    "boolean": (0x08, b"\1"),
    "date": (0x09, struct.pack("<q", 0)),
    "date beyond 9999": (0x09, BEYOND_9999),
    "null": (0x0A, b""),
    "regex": (0x0B, b"a\0i\0"),
    "regex that Python refuses": (0x0B, b"(\0zz\0"),
    "DBPointer": (0x0C, text(b"c") + b"p" * 12),
    "code": (0x0D, text(b"x")),
    "symbol": (0x0E, text(b"sym")),
    "code with scope": (0x0F, struct.pack("<i", 4 + 6 + 5) + text(b"a") + document()),
    "32-bit integer": (0x10, struct.pack("<i", 7)),
    "timestamp": (0x11, struct.pack("<II", 1, 2)),
    "64-bit integer": (0x12, struct.pack("<q", 2**62)),
    "decimal": (0x13, b"\1" + b"\0" * 15),
    "decimal that is no number": (0x13, b"\0" * 15 + b"\x7c"),
    "max key": (0x7F, b""),
    "min key": (0xFF, b""),
}
"""Name → type and value."""

NO_IDS = ("array", "undefined", "regex", "regex that Python refuses", "decimal that is no number")
"""What MongoDB refuses as `_id`; and there can be only one that is no number."""


def element(name: str, value: tuple[int, bytes]) -> bytes:
    """One field of a document."""
    return bytes((value[0],)) + name.encode() + b"\0" + value[1]


def key(value: str) -> bytes:
    """The field `key` with this text."""
    return element("key", (0x02, text(value.encode())))


def insert(collection: Collection[dict[str, Any]], *elements: bytes) -> None:
    """Inserts the document that these elements make."""
    said = collection.database.command({"insert": collection.name, "documents": [RawBSONDocument(document(*elements))]})
    assert "writeErrors" not in said, said["writeErrors"]


def of_id(value: tuple[int, bytes]) -> dict[str, Any]:
    """The filter for the document with this `_id`."""
    return {"_id": RawBSONDocument(document(element("$in", (0x04, document(element("0", value))))))}
