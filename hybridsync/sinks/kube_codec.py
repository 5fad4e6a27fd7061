"""Mirrored Kubernetes objects as documents: the codec of one resource. Pure, no I/O.

A resourceVersion has no order, so no filter can keep the newer of two states; writes keep their order instead
(`Sink.keeps_newest`):

    put, nothing seen          insert; when somebody was first, replace
    put, otherwise             replace whatever is there, or insert
    remove, a state was seen   exactly that uid and version, which are looked up for the number that was seen
    remove                     whatever is there

What counts as the mirror's: every document whose `_id` could be an object's key, a text with one slash at
most and none at an end. Other ids are left alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne

from hybridsync.kube_object import object_version
from hybridsync.model import ANY, Index, Put, Record, Remove, Version
from hybridsync.sinks.codec import MALFORMED, MISPLACED, Delete, Document, PlainEncoding, Shown, Update
from hybridsync.sinks.kube_document import encode, encode_plain, same_content

# A condition on a field also matches when one element of an array does, hence the arrays by name.
_NOT_OURS: list[dict[str, Any]] = [
    {"uid": {"$not": {"$type": "string"}}},
    {"uid": {"$type": "array"}},
    {"version": {"$not": {"$type": "string"}}},
    {"version": {"$type": "array"}},
]


class KubernetesCodec:
    """Documents of Kubernetes objects. `view` names what is kept of them; see `kube_document`.

    Documents made under another view are written anew by the next full sync, though no object has changed.
    """

    keeps_newest = False
    indexes = ("namespace", "uid")
    shown: Mapping[str, int] = {"uid": 1, "version": 1, "view": 1}
    inside: Mapping[str, Any] = {"_id": {"$regex": r"\A[^/]+(/[^/]+)?\z"}}
    misplaced: Mapping[str, Any] | None = None  # the shown fields tell all

    def __init__(self, view: str = "") -> None:
        self._view = view

    def documents(self, puts: Sequence[Put], synced_at: int) -> Iterator[Document | str]:
        """See `DocumentCodec.documents`."""
        return map(encode, [put.record for put in puts], repeat(self._view), repeat(synced_at))

    def plain(self, record: Record, synced_at: int, encoding: PlainEncoding) -> Document:
        """See `DocumentCodec.plain`."""
        return encode_plain(record, self._view, synced_at, encoding)

    def same_content(self, stored: bytes, document: Document) -> bool:
        """See `DocumentCodec.same_content`."""
        return same_content(stored, document)

    def replacement(self, put: Put, document: Document) -> Update:
        """See the table at the top."""
        return {"q": {"_id": put.key}, "u": RawBSONDocument(document)}

    def to_look_at(self, removes: Sequence[Remove]) -> Sequence[str]:
        """What a state was seen of: a filter cannot compute the number that stands for it."""
        return [remove.key for remove in removes if _is_of_a_state(remove)]

    def removal(self, removes: Sequence[Remove], seen: Mapping[str, Shown]) -> list[Delete]:
        """See the table at the top; what is no longer as it was seen is not deleted."""
        guards = ((remove.key, self._guard(remove, seen.get(remove.key))) for remove in removes)
        return [DeleteOne({"_id": key, **guard}) for key, guard in guards if guard is not None]

    @staticmethod
    def index_of(batch: bytes) -> tuple[Index, Sequence[bytes]]:
        """See `DocumentCodec.index_of`. There is no quicker way than `version_in`."""
        return {}, [batch]

    def version_in(self, document: Shown) -> Version:
        """See `DocumentCodec.version_in`."""
        uid, version = document.get("uid"), document.get("version")
        if type(uid) is not str or type(version) is not str:
            return MALFORMED
        number = object_version(uid, version)
        return number if document.get("view", "") == self._view else number | MISPLACED

    def owns_malformed(self, key: str) -> bool:
        """Every document whose `_id` could be an object's key."""
        return True

    def _guard(self, remove: Remove, document: Shown | None) -> Mapping[str, Any] | None:
        if not _is_of_a_state(remove):
            return {}
        if document is None or self.version_in(document) != remove.seen:
            return None
        if remove.seen == MALFORMED:
            return {"$or": _NOT_OURS}
        return {"uid": document["uid"], "version": document["version"]}


def view_of(drop: Collection[str], keep: Collection[str], managed_fields: bool) -> str:
    """The name of what is stored of each object; empty for objects as they come without any such option."""
    if not drop and not keep and not managed_fields:
        return ""
    options = json.dumps([sorted(drop), sorted(keep), managed_fields])
    return hashlib.blake2b(options.encode(), digest_size=8).hexdigest()


def _is_of_a_state(remove: Remove) -> bool:
    return remove.seen is not None and remove.seen != ANY
