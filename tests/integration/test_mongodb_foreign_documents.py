"""Whatever somebody has put into a mirror, into `sync_states` or into `sync_lanes`: one bad document stops nothing."""

from __future__ import annotations

import math
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.regex import Regex
from bson.timestamp import Timestamp
from pymongo.database import Database
from pymongo.errors import OperationFailure, WriteError

from hybridsync.model import ANY, Put, Record, Remove
from hybridsync.mongodb import MongoDB
from hybridsync.sinks.codec import LENIENT, DocumentCodec
from hybridsync.sinks.kube_codec import KubernetesCodec
from hybridsync.sinks.lane_registry import LaneRegistry
from hybridsync.sinks.mongodb import MongoMirror
from hybridsync.sinks.state_store import MongoStateStore
from hybridsync.sinks.znode_codec import ZnodeCodec
from hybridsync.state import SyncState, SyncStatus
from tests.kube_records import kube_object
from tests.mirror_records import whole_index, znode

Stored = Database[dict[str, Any]]

_NESTED: dict[str, Any] = {}
for _ in range(80):
    _NESTED = {"n": _NESTED}

STRANGE: list[Any] = [
    None,
    True,
    -1,
    Int64(2**63 - 1),
    Int64(-(2**63)),
    math.nan,
    math.inf,
    -0.0,
    1.5,
    "",
    "\0",
    "text",
    b"",
    Binary(b"x", 0),
    Binary(b"x" * 16, 3),
    Binary(b"x" * 16, 4),
    Binary(b"too short", 4),
    Binary(b"", 4),
    Binary(b"x" * 20, 2),
    Binary(b"x", 128),
    DatetimeMS(2**63 - 1),
    DatetimeMS(-(2**63)),
    DatetimeMS(253402300800000),
    datetime(2026, 1, 1, tzinfo=UTC),
    Timestamp(4294967295, 4294967295),
    Decimal128("NaN"),
    Decimal128("9.999E+6144"),
    ObjectId(b"x" * 12),
    Regex("(", "imxs"),
    Code("f"),
    Code("f", {"a": 1}),
    MinKey(),
    MaxKey(),
    DBRef("c", 1),
    [],
    [1, "a", None],
    [[["deep"]]],
    {},
    {"a": {"b": [math.nan]}},
    {"$ref": "c", "$id": 1, "$db": "d"},
    {"$ref": 5},
    {"$id": 5},
    {"": 1},
    {"a.b": 1},
    _NESTED,
]


def invalid_text(document: dict[str, Any], placeholder: str = "PLACEHOLDER") -> RawBSONDocument:
    """With bytes that are no UTF-8 where the placeholder is."""
    return RawBSONDocument(bson.encode(document).replace(placeholder.encode(), b"\xff\xfe\xc0\xed\xa0\x80" + b"x" * 5))


def strange_documents(good: dict[str, Any]) -> Iterator[Any]:
    """The good document with one field after the other made strange, under ids of their own."""
    number = 0

    def with_id(document: dict[str, Any]) -> dict[str, Any]:
        nonlocal number
        number += 1
        return {**document, "_id": f"{good['_id']}-{number}"}

    yield from strange_fields(good, with_id)
    for value in STRANGE:
        yield {"_id": value}
        yield {**good, "_id": value}
    yield invalid_text({**good, "_id": f"{good['_id']}-PLACEHOLDER"})


def strange_fields(good: dict[str, Any], with_id: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[Any]:
    """The good document with one field after the other made strange, or left out."""

    for value in STRANGE:
        for name in good:
            if name != "_id":
                yield with_id({**good, name: value})
                if isinstance(good[name], dict):
                    for inner in good[name]:
                        yield with_id({**good, name: {**good[name], inner: value}})
    for name in good:
        if name != "_id":
            without = dict(good)
            del without[name]
            yield with_id(without)
            yield invalid_text(with_id({**good, name: "PLACEHOLDER"}))
    yield with_id({})


def put_in(collection: Any, documents: Iterator[Any]) -> int:
    """Stores what MongoDB takes; returns how much that is."""
    lenient = collection.with_options(codec_options=LENIENT)  # it quotes what it refuses
    stored = 0
    for document in documents:
        try:
            lenient.insert_one(document)
        except (OperationFailure, WriteError, bson.errors.InvalidDocument):
            continue
        stored += 1
    return stored


@pytest.fixture
async def mongodb(mongo_uri: str) -> AsyncIterator[MongoDB]:
    one = MongoDB(mongo_uri)
    yield one
    await one.close()


KINDS: dict[str, tuple[DocumentCodec, Record]] = {
    "znodes": (ZnodeCodec("/a"), znode("/a/x", b'{"a": 1}')),
    "objects": (KubernetesCodec(), kube_object("x")),
}


@pytest.mark.parametrize(("codec", "record"), KINDS.values(), ids=KINDS.keys())
async def test_nothing_that_lies_in_a_mirror_stops_a_sync_of_it(
    mongodb: MongoDB, mongo_database: Stored, codec: DocumentCodec, record: Record
) -> None:
    sink = MongoMirror(mongodb, "mirror", codec)
    await sink.apply([Put(record, None)])
    (good,) = mongo_database["mirror"].find()
    count = put_in(mongo_database["mirror"], strange_documents(good))
    assert count > 300

    await sink.prepare()
    assert await sink.count() > 0
    index = await whole_index(sink)
    keys = list(index)
    assert len(keys) > 100
    held = await sink.held(keys)
    assert held.keys() <= index.keys()
    strange = [record._replace(key=key) for key in keys]
    differing = await sink.differing(strange)
    assert record.key not in differing
    applied = await sink.apply([Put(one, index[one.key]) for one in strange])
    assert applied.failed == {}
    again = await whole_index(sink)
    assert {again[key] for key in keys} == {record.version}
    assert await sink.differing(strange) == []
    await sink.apply([Remove(key, seen=again[key]) for key in keys])
    assert await whole_index(sink) == {}


@pytest.mark.parametrize(("codec", "record"), KINDS.values(), ids=KINDS.keys())
async def test_nor_a_change_that_is_watched(
    mongodb: MongoDB, mongo_database: Stored, codec: DocumentCodec, record: Record
) -> None:
    sink = MongoMirror(mongodb, "mirror", codec)
    await sink.apply([Put(record, None)])
    (good,) = mongo_database["mirror"].find()
    put_in(mongo_database["mirror"], strange_documents(good))
    keys = list(await whole_index(sink))
    applied = await sink.apply([Put(record._replace(key=key), ANY) for key in keys])
    assert applied.failed == {}
    await sink.apply([Remove(key, as_of=2**62) for key in keys])


async def test_no_state_that_somebody_edited_stops_anything(mongodb: MongoDB, mongo_database: Stored) -> None:
    store = MongoStateStore(mongodb)
    when = datetime(2026, 11, 20, tzinfo=UTC)
    state = SyncState(resource_type="services", status=SyncStatus.COMPLETED, last_sync_time=when, last_sync_count=3)
    await store.save(state)
    (good,) = mongo_database["sync_states"].find()
    for document in strange_fields(good, lambda document: {**document, "_id": "services"}):
        mongo_database["sync_states"].delete_many({})
        if not put_in(mongo_database["sync_states"], iter([document])):
            continue
        loaded = await store.load("services")
        assert loaded is None or loaded.resource_type == "services"
        await store.save(state)
        assert await store.load("services") == state


async def test_no_registration_of_a_lane_that_somebody_edited_stops_anything(
    mongodb: MongoDB, mongo_database: Stored
) -> None:
    lanes = mongo_database["sync_lanes"]
    good = {"_id": Binary.from_uuid(uuid.uuid4()), "collection": "mirror", "instance": "i", "since": datetime.now(UTC)}
    for value in STRANGE:
        put_in(lanes, iter([{**good, "_id": value}]))
        for name in ("instance", "since"):
            put_in(lanes, iter([{**good, "_id": Binary.from_uuid(uuid.uuid4()), name: value}]))
    put_in(
        lanes, iter([invalid_text({**good, "_id": "PLACEHOLDER"}), invalid_text({**good, "instance": "PLACEHOLDER"})])
    )
    assert lanes.count_documents({}) > 100
    sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"))
    await sink.prepare()
    await sink.apply([Put(znode("/a/x"), None)])
    left = await LaneRegistry(mongodb, mongodb.collection("mirror")).of_mirror()
    assert len(left) <= 1 + 1, "all that could be lanes are fenced"
