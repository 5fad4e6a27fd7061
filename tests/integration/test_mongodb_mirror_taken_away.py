"""The collection of a mirror is dropped, renamed, made anew or into what cannot hold one: it is noticed, and named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pymongo
import pytest
from pymongo.database import Database
from pymongo.monitoring import CommandListener

from hybridsync.errors import SinkError, SinkUnavailable
from hybridsync.model import ANY, Applied, Put
from hybridsync.mongodb import MongoDB
from hybridsync.sinks import mirror_watch
from hybridsync.sinks.mirror_watch import MirrorWatch
from hybridsync.sinks.mongodb import MongoMirror
from hybridsync.sinks.znode_codec import ZnodeCodec
from tests.eventually import eventually
from tests.mirror_records import whole_index, znode

Stored = Database[dict[str, Any]]
Act = Callable[[Stored], object]


class Watched:
    """A mirror, and what looks after it."""

    def __init__(self, mongodb: MongoDB) -> None:
        self.mongodb = mongodb
        self.watch = MirrorWatch(mongodb)
        self.sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"), self.watch)

    async def look(self) -> int:
        """One turn of the loop; returns the generation."""
        await self.watch.look_once()
        return self.sink.generation

    async def full_sync(self) -> Applied:
        """What a first full sync does at the sink."""
        await self.sink.prepare()
        assert await whole_index(self.sink) == {}
        return await self.sink.apply([Put(znode("/a")), Put(znode("/a/x"))])


@pytest.fixture
async def watched(mongo_uri: str) -> AsyncIterator[Watched]:
    mongodb = MongoDB(mongo_uri)
    yield Watched(mongodb)
    await mongodb.close()


def made_anew(stored: Stored) -> None:
    stored["mirror"].drop()
    stored["mirror"].insert_one({"_id": "/a"})


def made_capped(stored: Stored) -> None:
    stored.command("convertToCapped", "mirror", size=4096)


def put_back_from_a_copy(stored: Stored) -> None:
    stored["mirror"].aggregate([{"$out": "copy"}])
    stored["copy"].rename("mirror", dropTarget=True)


def made_a_view(stored: Stored) -> None:
    stored["mirror"].drop()
    stored.create_collection("mirror", viewOn="other", pipeline=[])


def made_a_time_series(stored: Stored) -> None:
    stored["mirror"].drop()
    stored.create_collection("mirror", timeseries={"timeField": "at"})


def made_with_a_collation(stored: Stored) -> None:
    stored["mirror"].drop()
    stored.create_collection("mirror", collation={"locale": "en", "strength": 2})


def made_to_expire(stored: Stored) -> None:
    stored["mirror"].create_index("syncedAt", expireAfterSeconds=1)


TAKEN_AWAY = {
    "dropped": lambda stored: stored["mirror"].drop(),
    "renamed": lambda stored: stored["mirror"].rename("elsewhere"),
    "database dropped": lambda stored: stored.client.drop_database(stored.name),
    "made anew": made_anew,
    "put back from a copy": put_back_from_a_copy,
}

UNFIT = {
    "capped": (made_capped, "is capped"),
    "a view": (made_a_view, "is a view"),
    "a time series": (made_a_time_series, "is a time series"),
    "a collation": (made_with_a_collation, r"by a collation \(en\)"),
    "expiring": (made_to_expire, r"an index that deletes documents \(syncedAt_1\)"),
}


@pytest.mark.parametrize("act", TAKEN_AWAY.values(), ids=TAKEN_AWAY.keys())
async def test_a_mirror_that_was_taken_away_is_a_loss_once(watched: Watched, mongo_database: Stored, act: Act) -> None:
    await watched.full_sync()
    assert await watched.look() == 0
    act(mongo_database)
    assert await watched.look() == 1
    await watched.sink.prepare()
    held = await whole_index(watched.sink)
    await watched.sink.apply([Put(znode("/a"), ANY), Put(znode("/a/x"), ANY)])
    assert held.keys() <= {"/a", "/a/x"}
    assert [await watched.look() for _ in range(3)] == [1, 1, 1], "what was made good is no loss again"


@pytest.mark.parametrize("act", TAKEN_AWAY.values(), ids=TAKEN_AWAY.keys())
async def test_a_write_that_makes_it_anew_before_anybody_looked_hides_nothing(
    watched: Watched, mongo_database: Stored, act: Act
) -> None:
    await watched.full_sync()
    act(mongo_database)
    await watched.sink.apply([Put(znode("/a/y"), ANY)])
    assert await watched.look() == 1


@pytest.mark.parametrize("act", TAKEN_AWAY.values(), ids=TAKEN_AWAY.keys())
async def test_a_full_sync_notices_it_too(watched: Watched, mongo_database: Stored, act: Act) -> None:
    await watched.full_sync()
    act(mongo_database)
    await watched.sink.prepare()
    assert watched.sink.generation == 1, "what was written since it went is not in this sync's index"
    assert await watched.look() == 1


async def test_a_first_full_sync_is_no_loss_whoever_looks_meanwhile(watched: Watched, mongo_database: Stored) -> None:
    looking = True

    async def look() -> None:
        while looking:
            await watched.look()

    others = [asyncio.create_task(look()) for _ in range(3)]
    for _ in range(5):
        await watched.full_sync()
        assert watched.sink.generation == 0
        looking = False
        await asyncio.gather(*others)
        mongo_database["mirror"].drop()  # with nobody looking, and forgotten: the next one begins as new
        looking = True
        watched = Watched(watched.mongodb)
        others = [asyncio.create_task(look()) for _ in range(3)]
    looking = False
    await asyncio.gather(*others)


async def test_a_collection_that_the_first_write_makes_is_no_loss(watched: Watched) -> None:
    assert await watched.look() == 0
    await watched.sink.apply([Put(znode("/a/x"))])
    assert [await watched.look() for _ in range(2)] == [0, 0]


async def test_an_answer_that_was_overtaken_counts_for_nothing(watched: Watched) -> None:
    mirror = watched.watch.register("mirror")
    there = mirror_watch.Collected("one", None)
    mirror.take(2, there)
    mirror.take(1, None)
    assert (mirror.generation, mirror.known) == (0, there)
    mirror.take(3, None)
    assert (mirror.generation, mirror.known) == (1, None)


@pytest.mark.parametrize(("act", "why"), UNFIT.values(), ids=UNFIT.keys())
async def test_what_cannot_hold_a_mirror_is_named(watched: Watched, mongo_database: Stored, act: Act, why: str) -> None:
    await watched.full_sync()
    act(mongo_database)
    await eventually(_at_least(watched, 1))
    for _ in range(2):
        with pytest.raises(SinkError, match=rf"^MongoDB collection mirror at [^\n]* this one [^\n]*{why}") as refused:
            await watched.sink.prepare()
        assert not isinstance(refused.value, SinkUnavailable)
    generation = watched.sink.generation
    assert [await watched.look() for _ in range(2)] == [generation] * 2, "it is told once"

    mongo_database["mirror"].drop()
    await watched.full_sync()


async def test_when_only_the_index_goes_that_deletes_documents_all_is_well_again(
    watched: Watched, mongo_database: Stored
) -> None:
    await watched.full_sync()
    made_to_expire(mongo_database)
    with pytest.raises(SinkError, match="syncedAt_1"):
        await watched.sink.prepare()
    mongo_database["mirror"].drop_index("syncedAt_1")
    await watched.sink.prepare()
    generation = watched.sink.generation
    assert await watched.look() == generation


@pytest.mark.parametrize(("act", "why"), UNFIT.values(), ids=UNFIT.keys())
async def test_it_is_named_at_the_first_sync_too(watched: Watched, mongo_database: Stored, act: Act, why: str) -> None:
    mongo_database.create_collection("mirror")
    act(mongo_database)
    with pytest.raises(SinkError, match=why):
        await watched.sink.prepare()


async def test_a_validator_and_other_options_are_fine(watched: Watched, mongo_database: Stored) -> None:
    mongo_database.create_collection("mirror", validator={"never": {"$exists": False}}, validationLevel="strict")
    assert await watched.full_sync() == Applied(inserted=2)
    mongo_database.command("collMod", "mirror", validator={"parent": {"$exists": True}})
    assert await watched.look() == 0


async def test_the_identity_is_the_uuid_and_does_not_depend_on_the_uri(
    watched: Watched, mongo_uri: str, mongo_database: Stored
) -> None:
    assert await watched.sink.identity() is None
    await watched.full_sync()
    (info,) = mongo_database.list_collections(filter={"name": "mirror"})
    expected = str(info["info"]["uuid"].as_uuid())
    assert await watched.sink.identity() == expected
    other = MongoDB(mongo_uri + "&uuidRepresentation=standard")
    assert await MongoMirror(other, "mirror", ZnodeCodec("/a")).identity() == expected
    await other.close()

    made_anew(mongo_database)
    assert await watched.sink.identity() == expected, "of the collection whose losses are counted"
    await watched.look()
    assert await watched.sink.identity() not in (None, expected)


async def test_with_a_whole_database_went_the_registrations_of_lanes_and_they_come_back(
    watched: Watched, mongo_database: Stored
) -> None:
    await watched.full_sync()
    before = mongo_database["sync_lanes"].count_documents({"collection": "mirror"})
    assert before > 0
    mongo_database.client.drop_database(mongo_database.name)
    await watched.look()
    await watched.full_sync()
    assert mongo_database["sync_lanes"].count_documents({"collection": "mirror"}) > 0


class Counting(CommandListener):
    """Counts commands by name."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def started(self, event: Any) -> None:
        self.counts[event.command_name] = self.counts.get(event.command_name, 0) + 1

    def succeeded(self, event: Any) -> None:
        """Nothing."""

    def failed(self, event: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize("count", [1, 60])
async def test_one_look_is_one_request_however_many_mirrors(mongo_uri: str, count: int) -> None:
    counting = Counting()
    pymongo.monitoring.register(counting)
    try:
        mongodb = MongoDB(mongo_uri)
    finally:
        pymongo.monitoring._LISTENERS.command_listeners.remove(counting)
    watch = MirrorWatch(mongodb)
    for number in range(count):
        await MongoMirror(mongodb, f"mirror-{number}", ZnodeCodec("/a"), watch).prepare()
    counting.counts.clear()
    for _ in range(12):
        await watch.look_once()
    assert counting.counts["listCollections"] == 12
    assert counting.counts["listIndexes"] == 12 * -(-count // 12)
    await mongodb.close()


async def test_a_look_that_fails_is_told_once_and_the_next_one_is_made(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await watched.full_sync()
    looks = 0
    failing = True
    ask = watched.mongodb.collection_infos

    async def asked(names: Any, deadline: float | None = None) -> list[dict[str, Any]]:
        nonlocal looks
        looks += 1
        if failing:
            raise SinkError("not authorized")
        return await ask(names, deadline)

    monkeypatch.setattr(watched.mongodb, "collection_infos", asked)
    monkeypatch.setattr(mirror_watch, "LOOK_SECONDS", 0.01)
    running = asyncio.create_task(watched.watch.run())
    await eventually(lambda: looks > 5)
    assert watched.sink.trouble == "not authorized"
    failing = False
    seen = looks
    await eventually(lambda: looks > seen + 5)
    assert watched.sink.trouble is None
    running.cancel()
    logged = capsys.readouterr().out
    assert logged.count("cannot be looked at") == 1
    assert logged.count("can be looked at again") == 1
    assert watched.sink.generation == 0


def _at_least(watched: Watched, generation: int) -> Callable[[], Any]:
    async def reached() -> bool:
        return await watched.look() >= generation

    return reached
