"""Where the states of the resources are kept: the collection `sync_states`, one document a resource.

The field names are part of the outside contract. A document that somebody edited by hand into
something that cannot be understood is read as "never synced", so that the next start syncs.

A save that was given up may still be on its way and arrive behind a later one: a `completed` of yesterday
over the `in_progress` of today. So each carries a `revision`, nanoseconds since 1970 or one more than
what is stored, and replaces lower ones only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from pymongo.errors import DuplicateKeyError

from hybridsync.mongodb import MongoDB
from hybridsync.mongodb_errors import one_line
from hybridsync.state import SyncState, SyncStatus

T = TypeVar("T")

COLLECTION = "sync_states"

_LARGEST = 1 << 62

_AWARE: CodecOptions[Mapping[str, Any]] = CodecOptions(tz_aware=True, tzinfo=UTC)


class MongoStateStore:
    """The `StateStore` in MongoDB. Times are kept in milliseconds, as BSON has them."""

    def __init__(self, mongodb: MongoDB, collection: str = COLLECTION) -> None:
        self._mongodb = mongodb
        self._collection = mongodb.collection(collection)
        self._revision = 0
        self._raw = self._collection.with_options(codec_options=CodecOptions(document_class=RawBSONDocument))

    async def load(self, resource: str) -> SyncState | None:
        """See `StateStore.load`. Raises `SinkUnavailable` or `SinkError`."""
        document = await self._mongodb.retrying(lambda: self._raw.find_one({"_id": resource}))
        if document is None:
            return None
        try:
            return _state(resource, bson.decode(document.raw, _AWARE))
        except (BSONError, ValueError, TypeError, OverflowError):
            return SyncState(resource_type=resource)

    async def save(self, state: SyncState) -> None:
        """See `StateStore.save`. Raises `SinkUnavailable` or `SinkError`."""
        self._revision = max(self._revision + 1, time.time_ns())
        while not await self._mongodb.retrying(partial(self._replace, _document(state, self._revision))):
            self._revision = await self._mongodb.retrying(partial(self._stored_revision, state.resource_type)) + 1

    async def _replace(self, document: Mapping[str, Any]) -> bool:
        """Replaces an older state; False when the stored one is not older."""
        older = {"_id": document["_id"], "revision": {"$not": {"$gte": document["revision"]}}}
        try:
            await self._collection.replace_one(older, document, upsert=True)
        except DuplicateKeyError:
            return False
        return True

    async def _stored_revision(self, resource: str) -> int:
        stored = await self._collection.find_one({"_id": resource}, {"revision": 1})
        revision = (stored or {}).get("revision")
        if isinstance(revision, int) and revision < _LARGEST:
            return revision
        # No revision of ours: somebody edited it. Without one, everything is newer.
        await self._collection.update_one({"_id": resource}, {"$unset": {"revision": 1}})
        return time.time_ns()


def _document(state: SyncState, revision: int) -> dict[str, Any]:
    return {
        "revision": Int64(revision),
        "_id": state.resource_type,
        "resourceType": state.resource_type,
        "status": state.status.value,
        "lastSyncTime": state.last_sync_time,
        "lastSyncDuration": state.last_sync_duration,
        "lastSyncCount": state.last_sync_count,
        "resourceVersion": state.resource_version,
        "error": None if state.error is None else one_line(state.error.encode(errors="replace").decode(), 2000),
        "informerReconnectCount": state.informer_reconnect_count,
        "confirmedAt": state.confirmed_at,
        "resumeFrom": state.resume_from,
        "place": state.place,
        "configFingerprint": state.config_fingerprint,
        "mirror": state.mirror,
        "partial": state.partial,
        "removalSeen": state.removal_seen,
        "updatedAt": datetime.now(UTC),
    }


def _state(resource: str, document: Mapping[str, Any]) -> SyncState:
    """Raises for anything that `_document` would not have written."""
    return SyncState(
        resource_type=resource,
        status=SyncStatus(document["status"]) if "status" in document else SyncStatus.NEVER,
        last_sync_time=_typed(document.get("lastSyncTime"), datetime),
        last_sync_duration=_seconds(document.get("lastSyncDuration")),
        last_sync_count=_count(document.get("lastSyncCount")),
        resource_version=_typed(document.get("resourceVersion"), str),
        error=_typed(document.get("error"), str),
        informer_reconnect_count=_count(document.get("informerReconnectCount")) or 0,
        confirmed_at=_typed(document.get("confirmedAt"), datetime),
        resume_from=_typed(document.get("resumeFrom"), str),
        place=_typed(document.get("place"), str),
        config_fingerprint=_typed(document.get("configFingerprint"), str),
        mirror=_typed(document.get("mirror"), str),
        partial=_typed(document.get("partial"), bool) or False,
        removal_seen=_typed(document.get("removalSeen"), bool) or False,
    )


def _typed(value: object, kind: type[T]) -> T | None:
    if value is None or isinstance(value, kind):
        return value
    raise TypeError(f"{kind.__name__} expected")


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise TypeError("a number of seconds expected")
    return float(value)


def _count(value: object) -> int | None:
    if value is None:
        return None
    # a whole number typed in MongoDB's shell is a double
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0 or value != int(value):
        raise ValueError("a whole number expected")
    return int(value)
