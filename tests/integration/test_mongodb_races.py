"""Several writers at once, and writes that arrive long after they were given up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from bson.int64 import Int64
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

from hybridsync.embedded import MongoServer
from hybridsync.errors import SinkError, SinkUnavailable
from hybridsync.model import ANY, Applied, Put, Remove
from hybridsync.mongodb import MongoDB, Session
from hybridsync.sinks.mongodb import MongoMirror
from hybridsync.sinks.write_lanes import WriteLanes
from tests.eventually import eventually
from tests.mirror_records import mirror, whole_index, znode
from tests.proxy import TcpProxy

TRANSACTION_TOO_OLD = 225
KEYS = [f"/a/{number}" for number in range(40)]


@pytest.mark.parametrize("seed", range(5))
async def test_the_newest_state_wins_whoever_writes_it_and_when(mongo_uri: str, seed: int) -> None:
    rng = random.Random(seed)

    async def write(sink: MongoMirror) -> Applied:
        total = Applied()
        versions = list(range(1, 16))
        rng.shuffle(versions)
        for mzxid in versions:
            puts = [Put(znode(key, b"%d" % mzxid, mzxid=mzxid), rng.choice([None, ANY])) for key in KEYS]
            rng.shuffle(puts)
            total.add(await sink.apply(puts))
        return total

    async with mirror(mongo_uri) as one, mirror(mongo_uri) as other:
        for sink in (one, other):  # a write that is fenced when half of it is done counts that half as unchanged
            await sink.prepare()
        totals = await asyncio.gather(write(one), write(one), write(other), write(other))
        assert sum(total.inserted for total in totals) == len(KEYS)
        assert all(total.inserted + total.updated + total.unchanged == 15 * len(KEYS) for total in totals)
        assert await one.differing([znode(key, b"15", mzxid=15) for key in KEYS]) == []


async def test_four_calls_at_once_write_all_their_records(mongo_uri: str) -> None:
    records = [znode(f"/a/{number}") for number in range(8000)]
    async with mirror(mongo_uri) as sink:
        pieces = [[Put(record, None) for record in records[start::4]] for start in range(4)]
        applied = await asyncio.gather(*(sink.apply(piece) for piece in pieces))
        assert [one.inserted for one in applied] == [2000] * 4
        assert len(await whole_index(sink)) == 8000


async def test_a_write_given_up_by_its_caller_is_over_before_the_next_one(
    mongo_uri: str, mongo_database: Database[dict[str, Any]]
) -> None:
    async with mirror(mongo_uri) as sink:
        for number in range(20):
            task = asyncio.create_task(sink.apply([Put(znode("/a/x", mzxid=10 * number + 10), ANY)]))
            await asyncio.sleep(0.0005 * number)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await sink.apply([Remove("/a/x", as_of=10 * number + 15)])
            assert mongo_database["mirror"].count_documents({}) == 0


async def test_a_write_that_was_stuck_on_its_way_brings_nothing_back(
    own_mongodb: MongoServer, proxy_factory: Callable[[str, int], TcpProxy]
) -> None:
    host, port = own_mongodb.address.split(":")
    proxy = proxy_factory(host, int(port))
    uri = f"mongodb://{proxy.address}/test?directConnection=true"
    async with mirror(uri, operation_seconds=1.0, retry_seconds=3.0) as sink:
        await sink.apply([Put(znode("/a"))])
        proxy.stall("to_server")
        with pytest.raises(SinkUnavailable):
            await sink.apply([Put(znode("/a/x", mzxid=100), None)])
        proxy.resume()
        removed = [Remove("/a/x", as_of=150)]

        async def applied() -> bool:
            try:
                await sink.apply(removed)
            except SinkUnavailable:
                return False
            return True

        await eventually(applied)
        assert await whole_index(sink) == {"/a": znode("/a").version}


async def test_after_a_fence_the_server_takes_no_earlier_write_of_the_lane(mongo_uri: str) -> None:
    mongodb = MongoDB(mongo_uri)
    stored = mongodb.collection("mirror")
    try:
        lanes = WriteLanes(mongodb, stored)
        sessions: list[Session] = []

        async def written(session: Session) -> None:
            await stored.insert_one({"_id": "/a/x"}, session=session)

        async def given_up(session: Session) -> None:
            sessions.append(session)
            raise PyMongoError("gone on its way")

        await lanes.write(written)
        with pytest.raises(SinkError):
            await lanes.write(given_up)
        await lanes.settle()
        # What the driver numbered is 1 for the insert and 2 for the fence; the late write comes with 1 again.
        late = {"insert": "mirror", "documents": [{"_id": "/a/late"}], "txnNumber": Int64(1)}
        with pytest.raises(OperationFailure) as refused:
            await stored.database.command(late, session=sessions[0])
        assert refused.value.code == TRANSACTION_TOO_OLD
        assert await stored.count_documents({}) == 1
    finally:
        await mongodb.close()
