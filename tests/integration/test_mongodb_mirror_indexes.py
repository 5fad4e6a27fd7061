"""The indexes of a mirror: compared with their options, made beside what is not ours, and never a reason to wait."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.database import Database

from hybridsync.model import Applied, Put
from hybridsync.mongodb import MongoDB
from hybridsync.sinks import mirror_indexes
from hybridsync.sinks.mongodb import MongoMirror
from hybridsync.sinks.znode_codec import ZnodeCodec
from tests.eventually import eventually
from tests.mirror_records import mirror, whole_index, znode
from tests.replica_set import Member, ReplicaSet
from tests.servers import StandaloneMongo

Stored = Database[dict[str, Any]]

NOT_OURS: dict[str, dict[str, Any]] = {
    "unique": {"unique": True},
    "partial": {"partialFilterExpression": {"name": "x"}},
    "sparse": {"sparse": True},
    "collated": {"collation": {"locale": "en", "strength": 2}},
}


def plain_on_parent(stored: Stored) -> list[str]:
    """Names of those that readers can use for every query by parent."""
    return [
        index["name"]
        for index in stored["mirror"].list_indexes()
        if list(index["key"].items()) == [("parent", 1)] and not index.keys() - {"v", "key", "name"}
    ]


@pytest.mark.parametrize("options", NOT_OURS.values(), ids=NOT_OURS.keys())
@pytest.mark.parametrize("name", ["parent_1", "theirs"])
async def test_an_index_with_options_is_not_ours_and_ours_is_made_beside_it(
    mongo_uri: str, mongo_database: Stored, options: dict[str, Any], name: str
) -> None:
    mongo_database["mirror"].create_index("parent", name=name, **options)
    async with mirror(mongo_uri) as sink:
        for _ in range(2):
            await sink.prepare()
    assert len(plain_on_parent(mongo_database)) == 1
    assert name in mongo_database["mirror"].index_information(), "theirs is left alone"


async def test_an_index_that_cannot_be_made_is_told_and_holds_nothing_up(
    mongo_uri: str, mongo_database: Stored, capsys: pytest.CaptureFixture[str]
) -> None:
    mongo_database["mirror"].create_index("parent", hidden=True)  # MongoDB makes no second one like it
    async with mirror(mongo_uri) as sink:
        await sink.prepare()
        assert await sink.apply([Put(znode("/a/x"))]) == Applied(inserted=1)
        logged = capsys.readouterr().out
        assert "an index of a mirror could not be made" in logged
        mongo_database["mirror"].drop_index("parent_1")
        await sink.prepare()
    assert plain_on_parent(mongo_database)


@pytest.mark.parametrize("again", ["drop", "drop_index"])
async def test_an_index_that_went_is_made_again(mongo_uri: str, mongo_database: Stored, again: str) -> None:
    async with mirror(mongo_uri) as sink:
        await sink.prepare()
        getattr(mongo_database["mirror"], again)(*(["parent_1"] if again == "drop_index" else []))
        await sink.prepare()
    assert plain_on_parent(mongo_database) == ["parent_1"]


async def test_a_standalone_server_knows_no_quorum_and_gets_its_index(tmp_path: Path) -> None:
    with StandaloneMongo(tmp_path) as server, pymongo.MongoClient[dict[str, Any]](server.uri) as client:
        async with mirror(server.uri_for("test")) as sink:
            await sink.prepare()
            assert await sink.identity() is not None
        assert plain_on_parent(client["test"]) == ["parent_1"]


async def test_a_build_that_takes_long_is_not_waited_for(
    mongo_uri: str, mongo_database: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_indexes, "WAIT_SECONDS", 0.05)
    built = asyncio.Event()
    mongodb = MongoDB(mongo_uri)
    send = mongodb.command
    builds = 0

    async def slow(command: Any, deadline: float | None = None) -> Any:
        nonlocal builds
        if "createIndexes" in command:
            builds += 1
            await built.wait()
        return await send(command, deadline)

    monkeypatch.setattr(mongodb, "command", slow)
    sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"))
    for _ in range(3):
        await sink.prepare()
    assert await sink.apply([Put(znode("/a/x"))]) == Applied(inserted=1)
    assert builds == 1
    built.set()
    await eventually(lambda: plain_on_parent(mongo_database))
    await mongodb.close()


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with ReplicaSet(tmp_path_factory.mktemp("replica-set")) as three:
        yield three


async def test_members_that_are_down_are_not_waited_for(members: ReplicaSet) -> None:
    await asyncio.to_thread(members.secondaries()[0].stop)
    database = f"t_{uuid.uuid4().hex[:8]}"
    try:
        async with mirror(members.uri(database)) as sink:
            await sink.apply([Put(znode(f"/a/{number}"), None) for number in range(2000)])
            await sink.prepare()
            with pymongo.MongoClient[dict[str, Any]](members.uri(database)) as client:
                await eventually(lambda: plain_on_parent(client[database]) == ["parent_1"])
                await eventually(lambda: not _builds(client), what="no build is left waiting")
            assert len(await whole_index(sink)) == 2000
    finally:
        await asyncio.to_thread(members.make_whole)


async def test_after_an_election_the_mirror_is_still_the_same(members: ReplicaSet) -> None:
    async with mirror(members.uri(f"t_{uuid.uuid4().hex[:8]}")) as sink:
        await sink.prepare()
        before = await sink.identity()
        primary = await asyncio.to_thread(members.wait_primary)
        await asyncio.to_thread(Member.kill, primary)
        try:
            rest = [one for one in members.members if one is not primary]
            await asyncio.to_thread(members.wait_primary, rest)
            await sink.prepare()
            assert (await sink.identity(), sink.generation) == (before, 0)
        finally:
            await asyncio.to_thread(members.make_whole)


def _builds(client: pymongo.MongoClient[dict[str, Any]]) -> list[Any]:
    found = client.admin.aggregate([{"$currentOp": {}}, {"$match": {"command.createIndexes": {"$exists": True}}}])
    return list(found)
