"""Values in a real MongoDB: what is stored comes back, and no document stops its neighbours."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.database import Database

from hybridsync.embedded import MongoServer
from hybridsync.model import ANY, Applied, Put
from hybridsync.sinks.mirror_writes import nothing_but_refused, prepare_puts, settle_puts
from hybridsync.sinks.mongodb import MongoMirror
from hybridsync.sinks.znode_codec import ZnodeCodec
from tests.mirror_records import mirror, znode

MIB = 1 << 20

HOSTILE = [
    b"",
    b'{"$set": {"a.b": 1, "": {"$": [2]}}, "_id": 7}',
    b'{"$ref": "a", "$id": 1}',
    b'{"a": 1, "a": 2}',
    b'{"z": 1, "10": 2, "9": 3}',
    b"[9223372036854775807, 9223372036854775808]",
    b"[9223372036854775807]",
    b"[NaN]",
    b"[1e400, 0.1]",
    b"[0.12345678901234567890]",
    b'{"a\\u0000": 1}',
    b'["\\ud800"]',
    b"[" * 99 + b"]" * 99,
    b"[" * 100 + b"]" * 100,
    b'{"a":' * 99 + b"1" + b"}" * 99,
    b"[" * 5000,
    b"\xef\xbb\xbf{}",
    b"a\0b",
    b"\xff\x00\xfe",
    "ü😀".encode(),
    b"x" * MIB,
    b"\xff" * MIB,
    b"[" + b"1," * (MIB // 2 - 1) + b"1]",
]


def bytes_or_json(document: dict[str, Any]) -> object:
    match document["encoding"]:
        case "utf8":
            return document["value"].encode()
        case "empty":
            return b""
        case _:
            return document["value"]


@pytest.mark.parametrize("replaces", [None, ANY])
async def test_hostile_values_are_stored_and_come_back(
    mongo_uri: str, mongo_database: Database[dict[str, Any]], replaces: int | None
) -> None:
    records = [znode(f"/a/{number}", value) for number, value in enumerate(HOSTILE)]
    async with mirror(mongo_uri) as sink:
        assert await sink.apply([Put(record, replaces) for record in records]) == Applied(inserted=len(records))
        assert await sink.differing(records) == []
    for record in records:
        document = mongo_database["mirror"].find_one({"_id": record.key})
        assert document is not None
        expected = json.loads(record.value) if document["encoding"] == "json" else record.value
        assert bytes_or_json(document) == expected


async def test_a_document_that_a_validator_refuses_is_not_slipped_past_it_in_another_encoding(
    mongo_uri: str, mongo_database: Database[dict[str, Any]]
) -> None:
    mongo_database.create_collection("mirror", validator={"value.forbidden": {"$exists": False}})
    records = [znode(f"/a/{number}", b'{"a": 1}') for number in range(1000)]
    records[617] = znode("/a/617", b'{"forbidden": 1}')
    async with mirror(mongo_uri) as sink:
        for replaces, counts in ((None, Applied(inserted=999)), (ANY, Applied(updated=999))):
            applied = await sink.apply([Put(record, replaces) for record in records])
            assert list(applied.failed) == ["/a/617"]
            applied.failed.clear()
            assert applied == counts
        assert await sink.differing(records) == ["/a/617"]
    assert mongo_database["mirror"].find_one({"_id": "/a/617"}) is None


@pytest.mark.parametrize(("code", "stored"), [(15, True), (22, True), (121, False), (11000, False)])
def test_what_a_server_cannot_hold_is_tried_in_a_plainer_encoding_and_what_a_rule_forbids_is_not(
    code: int, stored: bool
) -> None:
    codec = ZnodeCodec("/a")
    pending = prepare_puts(codec, [Put(znode("/a/1", b'{"a": 1}'), ANY)], 1000, 0).pending
    error = {"index": 0, "code": code, "errmsg": "no", "keyPattern": {"value": 1}}
    outcome = {**nothing_but_refused("no"), "writeErrors": [error]}
    applied, again = settle_puts(codec, pending, outcome, 0)
    assert ([one.put.key for one in again], list(applied.failed)) == ((["/a/1"], []) if stored else ([], ["/a/1"]))


async def test_a_document_that_no_encoding_helps_fails_alone_and_says_why(
    mongo_uri: str, mongo_database: Database[dict[str, Any]]
) -> None:
    mongo_database.create_collection("mirror", validator={"name": {"$ne": "bad"}})
    puts = [Put(znode(f"/a/{number}"), None) for number in range(999)] + [Put(znode("/a/bad", b"[1]"), None)]
    async with mirror(mongo_uri) as sink:
        applied = await sink.apply(puts)
    assert applied == Applied(
        inserted=999, failed={"/a/bad": "MongoDB refused the document: Document failed validation (code 121)"}
    )


async def test_a_unique_index_of_somebody_else_fails_the_document_it_hits(
    mongo_uri: str, mongo_database: Database[dict[str, Any]]
) -> None:
    mongo_database["mirror"].create_index("name", unique=True)
    async with mirror(mongo_uri) as sink:
        await sink.apply([Put(znode("/a/x/same"))])
        applied = await sink.apply([Put(znode("/a/y/same")), Put(znode("/a/z"))])
    assert applied.inserted == 1
    assert list(applied.failed) == ["/a/y/same"]
    assert "\n" not in applied.failed["/a/y/same"]


async def test_a_value_beyond_a_document_fails_alone(mongo_uri: str) -> None:
    async with mirror(mongo_uri) as sink:
        applied = await sink.apply([Put(znode("/a/big", b"x" * (16 * MIB)), None), Put(znode("/a/x"), None)])
    reason = "a value of 16777216 bytes does not fit into a MongoDB document of 16 MiB"
    assert applied == Applied(inserted=1, failed={"/a/big": reason})


async def test_a_server_that_refuses_a_whole_batch_for_one_document_gets_the_rest(tmp_path: Path) -> None:
    class ShallowMongo(MongoServer):
        """Takes no more than 32 levels, and refuses the whole request otherwise."""

        def _command(self) -> list[str]:
            return [*super()._command(), "--setParameter", "maxBSONDepth=32"]

    deep = b"[" * 60 + b"]" * 60
    with ShallowMongo(tmp_path) as server:
        puts = [Put(znode(f"/a/{number}", deep if number in (3, 77) else b"[1]"), None) for number in range(100)]
        async with mirror(server.uri_for("shallow")) as sink:
            applied = await sink.apply(puts)
        assert applied.failed == {}
        assert applied.inserted + applied.unchanged == 100
        with pymongo.MongoClient[dict[str, Any]](server.uri) as client:
            plain = client["shallow"]["mirror"].find({"encoding": "utf8"}).sort("_id")
            assert [document["_id"] for document in plain] == ["/a/3", "/a/77"]
            assert client["shallow"]["mirror"].count_documents({}) == 100


async def test_large_values_do_not_hold_up_the_event_loop(mongo_uri: str) -> None:
    value = b"{" + b",".join(b'"%d":[1,2.5,"x"]' % number for number in range(50_000)) + b"}"
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.002)
            gaps.append(time.perf_counter() - before)

    async with mirror(mongo_uri) as sink:
        ticker = asyncio.create_task(tick())
        started = time.perf_counter()
        await sink.apply([Put(znode(f"/a/{number}", value), None) for number in range(8)])
        elapsed = time.perf_counter() - started
        ticker.cancel()
    # eight values are encoded one after the other: a loop that is held up turns once a value or less often
    assert len(gaps) > 40, f"{len(gaps)} turns in {elapsed:.2f} s, the longest {max(gaps):.2f} s"


async def test_fetching_for_comparison_finds_what_is_missing_or_touched(
    mongo_uri: str, mongo_database: Database[dict[str, Any]]
) -> None:
    records = [znode(f"/a/{number}", b'{"a": 1}') for number in range(6)]
    async with mirror(mongo_uri) as sink:
        await sink.apply([Put(record) for record in records])
        stored = mongo_database["mirror"]
        stored.delete_one({"_id": "/a/0"})
        stored.update_one({"_id": "/a/1"}, {"$set": {"value.a": 2}})
        stored.update_one({"_id": "/a/2"}, {"$set": {"stat.version": 9}})
        stored.update_one({"_id": "/a/3"}, {"$set": {"note": "mine"}})
        stored.update_one({"_id": "/a/4"}, {"$set": {"value": '{"a": 1}', "encoding": "utf8"}})
        assert sorted(await sink.differing(records)) == ["/a/0", "/a/1", "/a/2", "/a/3"]
        await _repair(sink, records)
        assert await sink.differing(records) == []


async def _repair(sink: MongoMirror, records: list[Any]) -> None:
    await sink.apply([Put(record, record.version) for record in records])
