"""Lanes are registered, and those of others are fenced: no late write of a dead instance, no harm to a live one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pymongo
import pytest
from bson.binary import Binary
from bson.int64 import Int64
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

from hybridsync.errors import SinkError
from hybridsync.model import ANY, Applied, Put
from hybridsync.mongodb import MongoDB, Session
from hybridsync.mongodb_sessions import id_of
from hybridsync.sinks import write_lanes
from hybridsync.sinks.lane_registry import TRANSACTION_TOO_OLD
from hybridsync.sinks.write_lanes import WriteLanes
from tests.mirror_records import mirror, znode
from tests.servers import StandaloneMongo

Stored = Database[dict[str, Any]]


class Instance:
    """One process that writes to the collection `mirror`, without a process."""

    def __init__(self, uri: str) -> None:
        self.mongodb = MongoDB(uri)
        self.collection = self.mongodb.collection("mirror")
        self.lanes = WriteLanes(self.mongodb, self.collection)
        self.sessions: list[Session] = []

    async def insert(self, key: str) -> None:
        """One write in a lane; `sessions` has the session of each attempt."""

        async def inserted(session: Session) -> None:
            self.sessions.append(session)
            await self.collection.insert_one({"_id": key}, session=session)

        await self.lanes.settle()
        await self.lanes.write(inserted)

    async def insert_late(self, key: str, number: int = 1) -> None:
        """What a write of the last session does that was sent with that number and arrives only now."""
        late = {"insert": "mirror", "documents": [{"_id": key}], "txnNumber": Int64(number)}
        await self.collection.database.command(late, session=self.sessions[-1])


@pytest.fixture
async def instances(mongo_uri: str) -> AsyncIterator[list[Instance]]:
    several = [Instance(mongo_uri) for _ in range(3)]
    yield several
    for one in several:
        await one.mongodb.close()


def registered(database: Stored) -> set[Binary]:
    return {Binary(each["_id"], 4) for each in database["sync_lanes"].find()}


def keys(database: Stored) -> set[str]:
    return {each["_id"] for each in database["mirror"].find()}


async def test_a_lane_is_registered_before_its_first_write(mongo_database: Stored, instances: list[Instance]) -> None:
    one = instances[0]
    seen: list[dict[str, Any] | None] = []

    async def look(session: Session) -> None:
        seen.append(mongo_database["sync_lanes"].find_one({"_id": id_of(session)}))

    await one.lanes.write(look)
    await one.lanes.write(look)
    assert seen[0] is not None
    assert (seen[0]["collection"], set(seen[0])) == ("mirror", {"_id", "collection", "instance", "since"})
    assert abs(datetime.now(UTC) - seen[0]["since"].replace(tzinfo=UTC)) < timedelta(minutes=5)
    assert seen[1] == seen[0]


async def test_what_a_dead_instance_had_on_its_way_is_refused(
    mongo_database: Stored, instances: list[Instance]
) -> None:
    dead, successor, _ = instances
    await dead.insert("before")
    await successor.lanes.fence_others()
    assert registered(mongo_database) == set()
    for number in (1, 2, 1_000_000):
        with pytest.raises(OperationFailure) as refused:
            await dead.insert_late("late", number)
        assert refused.value.code == TRANSACTION_TOO_OLD
    assert keys(mongo_database) == {"before"}


async def test_the_first_write_of_a_process_fences_too(mongo_database: Stored, instances: list[Instance]) -> None:
    dead, successor, _ = instances
    await dead.insert("before")
    await successor.insert("after")
    with pytest.raises(OperationFailure):
        await dead.insert_late("late")
    assert registered(mongo_database) == {id_of(successor.sessions[0])}


async def test_a_fence_is_replicated(mongo_database: Stored, instances: list[Instance]) -> None:
    dead, successor, _ = instances
    await dead.insert("before")
    await successor.lanes.fence_others()
    numbers = mongo_database.client["config"]["transactions"]
    found = numbers.find_one({"_id.id": id_of(dead.sessions[0])})
    assert found is not None
    assert found["txnNum"] > 1 << 62


async def test_a_lane_is_fenced_by_many_at_once(mongo_database: Stored, instances: list[Instance]) -> None:
    dead, *successors = instances
    await dead.insert("before")
    await asyncio.gather(*(one.lanes.fence_others() for one in successors for _ in range(4)))
    with pytest.raises(OperationFailure) as refused:
        await dead.insert_late("late")
    assert refused.value.code == TRANSACTION_TOO_OLD
    assert registered(mongo_database) == set()


async def test_a_live_instance_that_is_fenced_writes_in_another_lane(
    mongo_database: Stored, instances: list[Instance]
) -> None:
    live, other, _ = instances
    await asyncio.gather(*(live.insert(f"{number}") for number in range(4)))
    await other.lanes.fence_others()
    live.sessions.clear()
    await live.insert("again")
    refused, taken = live.sessions
    assert refused is not taken
    assert "again" in keys(mongo_database)
    assert registered(mongo_database) == {id_of(taken)}


async def test_two_that_fence_each_other_lose_nothing(mongo_database: Stored, instances: list[Instance]) -> None:
    one, other, _ = instances

    async def work(instance: Instance, name: str) -> None:
        for number in range(30):
            await asyncio.gather(instance.insert(f"{name}{number}"), instance.insert(f"{name}{number}b"))
            if number % 5 == 0:
                await instance.lanes.fence_others()

    await asyncio.gather(work(one, "x"), work(other, "y"))
    assert len(keys(mongo_database)) == 120


async def test_a_process_does_not_fence_itself(mongo_database: Stored, instances: list[Instance]) -> None:
    one = instances[0]
    await one.insert("a")
    await one.lanes.fence_others()
    await one.insert("b")
    assert one.sessions[0] is one.sessions[1]
    assert registered(mongo_database) == {id_of(one.sessions[0])}


async def test_a_lane_of_another_mirror_is_left_alone(mongo_database: Stored, instances: list[Instance]) -> None:
    one, other, _ = instances
    other.lanes = WriteLanes(other.mongodb, other.mongodb.collection("another"))
    await other.insert("a")
    await one.lanes.fence_others()
    await other.insert("b")
    assert other.sessions[0] is other.sessions[1]
    assert registered(mongo_database) == {id_of(other.sessions[0])}


async def test_a_clean_end_takes_the_registration_back(mongo_database: Stored, instances: list[Instance]) -> None:
    one = instances[0]
    await one.insert("a")
    await one.lanes.close()
    await one.lanes.close()
    assert registered(mongo_database) == set()


async def test_a_lane_in_doubt_stays_registered_at_the_end(mongo_database: Stored, instances: list[Instance]) -> None:
    one, successor, _ = instances

    async def given_up(session: Session) -> None:
        one.sessions.append(session)
        raise PyMongoError("gone on its way")

    with pytest.raises(SinkError):
        await one.lanes.write(given_up)
    await one.lanes.close()
    assert registered(mongo_database) == {id_of(one.sessions[0])}
    await successor.lanes.fence_others()
    with pytest.raises(OperationFailure) as refused:
        await one.insert_late("late")
    assert refused.value.code == TRANSACTION_TOO_OLD


async def test_a_lane_whose_registration_is_gone_is_not_used_again(
    mongo_database: Stored, instances: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_lanes, "RENEW_SECONDS", 0.0)
    one = instances[0]
    await one.insert("a")
    await one.insert("b")
    assert one.sessions[0] is one.sessions[1]
    mongo_database["sync_lanes"].delete_many({})
    await one.insert("c")
    assert one.sessions[2] is not one.sessions[1]
    assert registered(mongo_database) == {id_of(one.sessions[2])}


async def test_old_registrations_of_any_mirror_and_what_is_none_go(
    mongo_database: Stored, instances: list[Instance]
) -> None:
    now = datetime.now(UTC)
    fresh, old, unfenced = (Binary.from_uuid(uuid.uuid4()) for _ in range(3))
    mongo_database["sync_lanes"].insert_many(
        [
            {"_id": fresh, "collection": "another", "instance": "x", "since": now - timedelta(minutes=20)},
            {"_id": old, "collection": "another", "instance": "x", "since": now - timedelta(hours=2)},
            {"_id": unfenced, "collection": "mirror", "instance": "x", "since": now + timedelta(hours=2)},
            {"_id": "somebody's", "collection": "mirror"},
            {"_id": b"short", "collection": "mirror"},
        ]
    )
    await instances[0].lanes.fence_others()
    assert [each["_id"] for each in mongo_database["sync_lanes"].find()] == [fresh]


async def test_nothing_is_registered_where_writes_have_no_numbers(tmp_path: Path) -> None:
    with StandaloneMongo(tmp_path) as server, pymongo.MongoClient[dict[str, Any]](server.uri) as client:
        one = Instance(server.uri_for("test"))
        try:
            await one.insert("a")
            await one.lanes.close()
        finally:
            await one.mongodb.close()
        assert keys(client["test"]) == {"a"}
        assert "sync_lanes" not in client["test"].list_collection_names()


async def test_what_was_given_up_is_fenced_before_the_mirror_is_compared(
    mongo_uri: str, mongo_database: Stored
) -> None:
    given_up: list[Session] = []

    async def never_answered(session: Session) -> None:
        given_up.append(session)
        raise SinkError("gave up")

    async with mirror(mongo_uri) as sink:
        with pytest.raises(SinkError, match="gave up"):
            await sink._lanes.write(never_answered)
        await sink.prepare()  # what a full sync does before it reads the index
        late = {"insert": "mirror", "documents": [{"_id": "/a/late"}], "txnNumber": Int64(1)}
        with pytest.raises(OperationFailure) as fenced:
            await sink._collection.database.command(late, session=given_up[0])
    assert fenced.value.code == TRANSACTION_TOO_OLD
    assert keys(mongo_database) == set()


@pytest.mark.parametrize("replaces", [None, ANY, znode("/a/x", mzxid=99).version, znode("/a/x", mzxid=200).version])
async def test_every_put_has_a_number_also_where_a_guard_would_do(
    mongo_uri: str, mongo_database: Stored, replaces: int | None
) -> None:
    """A replacement that comes late, between the index and the sweep of a successor, would be missed by the sweep."""

    def numbers() -> dict[bytes, int]:
        return {one["_id"]["id"]: one["txnNum"] for one in mongo_database.client["config"]["transactions"].find()}

    async with mirror(mongo_uri) as sink:
        await sink.apply([Put(znode("/a/x", mzxid=99), None)])
        before = numbers()
        assert await sink.apply([Put(znode("/a/x", mzxid=100), replaces)]) == Applied(updated=1)
    assert numbers() != before
