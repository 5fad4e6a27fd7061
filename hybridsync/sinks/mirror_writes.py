"""From changes to guarded MongoDB writes, and from their outcome to counts: no I/O.

What may be overwritten is said by filters on `version` (the mzxid of the state that is there):

    put, nothing seen          insert; when somebody was first, as if nobody had looked
    put, nobody looked         replace what is not newer, else insert
    put, a state was seen      the same, and also exactly that state, even when its number is higher
                               (a ZooKeeper restored from a backup counts from lower numbers again)
    remove, a state was seen   exactly that state
    remove, as of a position   what is not newer than the position

An upsert whose filter matches nothing although the key is there fails with a duplicate key. Then a
newer state is there, or a document that is none of ours: the second try also matches whatever has no
proper version, so that such a document cannot block its key for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne

from hybridsync.model import ANY, Applied, Put, Remove, Version
from hybridsync.mongodb_errors import DUPLICATE_KEY, one_line
from hybridsync.sinks.znode_document import MAX_DOCUMENT_BYTES, PlainEncoding, encode, encode_plain
from hybridsync.znode import version_from

MALFORMED: Version = -2
"""The version of a document under one of our keys that is not of the mirror's shape: equal to no record's."""

MISPLACED: Version = 1 << 192
"""Added to the version of a document that is right but for its parent: the mirror had another root."""

_MASK = 0xFFFFFFFFFFFFFFFF
_PLAIN: tuple[PlainEncoding, ...] = ("utf8", "binary")

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

Write: TypeAlias = InsertOne[Any] | ReplaceOne[Any] | DeleteOne | DeleteMany
Outcome: TypeAlias = Mapping[str, Any]
"""pymongo's bulk result: nInserted, nUpserted, nMatched, nModified, nRemoved, writeErrors."""


@dataclass(slots=True)
class PendingPut:
    """A put that is not yet settled: its document, and how often it met a document under its key."""

    put: Put
    document: RawBSONDocument
    collisions: int = 0
    simpler: tuple[PlainEncoding, ...] = _PLAIN

    def operation(self) -> Write:
        """The write to try next."""
        if self.put.replaces is None and self.collisions == 0:
            return InsertOne(self.document)
        return ReplaceOne(self._filter(), self.document, upsert=True)

    def simplify(self, root: str, synced_at: int) -> bool:
        """Goes on to the next simpler document; False when there is none."""
        while self.simpler:
            encoding, *rest = self.simpler
            self.simpler = tuple(rest)
            try:
                document = encode_plain(self.put.record, root, synced_at, encoding)
            except UnicodeDecodeError:
                continue
            if document.raw != self.document.raw and len(document.raw) <= MAX_DOCUMENT_BYTES:
                self.document = document
                return True
        return False

    def _filter(self) -> dict[str, Any]:
        key, replaces = self.put.key, self.put.replaces
        not_newer = {"version": {"$lte": mzxid(self.put.record.version)}}
        others: list[dict[str, Any]] = []
        if replaces is not None and replaces >= 0 and mzxid(replaces) > mzxid(self.put.record.version):
            others.append(_exactly(replaces))
        if replaces == MALFORMED or self.collisions > (1 if replaces is None else 0):
            others.extend(_NOT_OURS)
        return {"_id": key, "$or": [not_newer, *others]} if others else {"_id": key, **not_newer}

    @property
    def lost(self) -> bool:
        """Whether every try met a document that may not be replaced: a newer state is there."""
        return self.collisions > (3 if self.put.replaces is None else 2)


@dataclass(slots=True)
class Prepared:
    """The first `taken` of some puts, encoded; `failed` are those of them that no document can hold."""

    pending: list[PendingPut] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    taken: int = 0


def prepare_puts(puts: Sequence[Put], size: int, root: str, synced_at: int) -> Prepared:
    """Encodes puts until their documents have `size` bytes; at least one."""
    prepared = Prepared()
    total = 0
    for put in puts:
        prepared.taken += 1
        document = encode(put.record, root, synced_at)
        length = len(document.raw)
        if length > MAX_DOCUMENT_BYTES:
            prepared.failed[put.key] = (
                f"a value of {len(put.record.value)} bytes does not fit into a MongoDB document of 16 MiB"
            )
            continue
        prepared.pending.append(PendingPut(put, document))
        total += length
        if total >= size:
            break
    return prepared


def settle_puts(
    pending: Sequence[PendingPut], outcome: Outcome, root: str, synced_at: int
) -> tuple[Applied, list[PendingPut]]:
    """Counts what an unordered bulk write did, and says what must be tried again, in another way."""
    applied = Applied(
        inserted=outcome["nInserted"] + outcome["nUpserted"],
        updated=outcome["nModified"],
        unchanged=outcome["nMatched"] - outcome["nModified"],
    )
    again: list[PendingPut] = []
    for error in outcome["writeErrors"]:
        put = pending[error["index"]]
        if error["code"] == DUPLICATE_KEY and _is_of_the_key(error):
            put.collisions += 1
            if put.lost:
                applied.unchanged += 1
            else:
                again.append(put)
        elif put.simplify(root, synced_at):
            again.append(put)
        else:
            applied.failed[put.put.key] = one_line(
                f"MongoDB refused the document: {error.get('errmsg', 'no reason given')}"
            )
    return applied, again


def nothing_but_refused(reason: str) -> Outcome:
    """The outcome of a bulk write of one put that was refused before it was tried."""
    error = {"index": 0, "code": 0, "errmsg": reason}
    return {"nInserted": 0, "nUpserted": 0, "nMatched": 0, "nModified": 0, "nRemoved": 0, "writeErrors": [error]}


def remove_operations(removes: Iterable[Remove]) -> list[Write]:
    """Guarded deletes; what is below a subtree that goes as well is left out."""
    removes = list(removes)
    tops = {remove.key: _position(remove) for remove in removes if remove.subtree}
    writes: list[Write] = []
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


def mzxid(version: Version) -> Int64:
    """The lower half of a version, as MongoDB keeps it."""
    return _signed(version & _MASK)


def version_in(document: Mapping[str, Any]) -> Version:
    """The version of the state that a document shows; `MALFORMED` unless its fields are of the mirror's types."""
    stat = document.get("stat")
    if type(stat) is not dict:
        return MALFORMED
    czxid, mzxid, mtime = stat.get("czxid"), document.get("version"), stat.get("mtime")
    if type(czxid) is not Int64 or type(mzxid) is not Int64 or type(mtime) is not DatetimeMS:
        return MALFORMED
    return version_from(czxid, mzxid, int(mtime))


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


def _is_of_the_key(error: Mapping[str, Any]) -> bool:
    """Whether the duplicate is that of `_id`, and not of a unique index somebody added."""
    pattern = error.get("keyPattern")
    return list(pattern) == ["_id"] if pattern is not None else "_id_" in error.get("errmsg", "")
