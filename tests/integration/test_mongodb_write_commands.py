"""Writes as commands of our own: every byte arrives, once, and what is refused is told document by document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import bson
import pymongo
import pytest
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, OperationFailure
from pymongo.write_concern import WriteConcern

from hybridsync.errors import SinkError
from hybridsync.model import ANY, Applied, Put
from hybridsync.mongodb import MongoDB, Session
from hybridsync.mongodb_sessions import next_number
from hybridsync.sinks import write_command
from hybridsync.sinks.lane_registry import TRANSACTION_TOO_OLD
from hybridsync.sinks.mirror_writes import Outcome
from tests.mirror_records import mirror, znode
from tests.servers import StandaloneMongo

MIB = 1 << 20
Documents = Collection[dict[str, Any]]


@pytest.fixture
async def mongodb(mongo_uri: str) -> AsyncIterator[MongoDB]:
    one = MongoDB(mongo_uri)
    yield one
    await one.close()


@pytest.fixture
def stored(mongo_database: Database[dict[str, Any]]) -> Documents:
    return mongo_database["mirror"]


def documents(count: int) -> list[bytes]:
    return [bson.encode({"_id": f"/a/{number}", "text": "x" * number}) for number in range(count)]


async def insert(mongodb: MongoDB, given: list[bytes], session: Session | None = None) -> Outcome:
    session = session or await mongodb.new_session()
    return await write_command.insert(mongodb.collection("mirror"), given, session, numbered=True)


async def test_every_document_arrives_byte_for_byte(mongodb: MongoDB, stored: Documents) -> None:
    given = documents(300)
    outcome = await insert(mongodb, given)
    assert (outcome["nInserted"], outcome["writeErrors"]) == (300, [])
    found = stored.with_options(codec_options=bson.CodecOptions(document_class=RawBSONDocument)).find()
    assert sorted(bytes(one.raw) for one in found) == sorted(given)


async def test_what_is_refused_is_told_and_the_rest_is_inserted(mongodb: MongoDB, stored: Documents) -> None:
    await insert(mongodb, documents(2))
    with pytest.raises(BulkWriteError) as refused:
        await insert(mongodb, documents(4))
    assert refused.value.details["nInserted"] == 2
    assert [error["index"] for error in refused.value.details["writeErrors"]] == [0, 1]
    assert stored.count_documents({}) == 4


async def test_an_attempt_that_comes_after_a_later_one_does_nothing(mongodb: MongoDB, stored: Documents) -> None:
    """Nor what the later one was refused: under one number for both, MongoDB would do just that."""
    session = await mongodb.new_session()
    stored.insert_one({"_id": "/a/1"})
    before = next_number(session)
    with pytest.raises(BulkWriteError):
        await insert(mongodb, documents(2), session)
    with pytest.raises(BulkWriteError):
        await insert(mongodb, documents(2), session)
    stored.delete_many({})
    late = {"insert": "mirror", "documents": [{"_id": "/a/1"}], "txnNumber": Int64(before + 1)}
    with pytest.raises(OperationFailure) as overtaken:
        await mongodb.collection("mirror").database.command(late, session=session)
    assert overtaken.value.code == TRANSACTION_TOO_OLD
    assert stored.count_documents({}) == 0


async def test_a_server_that_understands_other_documents_than_were_sent_is_not_believed(mongodb: MongoDB) -> None:
    three = documents(3)
    with pytest.raises(SinkError, match="counts 3 inserted and 0 refused of 2 documents"):
        await insert(mongodb, [three[0], three[1] + three[2]])


async def test_what_too_few_have_confirmed_is_not_taken_for_written(mongodb: MongoDB) -> None:
    impatient = mongodb.collection("mirror").with_options(write_concern=WriteConcern(3, wtimeout=50))
    update = {"q": {"_id": 7}, "u": {"$set": {"x": 1}}, "upsert": True}
    session = await mongodb.new_session()
    with pytest.raises(BulkWriteError) as refused:
        await write_command.insert(impatient, documents(2), session, numbered=True)
    assert refused.value.details["writeConcernErrors"]
    with pytest.raises(BulkWriteError) as refused:
        await write_command.update(impatient, [update], session, numbered=True)
    assert refused.value.details["writeConcernErrors"]


async def test_updates_are_told_apart_by_what_became_of_them(mongodb: MongoDB, stored: Documents) -> None:
    stored.insert_many([{"_id": number, "x": number} for number in range(3)])
    stored.create_index("x", unique=True)
    changes = {0: 10, 1: 1, 7: 70, 2: 10}  # changed, the same, not there, refused
    updates = [{"q": {"_id": key}, "u": {"$set": {"x": x}}, "upsert": True} for key, x in changes.items()]
    session = await mongodb.new_session()
    with pytest.raises(BulkWriteError) as told:
        await write_command.update(mongodb.collection("mirror"), updates, session, numbered=True)
    outcome = told.value.details
    assert (outcome["nMatched"], outcome["nModified"], outcome["nUpserted"]) == (2, 1, 1)
    assert [error["index"] for error in outcome["writeErrors"]] == [3]


async def test_every_put_of_a_mixed_batch_is_settled_and_counted_once(mongo_uri: str, stored: Documents) -> None:
    puts = [
        *(Put(znode(f"/a/{number}", b"new", mzxid=101), ANY) for number in (0, 1)),  # replaced
        *(Put(znode(f"/a/{number}", b"old", mzxid=99), ANY) for number in (2, 3)),  # outdated
        *(Put(znode(f"/a/{number}", b"added"), ANY) for number in (6, 7, 8)),  # not there
        *(Put(znode(f"/a/{number}", b"added"), None) for number in (9, 10)),  # not there, and known not to be
        Put(znode("/a/4", b"new", mzxid=101), None),  # there, although it was seen not to be
    ]
    async with mirror(mongo_uri) as sink:
        await sink.apply([Put(znode(f"/a/{number}", mzxid=100), None) for number in range(5)])
        assert await sink.apply(puts) == Applied(inserted=5, updated=3, unchanged=2)
    values = {document["_id"]: document["value"] for document in stored.find()}
    assert values == {
        **dict.fromkeys(("/a/0", "/a/1", "/a/4"), "new"),
        **dict.fromkeys(("/a/2", "/a/3"), "text"),
        **{f"/a/{number}": "added" for number in range(6, 11)},
    }


async def test_documents_beyond_one_command_go_in_several(mongo_uri: str) -> None:
    sizes = [7 * MIB, 15 * MIB, 100, 16 * MIB - 1000, 7 * MIB + 1]
    async with mirror(mongo_uri) as sink:
        for mzxid, replaces, expected in ((100, None, Applied(inserted=5)), (101, ANY, Applied(updated=5))):
            puts = [Put(znode(f"/a/{size}", b"x" * size, mzxid=mzxid), replaces) for size in sizes]
            assert await sink.apply(puts) == expected
        assert len(await sink.held([f"/a/{size}" for size in sizes])) == 5


async def test_a_standalone_server_which_numbers_no_writes_is_filled_too(tmp_path: Path) -> None:
    with StandaloneMongo(tmp_path) as server:
        async with mirror(server.uri_for("alone")) as sink:
            for mzxid, expected in ((100, Applied(inserted=10)), (101, Applied(updated=10))):
                puts = [Put(znode(f"/a/{number}", mzxid=mzxid), None) for number in range(10)]
                assert await sink.apply(puts) == expected
        with pymongo.MongoClient[dict[str, Any]](server.uri) as client:
            assert client["alone"]["mirror"].count_documents({}) == 10
