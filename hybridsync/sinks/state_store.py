"""Where the states of the resources are kept: the collection `sync_states`, one document a resource.

The field names are part of the outside contract. A document that somebody edited by hand into
something that cannot be understood is read as "never synced", so that the next start syncs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from hybridsync.mongodb import MongoDB
from hybridsync.mongodb_errors import one_line
from hybridsync.state import SyncState, SyncStatus

T = TypeVar("T")

COLLECTION = "sync_states"

_AWARE: CodecOptions[Mapping[str, Any]] = CodecOptions(tz_aware=True, tzinfo=UTC)


class MongoStateStore:
    """The `StateStore` in MongoDB. Times are kept in milliseconds, as BSON has them."""

    def __init__(self, mongodb: MongoDB, collection: str = COLLECTION) -> None:
        self._mongodb = mongodb
        self._collection = mongodb.collection(collection)
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
        document = _document(state)
        key = {"_id": state.resource_type}
        await self._mongodb.retrying(lambda: self._collection.replace_one(key, document, upsert=True))


def _document(state: SyncState) -> dict[str, Any]:
    return {
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
        "configFingerprint": state.config_fingerprint,
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
        config_fingerprint=_typed(document.get("configFingerprint"), str),
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
