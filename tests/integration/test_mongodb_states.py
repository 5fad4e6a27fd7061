"""The states of the resources in `sync_states`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from hybridsync.mongodb import MongoDB
from hybridsync.sinks.state_store import MongoStateStore
from hybridsync.state import SyncState, SyncStatus

WHEN = datetime(2026, 11, 20, 21, 0, 0, 123000, tzinfo=UTC)
STATE = SyncState(
    resource_type="services",
    status=SyncStatus.COMPLETED,
    last_sync_time=WHEN,
    last_sync_duration=1.84,
    last_sync_count=100_000,
    resource_version="4294967299",
    error=None,
    informer_reconnect_count=2,
    confirmed_at=WHEN,
    config_fingerprint="abc",
    resume_from="token",
    place="cluster",
    mirror="uuid",
    partial=True,
    removal_seen=True,
)


@pytest.fixture
async def store(mongo_uri: str) -> AsyncIterator[MongoStateStore]:
    mongodb = MongoDB(mongo_uri)
    yield MongoStateStore(mongodb)
    await mongodb.close()


async def test_a_resource_without_a_document_has_no_state(store: MongoStateStore) -> None:
    assert await store.load("services") is None


async def test_a_saved_state_is_loaded_as_it_was(store: MongoStateStore) -> None:
    await store.save(STATE)
    assert await store.load("services") == STATE
    failed = SyncState(resource_type="services", status=SyncStatus.FAILED, error="no\nrights")
    await store.save(failed)
    loaded = await store.load("services")
    assert loaded is not None
    assert (loaded.status, loaded.error, loaded.last_sync_time) == (SyncStatus.FAILED, "no rights", None)


async def test_the_document_has_the_names_and_types_of_the_contract(
    store: MongoStateStore, mongo_database: Database[dict[str, Any]]
) -> None:
    await store.save(STATE)
    document = mongo_database["sync_states"].find_one()
    assert document is not None
    assert isinstance(document.pop("updatedAt"), datetime)
    assert isinstance(document.pop("revision"), int)
    assert document == {
        "_id": "services",
        "resourceType": "services",
        "status": "completed",
        "lastSyncTime": WHEN,
        "lastSyncDuration": 1.84,
        "lastSyncCount": 100_000,
        "resourceVersion": "4294967299",
        "error": None,
        "informerReconnectCount": 2,
        "confirmedAt": WHEN,
        "configFingerprint": "abc",
        "resumeFrom": "token",
        "place": "cluster",
        "mirror": "uuid",
        "partial": True,
        "removalSeen": True,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"status": "finished"},
        {"status": None},
        {"status": ["completed"]},
        {"status": {"$ref": "a", "$id": 1}},
        {"status": "completed", "lastSyncTime": "yesterday"},
        {"status": "completed", "lastSyncTime": 1700000000},
        {"status": "completed", "lastSyncTime": bson.DatetimeMS(2**62)},
        {"status": "completed", "lastSyncDuration": "1"},
        {"status": "completed", "lastSyncDuration": float("nan")},
        {"status": "completed", "lastSyncDuration": True},
        {"status": "completed", "lastSyncCount": -1},
        {"status": "completed", "lastSyncCount": 1.5},
        {"status": "completed", "lastSyncCount": float("inf")},
        {"status": "completed", "resourceVersion": 7},
        {"status": "completed", "error": 7},
        {"status": "completed", "informerReconnectCount": "many"},
        {"status": "completed", "confirmedAt": "now"},
        {"status": "completed", "configFingerprint": 1},
    ],
)
async def test_a_document_nobody_can_understand_means_never_synced(
    store: MongoStateStore, mongo_database: Database[dict[str, Any]], fields: dict[str, Any]
) -> None:
    mongo_database["sync_states"].insert_one({"_id": "services", **fields})
    assert await store.load("services") == SyncState(resource_type="services")


async def test_text_that_is_not_utf8_means_never_synced(
    store: MongoStateStore, mongo_database: Database[dict[str, Any]]
) -> None:
    broken = bson.encode({"_id": "services", "status": "completed"}).replace(b"completed", b"complete\xff")
    mongo_database["sync_states"].insert_one(RawBSONDocument(broken))
    assert await store.load("services") == SyncState(resource_type="services")


async def test_a_count_typed_in_the_shell_is_understood(
    store: MongoStateStore, mongo_database: Database[dict[str, Any]]
) -> None:
    mongo_database["sync_states"].insert_one({"_id": "services", "status": "completed", "lastSyncCount": 7.0})
    loaded = await store.load("services")
    assert loaded is not None
    assert loaded.last_sync_count == 7


async def test_an_error_of_any_text_can_be_saved(store: MongoStateStore) -> None:
    await store.save(SyncState(resource_type="services", status=SyncStatus.FAILED, error="\ud800" + "x" * 100_000))
    loaded = await store.load("services")
    assert loaded is not None
    assert loaded.error is not None
    assert loaded.error.startswith("?xxx")


async def test_a_save_that_arrives_late_does_not_replace_a_later_one(
    store: MongoStateStore, mongo_database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Callable[[], Awaitable[Any]]] = []

    class Late:
        """Sends nothing before it is told to."""

        def __init__(self, collection: Any) -> None:
            self._collection = collection

        async def replace_one(self, *given: Any, **options: Any) -> None:
            sent.append(lambda: self._collection.replace_one(*given, **options))

    proper = store._collection
    monkeypatch.setattr(store, "_collection", Late(proper))
    await store.save(replace(STATE, status=SyncStatus.COMPLETED))
    monkeypatch.setattr(store, "_collection", proper)
    await store.save(replace(STATE, status=SyncStatus.IN_PROGRESS))
    with pytest.raises(DuplicateKeyError):
        await sent[0]()

    stored = await store.load("services")
    assert stored is not None
    assert stored.status is SyncStatus.IN_PROGRESS


@pytest.mark.parametrize("revision", [2**61, 2**63 - 1, 1e300, "new", None, [5], float("nan")])
async def test_a_state_of_a_clock_that_is_ahead_or_edited_by_hand_is_replaced_all_the_same(
    store: MongoStateStore, mongo_database: Database[dict[str, Any]], revision: object
) -> None:
    mongo_database["sync_states"].insert_one({"_id": "services", "status": "never", "revision": revision})
    await store.save(STATE)
    await store.save(replace(STATE, last_sync_count=5))

    stored = await store.load("services")
    assert stored == replace(STATE, last_sync_count=5)
