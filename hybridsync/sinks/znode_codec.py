"""Mirrored znodes as documents: the codec of a ZooKeeper tree. Pure, no I/O.

What may be overwritten is judged on `version` (the mzxid of the state that is there):

    put, nothing seen          insert; when somebody was first, as if nobody had looked
    put, nobody looked         replace what is not newer, and what is not of the mirror's shape, else insert
    put, a state was seen      the same, and also exactly that state, even when its number is higher
                               (a ZooKeeper restored from a backup counts from lower numbers again)
    remove, a state was seen   exactly that state
    remove, as of a position   what is not newer than the position

A replacement is an update by `_id` alone, and judges in a pipeline. A filter by `_id` and `version` would do without
one, but MongoDB plans each such update anew; one by `_id` it does not plan at all.

Documents whose `_id` is a path at or below the root count as the mirror's, whatever they look like: they
are overwritten and swept. So are documents of the mirror's shape at other paths, left over from a
root that was configured before. Everything else (ids that are no paths, or foreign documents beside the
root) is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import bson
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteMany, DeleteOne

from hybridsync import native
from hybridsync.model import ANY, Index, Put, Record, Remove, Version
from hybridsync.sinks.codec import MALFORMED, Delete, Document, PlainEncoding, Shown, Update
from hybridsync.sinks.znode_document import encode_all, encode_plain, same_content
from hybridsync.znode import version_from

_MASK = 0xFFFFFFFFFFFFFFFF

# A condition on a field also matches when one element of an array does, hence the arrays by name.
_NOT_OURS: list[dict[str, Any]] = [
    {"version": {"$not": {"$type": "long"}}},
    {"version": {"$type": "array"}},
    {"stat.czxid": {"$not": {"$type": "long"}}},
    {"stat.czxid": {"$type": "array"}},
    {"stat.mtime": {"$not": {"$type": "date"}}},
    {"stat.mtime": {"$type": "array"}},
    {"stat": {"$type": "array"}},
]

_IS_NOT_OURS = [
    RawBSONDocument(bson.encode({"$ne": [{"$type": field}, kind]}))
    for field, kind in (("$version", "long"), ("$stat.czxid", "long"), ("$stat.mtime", "date"))
]
"""The same for a pipeline, encoded once."""


class ZnodeCodec:
    """Documents of the tree at `root`; keys are paths at or below it."""

    keeps_newest = True
    indexes = ("parent",)
    shown: Mapping[str, int] = {"version": 1, "stat.czxid": 1, "stat.mtime": 1}

    def __init__(self, root: str) -> None:
        self._root = root
        self._below = below(root)["$gte"]
        self.inside: Mapping[str, Any] = {"_id": below("/")}
        # A path with a parent although it is the root now, or without one although it is not.
        self.misplaced: Mapping[str, Any] = {
            "$or": [
                {"_id": root, "parent": {"$ne": None}},
                {"_id": {**below("/"), "$ne": root}, "parent": None},
            ]
        }

    def documents(self, puts: Sequence[Put], synced_at: int) -> Iterator[Document | str]:
        """See `DocumentCodec.documents`. Every znode has a document."""
        return encode_all([put.record for put in puts], self._root, synced_at)

    def plain(self, record: Record, synced_at: int, encoding: PlainEncoding) -> Document:
        """See `DocumentCodec.plain`."""
        return encode_plain(record, self._root, synced_at, encoding)

    def same_content(self, stored: bytes, document: Document) -> bool:
        """See `DocumentCodec.same_content`."""
        return same_content(stored, document)

    def replacement(self, put: Put, document: Document) -> Update:
        """See the table at the top."""
        replaced = {"$cond": [{"$or": _replaceable(put)}, {"$literal": RawBSONDocument(document)}, "$$ROOT"]}
        return {"q": {"_id": put.key}, "u": [{"$replaceWith": replaced}]}

    def to_look_at(self, removes: Sequence[Remove]) -> Sequence[str]:
        """None: a version holds all that a guard needs."""
        return ()

    def removal(self, removes: Sequence[Remove], seen: Mapping[str, Shown]) -> list[Delete]:
        """Guarded deletes; what is below a subtree that goes as well is left out."""
        return remove_operations(removes)

    @staticmethod
    def index_of(batch: bytes) -> tuple[Index, Sequence[bytes]]:
        """See `DocumentCodec.index_of`: documents as hybridsync writes them, where native/ was built."""
        return ({}, [batch]) if native.QUICK is None else native.QUICK.znode_versions(batch)

    @staticmethod
    def version_in(document: Shown) -> Version:
        """The version of the state that a document shows; `MALFORMED` unless its fields are of the mirror's types."""
        stat = document.get("stat")
        if type(stat) is not dict:
            return MALFORMED
        czxid, mzxid, mtime = stat.get("czxid"), document.get("version"), stat.get("mtime")
        if type(czxid) is not Int64 or type(mzxid) is not Int64 or type(mtime) is not DatetimeMS:
            return MALFORMED
        return version_from(czxid, mzxid, int(mtime))

    def owns_malformed(self, key: str) -> bool:
        """What is at or below the root."""
        return key == self._root or key.startswith(self._below)


def remove_operations(removes: Sequence[Remove]) -> list[Delete]:
    """Guarded deletes; what is below a subtree that goes as well is left out."""
    tops = {remove.key: _position(remove) for remove in removes if remove.subtree}
    writes: list[Delete] = []
    for remove in removes:
        if remove.as_of is not None and _is_covered(remove.key, remove.as_of, tops):
            continue
        guard = _guard(remove)
        if remove.key != "/" or not remove.subtree:  # the range below "/" has "/" itself in it
            writes.append(DeleteOne({"_id": remove.key, **guard}))
        if remove.subtree:
            writes.append(DeleteMany({"_id": below(remove.key), **guard}))
    return writes


def below(key: str) -> dict[str, str]:
    """The range of the ids below `key`: strings compare by their bytes, and "0" comes right after "/"."""
    prefix = key.rstrip("/")
    return {"$gte": prefix + "/", "$lt": prefix + "0"}


def _replaceable(put: Put) -> list[Mapping[str, Any]]:
    """The documents that the put replaces; one that is not there yet is none of ours as well."""
    number = mzxid(put.record.version)
    found: list[Mapping[str, Any]] = [{"$lte": ["$version", number]}, *_IS_NOT_OURS]
    seen = put.replaces
    if seen is not None and seen >= 0 and mzxid(seen) > number:
        found.append({"$and": [{"$eq": [f"${field}", value]} for field, value in _exactly(seen).items()]})
    return found


def mzxid(version: Version) -> Int64:
    """The lower half of a version, as MongoDB keeps it."""
    return _signed(version & _MASK)


def _signed(number: int) -> Int64:
    return Int64(number - (1 << 64) if number >> 63 else number)


def _exactly(version: Version) -> dict[str, Any]:
    return {"version": mzxid(version), "stat.czxid": _signed(version >> 64 & _MASK)}


def _guard(remove: Remove) -> dict[str, Any]:
    if remove.subtree or remove.seen is None or remove.seen == ANY:
        return {"$or": [{"version": {"$lte": Int64(_position(remove))}}, *_NOT_OURS]}
    return {"$or": _NOT_OURS} if remove.seen == MALFORMED else _exactly(remove.seen)


def _position(remove: Remove) -> int:
    if remove.as_of is None:
        raise ValueError(f"{remove.key}: nothing is removed without a guard, and a subtree only as of a position")
    return remove.as_of


def _is_covered(key: str, as_of: int, tops: Mapping[str, int]) -> bool:
    return any(tops.get(ancestor, -1) >= as_of for ancestor in _ancestors(key))


def _ancestors(key: str) -> Iterator[str]:
    while key != "/" and key:
        key = key.rpartition("/")[0] or "/"
        yield key
