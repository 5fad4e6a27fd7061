"""Objects with strange contents in a real MongoDB: what is stored comes back, and none stops its neighbours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pymongo.database import Database

from hybridsync.model import ANY, Applied, Put
from tests.kube_records import kube_object, object_mirror

MIB = 1 << 20

LABELS = {"app.kubernetes.io/name": "web", "a.b": "c", "$set": "x"}

HOSTILE = [
    b'{"$set":{"a.b":1,"":{"$":[2]}},"_id":7}',
    b'{"metadata":{"annotations":{"a.b/c":"{}","$x":"y","":"z"}}}',
    b'{"$ref":"a"}',
    b'{"spec":{"$ref":"#/definitions/a","$id":"b"}}',
    b'{"spec":{"a":{"$ref":1,"$db":2}}}',
    b'{"a":9223372036854775807,"b":-9223372036854775808}',
    b'{"a":9223372036854775808}',
    b'{"a":0.1,"b":1e300,"c":-0.0,"d":1.5}',
    b'{"a":1e400}',
    b'{"a":0.12345678901234567890}',
    b'{"a":NaN}',
    b'{"a\\u0000":1}',
    b'{"a":"\\ud800"}',
    b'{"a":"\\u0000"}',
    b'{"a":1,"a":2}',
    b'{"z":1,"10":2,"9":3}',
    b'{"a":' * 98 + b"1" + b"}" * 98,
    b'{"a":' * 120 + b"1" + b"}" * 120,
    b'{"a":' * 5000,
    b"\xff\x00\xfe",
    '{"a":"ü😀"}'.encode(),
    b'{"a":[' + b"1," * (MIB // 2) + b"1]}",
]


def content(document: dict[str, Any]) -> object:
    match document.get("encoding"):
        case None:
            return document["value"]
        case "utf8":
            return document["value"].encode()
    return document["value"]


@pytest.mark.parametrize("replaces", [None, ANY])
async def test_hostile_objects_are_stored_and_come_back(
    mongo_uri: str, mongo_database: Database[dict[str, Any]], replaces: int | None
) -> None:
    records = [kube_object(f"o{n}", labels=LABELS, value=value) for n, value in enumerate(HOSTILE)]
    async with object_mirror(mongo_uri) as sink:
        applied = await sink.apply([Put(record, replaces) for record in records])
        assert applied == Applied(inserted=len(HOSTILE))
        assert await sink.differing(records) == []
        again = await sink.apply([Put(record) for record in records])
        assert (again.failed, again.updated + again.unchanged) == ({}, len(HOSTILE))
    found = {document["_id"]: document for document in mongo_database["mirror"].find()}
    for record in records:
        document = found[record.key]
        assert document["labels"] == LABELS
        if "encoding" in document:
            assert content(document) == record.value
        else:
            assert json.dumps(content(document)) == json.dumps(json.loads(record.value))


async def test_labels_with_dots_can_be_asked_for(mongo_uri: str, mongo_database: Database[dict[str, Any]]) -> None:
    async with object_mirror(mongo_uri) as sink:
        await sink.apply([Put(kube_object("web", labels=LABELS), None), Put(kube_object("db"), None)])
    field = {"$getField": {"field": "app.kubernetes.io/name", "input": "$labels"}}
    found = mongo_database["mirror"].find({"$expr": {"$eq": [field, "web"]}})
    assert [document["_id"] for document in found] == ["prod/web"]


@pytest.mark.timeout(240)
async def test_an_object_too_large_for_mongodb_fails_alone(mongo_uri: str) -> None:
    large = kube_object("large", data={"a": "x" * (16 * MIB)})
    fits = kube_object("fits", data={"a": "x" * (15 * MIB)})
    async with object_mirror(mongo_uri) as sink:
        applied = await sink.apply([Put(kube_object("a"), None), Put(large), Put(fits), Put(kube_object("b"), None)])
        assert applied.inserted == 3
        assert applied.failed == {
            "prod/large": f"a value of {len(large.value)} bytes does not fit into a MongoDB document of 16 MiB"
        }
        assert await sink.differing([fits, large]) == ["prod/large"]


async def test_an_object_larger_as_bson_than_as_text_is_kept_as_text(
    mongo_uri: str, mongo_database: Database[dict[str, Any]]
) -> None:
    many = kube_object("many", value=b'{"a":[' + b"1," * (2 * MIB) + b"1]}")
    async with object_mirror(mongo_uri) as sink:
        assert await sink.apply([Put(many, None)]) == Applied(inserted=1)
        assert await sink.differing([many]) == []
    document = mongo_database["mirror"].find_one()
    assert document is not None
    assert document["encoding"] == "utf8"


async def test_a_name_that_cannot_be_stored_fails_alone(mongo_uri: str) -> None:
    odd = kube_object("\ud800", value=b"{}")
    async with object_mirror(mongo_uri) as sink:
        applied = await sink.apply([Put(odd), Put(kube_object("a"))])
        assert (applied.inserted, list(applied.failed)) == (1, [odd.key])


@pytest.mark.parametrize(
    "change",
    [
        {"$set": {"value.spec.replicas": 4}},
        {"$set": {"labels": {}}},
        {"$set": {"extra": 1}},
        {"$unset": {"namespace": 1}},
    ],
)
async def test_comparing_finds_what_was_touched_by_hand(
    mongo_uri: str, mongo_database: Database[dict[str, Any]], change: dict[str, Any]
) -> None:
    records = [kube_object(name, labels=LABELS, spec={"replicas": 3}) for name in ("web", "db", "gone")]
    async with object_mirror(mongo_uri) as sink:
        await sink.apply([Put(record) for record in records[:2]])
        mongo_database["mirror"].update_one({"_id": "prod/web"}, change)
        assert await sink.differing(records) == ["prod/web", "prod/gone"]
        await sink.apply([Put(record) for record in records])
        assert await sink.differing(records) == []
