"""Inserts as a command of our own: every byte arrives, once, and what is refused is told document by document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import bson
import pymongo
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from hybridsync.errors import SinkError
from hybridsync.model import Applied, Put
from hybridsync.mongodb import MongoDB
from hybridsync.sinks.insert_command import InsertCommand
from tests.mirror_records import mirror, znode
from tests.servers import StandaloneMongo

MIB = 1 << 20
Stored = Database[dict[str, Any]]


@pytest.fixture
async def mongodb(mongo_uri: str) -> AsyncIterator[MongoDB]:
    one = MongoDB(mongo_uri)
    yield one
    await one.close()


def documents(count: int) -> list[bytes]:
    return [bson.encode({"_id": f"/a/{number}", "text": "x" * number}) for number in range(count)]


def insert(mongodb: MongoDB, given: list[bytes]) -> InsertCommand:
    return InsertCommand(mongodb.collection("mirror"), given, numbered=True)


async def test_every_document_arrives_byte_for_byte(mongodb: MongoDB, mongo_database: Stored) -> None:
    given = documents(300)
    outcome = await insert(mongodb, given)(await mongodb.new_session())
    assert (outcome["nInserted"], outcome["writeErrors"]) == (300, [])
    options = bson.CodecOptions(document_class=RawBSONDocument)
    stored = mongo_database["mirror"].with_options(codec_options=options).find().sort("_id")
    assert sorted(bytes(one.raw) for one in stored) == sorted(given)


async def test_what_an_attempt_did_whose_answer_was_lost_is_not_done_again(
    mongodb: MongoDB, mongo_database: Stored
) -> None:
    command = insert(mongodb, documents(5))
    session = await mongodb.new_session()
    await command(session)  # nobody hears the answer
    mongo_database["mirror"].delete_one({"_id": "/a/3"})
    outcome = await command(session)
    assert (outcome["nInserted"], outcome["writeErrors"]) == (5, [])
    assert mongo_database["mirror"].count_documents({}) == 4, "the second attempt wrote"


async def test_in_another_session_it_is_another_write(mongodb: MongoDB, mongo_database: Stored) -> None:
    command = insert(mongodb, documents(5))
    await command(await mongodb.new_session())
    mongo_database["mirror"].delete_one({"_id": "/a/3"})
    with pytest.raises(BulkWriteError) as refused:
        await command(await mongodb.new_session())
    assert refused.value.details["nInserted"] == 1
    assert [error["index"] for error in refused.value.details["writeErrors"]] == [0, 1, 2, 4]


async def test_each_write_of_a_session_has_a_number_of_its_own(mongodb: MongoDB, mongo_database: Stored) -> None:
    session = await mongodb.new_session()
    for document in documents(3):
        await insert(mongodb, [document])(session)
    assert mongo_database["mirror"].count_documents({}) == 3


async def test_a_server_that_understands_fewer_documents_than_were_sent_is_not_believed(mongodb: MongoDB) -> None:
    three = documents(3)
    with pytest.raises(SinkError, match="counts 3 inserted and 0 refused of 2 documents"):
        await insert(mongodb, [three[0], three[1] + three[2]])(await mongodb.new_session())


async def test_what_a_majority_has_not_confirmed_is_not_taken_for_written(mongo_uri: str) -> None:
    impatient = MongoDB(f"{mongo_uri}{'&' if '?' in mongo_uri else '?'}w=3&wtimeoutMS=50")
    with pytest.raises(BulkWriteError) as refused:
        await insert(impatient, documents(2))(await impatient.new_session())
    assert refused.value.details["writeConcernErrors"]
    await impatient.close()


async def test_a_batch_beyond_one_message_is_sent_in_parts(mongo_uri: str) -> None:
    sizes = [7 * MIB, 15 * MIB, 100]
    async with mirror(mongo_uri) as sink:
        applied = await sink.apply([Put(znode(f"/a/{size}", b"x" * size), None) for size in sizes])
        assert applied == Applied(inserted=3)
        assert set(await sink.held([f"/a/{size}" for size in sizes])) == {f"/a/{size}" for size in sizes}


async def test_a_standalone_server_which_numbers_no_writes_is_filled_too(tmp_path: Path) -> None:
    with StandaloneMongo(tmp_path) as server:
        async with mirror(server.uri_for("alone")) as sink:
            assert await sink.apply([Put(znode(f"/a/{number}"), None) for number in range(10)]) == Applied(inserted=10)
        with pymongo.MongoClient[dict[str, Any]](server.uri) as client:
            assert client["alone"]["mirror"].count_documents({}) == 10
