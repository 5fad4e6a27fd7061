"""Kubernetes objects in a real MongoDB: what replaces what, and what a sweep may delete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.database import Database

from hybridsync.model import ANY, Applied, Put, Remove
from hybridsync.sinks.codec import MALFORMED, MISPLACED
from hybridsync.sinks.mongodb import MongoMirror
from tests.kube_records import kube_object, object_mirror
from tests.mirror_records import whole_index

MALFORMED_DOCUMENTS: list[dict[str, Any]] = [
    {},
    {"uid": "uid-1"},
    {"uid": "uid-1", "version": 100},
    {"uid": ["uid-1"], "version": "100"},
    {"uid": "uid-1", "version": ["100"]},
]


@pytest.fixture
async def sink(mongo_uri: str) -> AsyncIterator[MongoMirror]:
    async with object_mirror(mongo_uri) as mirror:
        yield mirror


@pytest.fixture
def stored(mongo_database: Database[dict[str, Any]]) -> Collection[dict[str, Any]]:
    return mongo_database["mirror"]


async def test_namespace_and_uid_are_indexed(sink: MongoMirror, stored: Collection[dict[str, Any]]) -> None:
    await sink.prepare()
    await sink.prepare()
    assert [list(index["key"]) for index in stored.list_indexes()] == [["_id"], ["namespace"], ["uid"]]


def test_versions_without_an_order_cannot_keep_the_newest(sink: MongoMirror) -> None:
    assert not sink.keeps_newest


@pytest.mark.parametrize("replaces", [None, ANY, kube_object("web").version, 7, MALFORMED])
async def test_a_put_replaces_whatever_is_there(
    sink: MongoMirror, stored: Collection[dict[str, Any]], replaces: int | None
) -> None:
    await sink.apply([Put(kube_object("web", version="900"), None)])
    applied = await sink.apply([Put(kube_object("web", version="100", spec={"a": 1}), replaces)])
    assert applied == Applied(updated=1)
    assert [(one["version"], one["value"]["spec"]) for one in stored.find()] == [("100", {"a": 1})]


@pytest.mark.parametrize("replaces", [None, ANY, 7, MALFORMED])
async def test_a_put_inserts_what_is_missing(sink: MongoMirror, replaces: int | None) -> None:
    record = kube_object("web")
    assert await sink.apply([Put(record, replaces)]) == Applied(inserted=1)
    assert await whole_index(sink) == {"prod/web": record.version}
    assert await sink.held(["prod/web", "prod/none"]) == {"prod/web": record.version}


async def test_an_object_deleted_and_made_again_is_another_one(
    sink: MongoMirror, stored: Collection[dict[str, Any]]
) -> None:
    old, new = kube_object("web", uid="a", version="7"), kube_object("web", uid="b", version="7")
    await sink.apply([Put(old, None)])
    await sink.apply([Put(new)])
    assert await sink.apply([Remove("prod/web", seen=old.version)]) == Applied()
    assert [one["uid"] for one in stored.find()] == ["b"]
    assert await sink.apply([Remove("prod/web", seen=new.version)]) == Applied(deleted=1)


async def test_a_removal_of_the_watch_deletes_the_key_and_nothing_else(sink: MongoMirror) -> None:
    web, other = kube_object("web"), kube_object("web-2")
    await sink.apply([Put(web, None), Put(other, None)])
    assert await sink.apply([Remove("prod/web"), Remove("prod/none")]) == Applied(deleted=1)
    assert await whole_index(sink) == {"prod/web-2": other.version}


@pytest.mark.parametrize("fields", MALFORMED_DOCUMENTS)
async def test_a_malformed_document_is_replaced_and_swept(
    sink: MongoMirror, stored: Collection[dict[str, Any]], fields: dict[str, Any]
) -> None:
    stored.insert_one({"_id": "prod/web", **fields})
    assert await whole_index(sink) == {"prod/web": MALFORMED}
    assert await sink.apply([Put(kube_object("web"), MALFORMED)]) == Applied(updated=1)
    assert await sink.apply([Remove("prod/web", seen=MALFORMED)]) == Applied()
    stored.replace_one({"_id": "prod/web"}, fields)
    assert await sink.apply([Remove("prod/web", seen=MALFORMED)]) == Applied(deleted=1)


async def test_documents_that_are_no_objects_are_left_alone(
    sink: MongoMirror, stored: Collection[dict[str, Any]]
) -> None:
    stored.insert_many([{"_id": 7}, {"_id": "/services/a"}, {"_id": "a/b/c"}, {"_id": "a/"}, {"_id": ""}])
    assert await whole_index(sink) == {}
    assert await sink.count() == 0
    await sink.apply([Put(kube_object("node", namespace=None), None)])
    assert list(await whole_index(sink)) == ["node"]
    assert await sink.count() > 0


async def test_documents_of_other_options_are_written_anew(mongo_uri: str) -> None:
    record = kube_object("web")
    async with object_mirror(mongo_uri) as before:
        await before.apply([Put(record, None)])
    async with object_mirror(mongo_uri, "other") as sink:
        seen = (await whole_index(sink))["prod/web"]
        assert seen == record.version | MISPLACED
        assert await sink.apply([Put(record, seen)]) == Applied(updated=1)
        assert await whole_index(sink) == {"prod/web": record.version}
    async with object_mirror(mongo_uri) as sink:
        assert await sink.apply([Remove("prod/web", seen=record.version | MISPLACED)]) == Applied(deleted=1)


async def test_two_who_insert_the_same_key_at_once_both_succeed(
    mongo_uri: str, stored: Collection[dict[str, Any]]
) -> None:
    async with object_mirror(mongo_uri) as one, object_mirror(mongo_uri) as other:
        for number in range(20):
            puts = [Put(kube_object(f"web-{number}-{i}"), None) for i in range(20)]
            results = await asyncio.gather(one.apply(puts), other.apply(puts))
            assert not results[0].failed
            assert not results[1].failed
    assert stored.count_documents({}) == 400


async def test_two_thousand_objects_are_written_and_swept(sink: MongoMirror) -> None:
    records = [kube_object(f"web-{number}", uid=f"u{number}") for number in range(2000)]
    assert await sink.apply([Put(record, None) for record in records]) == Applied(inserted=2000)
    index = await whole_index(sink)
    assert index == {record.key: record.version for record in records}
    assert await sink.apply([Remove(key, seen=version) for key, version in index.items()]) == Applied(deleted=2000)
