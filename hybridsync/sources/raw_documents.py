"""Documents as MongoDB sends them, taken apart field by field: what cannot be decoded spoils one field and no more.

The server keeps whatever a client once sent: text that is no UTF-8, dates beyond the year 9999, binary of a wrong
length, two fields of one name. A driver refuses a whole reply for one of them. Layout: https://bsonspec.org/spec.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument

LENIENT: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
STRICT: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO)
"""Refuses text that is no UTF-8."""

UNDECODED: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=RawBSONDocument,
    tz_aware=True,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
"""For replies whose documents are decoded one by one, by `fields`."""

_LENGTH = struct.Struct("<i")
_FIXED = {
    0x01: 8,  # double
    0x06: 0,  # undefined
    0x07: 12,  # ObjectId
    0x08: 1,  # boolean
    0x09: 8,  # date
    0x0A: 0,  # null
    0x10: 4,  # 32-bit integer
    0x11: 8,  # timestamp
    0x12: 8,  # 64-bit integer
    0x13: 16,  # decimal128
    0x7F: 0,  # max key
    0xFF: 0,  # min key
}
_BEYOND_LENGTH = {
    0x02: 4,  # text
    0x03: 0,  # document
    0x04: 0,  # array
    0x05: 5,  # binary, with its subtype
    0x0C: 16,  # DBPointer, with its ObjectId
    0x0D: 4,  # code
    0x0E: 4,  # symbol
    0x0F: 0,  # code with scope
}
"""How much longer a value is than the length at its beginning says."""

_REGEX = 0x0B
_NESTED = (0x03, 0x04)


class Unreadable:
    """Stands for the value of a field that cannot be decoded."""


UNREADABLE = Unreadable()


class Element(NamedTuple):
    """One field of a document, not decoded."""

    name: bytes
    kind: int
    value: bytes

    @property
    def identity(self) -> bytes:
        """The value with its type, equal for values that MongoDB holds in equal bytes."""
        return bytes((self.kind,)) + self.value


def documents(batch: bytes) -> Iterator[bytes]:
    """The documents of a raw batch. Raises `ValueError` for what is none."""
    at = 0
    while at < len(batch):
        (length,) = _LENGTH.unpack_from(batch, at)
        if length < 5 or at + length > len(batch):
            raise ValueError("a reply of MongoDB is cut off")
        yield batch[at : at + length]
        at += length


def elements(raw: bytes) -> Iterator[Element]:
    """The top-level fields of a document. Raises `ValueError` for a layout that BSON does not have."""
    at, end = 4, len(raw) - 1
    while at < end:
        kind, name_end = raw[at], raw.index(0, at + 1)
        begin = name_end + 1
        if kind in _FIXED:
            after = begin + _FIXED[kind]
        elif kind == _REGEX:
            after = raw.index(0, raw.index(0, begin) + 1) + 1
        elif kind in _BEYOND_LENGTH and begin + 4 <= end:
            (length,) = _LENGTH.unpack_from(raw, begin)
            after = begin + length + _BEYOND_LENGTH[kind]
        else:
            raise ValueError(f"there is no BSON type {kind}")
        if not begin <= after <= end:
            raise ValueError("a field is longer than its document")
        yield Element(raw[at + 1 : name_end], kind, raw[begin:after])
        at = after


def fields(raw: bytes) -> dict[str, Any]:
    """A decoded document; a field that cannot be decoded is `UNREADABLE`."""
    try:
        return bson.decode(raw, STRICT)
    except Exception:  # bson raises much beside its own errors, and the next document must have its turn
        return {one.name.decode(errors="replace"): decoded(one.identity) for one in elements(raw)}


def decoded(identity: bytes, options: CodecOptions[dict[str, Any]] = STRICT) -> Any:
    """The value behind an `Element.identity`; `UNREADABLE` when it cannot be decoded."""
    try:
        return bson.decode(_document(identity[:1] + b"\0" + identity[1:]), options)[""]
    except Exception:
        return UNREADABLE


def identity_in(raw: bytes) -> bytes:
    """The `identity` of a document's `_id`; empty where there is none, as in some views."""
    if raw[4:9] == b"\x07_id\0":  # by far the most: an ObjectId, and first
        return raw[4:5] + raw[9:21]
    return next((one.identity for one in elements(raw) if one.name == b"_id"), b"")


def any_of(identities: Sequence[bytes]) -> RawBSONDocument:
    """`{"$in": […]}` with exactly these values."""
    items = b"".join(b"%b%d\0%b" % (one[:1], number, one[1:]) for number, one in enumerate(identities))
    return RawBSONDocument(_document(b"\x04$in\0" + _document(items)))


def said_twice(raw: bytes, document: Mapping[str, Any]) -> str | None:
    """A field that is there twice, at any depth; `document` is what `raw` was decoded to.

    MongoDB finds a document by the first of the two, while decoding keeps the last.
    """
    try:
        if len(bson.encode(document)) == len(raw):
            return None
    except Exception:
        pass  # what cannot be encoded again is looked at
    return _repeated(raw)


def _repeated(raw: bytes, place: str = "") -> str | None:
    seen = set[bytes]()
    for one in elements(raw):
        name = place + one.name.decode(errors="replace")
        if one.name in seen:
            return name
        seen.add(one.name)
        if one.kind in _NESTED and (below := _repeated(one.value, f"{name}.")) is not None:
            return below
    return None


def _document(content: bytes) -> bytes:
    return _LENGTH.pack(len(content) + 5) + content + b"\0"
