"""Preparing, counting and indexing a mirror, also one that is not new."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bson.int64 import Int64
from bson.objectid import ObjectId
from pymongo.database import Database

from hybridsync.errors import SinkError
from hybridsync.model import Applied, Put, Remove
from hybridsync.sinks.codec import MALFORMED
from tests.mirror_records import mirror, whole_index, znode


async def test_the_parent_is_indexed_however_often_it_is_prepared(
    mongo_uri: str, mongo_database: Database[dict[str, Any]]
) -> None:
    async with mirror(mongo_uri) as sink:
        await asyncio.gather(*(sink.prepare() for _ in range(4)))
        await sink.prepare()
    assert [list(index["key"]) for index in mongo_database["mirror"].list_indexes()] == [["_id"], ["parent"]]


async def test_an_index_on_the_parent_under_another_name_is_enough(
    mongo_uri: str, mongo_database: Database[dict[str, Any]]
) -> None:
    mongo_database["mirror"].create_index("parent", name="mine")
    async with mirror(mongo_uri) as sink:
        await sink.prepare()
    assert len(mongo_database["mirror"].index_information()) == 2


@pytest.mark.parametrize(
    "options", [{"capped": True, "size": 4096}, {"viewOn": "other"}, {"collation": {"locale": "en", "strength": 1}}]
)
async def test_a_collection_that_cannot_hold_a_mirror_is_refused(
    mongo_uri: str, mongo_database: Database[dict[str, Any]], options: dict[str, Any]
) -> None:
    mongo_database.create_collection("mirror", **options)
    async with mirror(mongo_uri) as sink:
        with pytest.raises(SinkError, match="a mirror needs a plain collection"):
            await sink.prepare()


async def test_a_missing_or_empty_collection_holds_nothing(
    mongo_uri: str, mongo_database: Database[dict[str, Any]]
) -> None:
    async with mirror(mongo_uri) as sink:
        assert await sink.count() == 0
        assert await whole_index(sink) == {}
        await sink.prepare()
        assert await sink.count() == 0
        mongo_database["mirror"].insert_one({"_id": 7})
        assert await sink.count() == 0


async def test_the_index_tells_the_version_of_every_record(mongo_uri: str) -> None:
    records = [znode(f"/a/{number}", mzxid=number + 1, czxid=2**40 + number) for number in range(25_000)]
    async with mirror(mongo_uri) as sink:
        await sink.apply([Put(record, None) for record in records])
        assert await whole_index(sink) == {record.key: record.version for record in records}
        assert await sink.count() == 25_000


async def test_an_index_that_is_not_read_to_the_end_can_be_let_go(mongo_uri: str) -> None:
    async with mirror(mongo_uri) as sink:
        await sink.apply([Put(znode(f"/a/{number}"), None) for number in range(12_000)])
        pieces = sink.index()
        assert len(await anext(pieces)) == 10_000
        await pieces.aclose()
        assert len(await whole_index(sink)) == 12_000


async def test_foreign_documents_are_left_alone_and_ids_under_the_root_are_ours(
    mongo_uri: str, mongo_database: Database[dict[str, Any]]
) -> None:
    foreign: list[Any] = [7, ObjectId(), b"/a/x", "word", "", "a/b", {"a": 1}, "/other", "/ab"]
    ours: list[Any] = ["/a", "/a/x", "/a/\ud7ff"]
    mongo_database["mirror"].insert_many([{"_id": key, "version": "?"} for key in foreign + ours])
    async with mirror(mongo_uri) as sink:
        index = await whole_index(sink)
        assert index == dict.fromkeys(ours, MALFORMED)
        assert await sink.apply([Remove(key, seen=version) for key, version in index.items()]) == Applied(deleted=3)
    assert [document["_id"] for document in mongo_database["mirror"].find()] == foreign


async def test_what_a_former_root_left_is_swept(mongo_uri: str, mongo_database: Database[dict[str, Any]]) -> None:
    async with mirror(mongo_uri, "/") as sink:
        await sink.apply([Put(znode(key)) for key in ("/", "/a", "/a/x", "/b")])
    async with mirror(mongo_uri, "/a") as sink:
        index = await whole_index(sink)
        assert index["/a/x"] == znode("/a/x").version
        assert index["/b"] == znode("/b").version
        assert await sink.apply([Remove("/b", seen=index["/b"]), Remove("/", seen=index["/"])]) == Applied(deleted=2)
    assert mongo_database["mirror"].count_documents({}) == 2


@pytest.mark.parametrize(("before", "after"), [("/a", "/"), ("/", "/a")])
async def test_the_root_gets_its_right_parent_after_the_root_was_changed(
    mongo_uri: str, mongo_database: Database[dict[str, Any]], before: str, after: str
) -> None:
    record = znode("/a")
    async with mirror(mongo_uri, before) as sink:
        await sink.apply([Put(record), Put(znode("/a/x"))])
    async with mirror(mongo_uri, after) as sink:
        index = await whole_index(sink)
        assert index["/a/x"] == znode("/a/x").version
        assert index["/a"] != record.version
        assert await sink.apply([Put(record, index["/a"])]) == Applied(updated=1)
        assert await whole_index(sink) == {"/a": record.version, "/a/x": znode("/a/x").version}
        assert await sink.differing([record]) == []


async def test_a_misplaced_document_can_be_swept(mongo_uri: str) -> None:
    async with mirror(mongo_uri, "/a") as sink:
        await sink.apply([Put(znode("/a"))])
    async with mirror(mongo_uri, "/") as sink:
        index = await whole_index(sink)
        assert await sink.apply([Remove("/a", seen=index["/a"])]) == Applied(deleted=1)


async def test_numbers_of_every_size_are_indexed_as_they_are(
    mongo_uri: str, mongo_database: Database[dict[str, Any]]
) -> None:
    highest = znode("/a/x", mzxid=2**63 - 1, czxid=2**63 - 1)
    lowest = znode("/a/zero", mzxid=0, czxid=0)
    async with mirror(mongo_uri) as sink:
        await sink.apply([Put(highest), Put(lowest)])
        assert await whole_index(sink) == {"/a/x": highest.version, "/a/zero": lowest.version}
    stored = mongo_database["mirror"].find_one({"_id": "/a/x"})
    assert stored is not None
    assert stored["version"] == Int64(2**63 - 1)
