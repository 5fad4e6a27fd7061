"""What the published collection may be, whose it is, when it goes away, and the words for what MongoDB refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.collation import Collation
from pymongo.database import Database

from hybridsync.embedded import MongoServer
from hybridsync.errors import PositionExpired, SourceError, SourceUnsupported
from hybridsync.sources.mongodb import MongoSource
from tests.publish_source import Following, a_source, following, listed
from tests.servers import GuardedMongo

Data = Database[dict[str, Any]]
POLLING: dict[str, Any] = {"poll_seconds": 0.05}


def channel(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "on": True, **more}


@pytest.fixture
def mongo_client() -> Iterator[Callable[[MongoServer], Data]]:
    """The database `x` of a server."""
    with ExitStack() as clients:

        def connected(server: MongoServer) -> Data:
            client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(server.uri)
            return clients.enter_context(client)["x"]

        yield connected


@pytest.fixture(params=[{}, POLLING], ids=["change-stream", "polling"])
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    options: dict[str, Any] = request.param
    return options


async def lost(seen: Following) -> BaseException:
    """Why the watch is lost, once it is."""
    with suppress(SourceError):
        while True:
            await seen.watch.probe()
    error = seen.watch.lost.exception()
    assert error is not None
    return error


@pytest.mark.parametrize("kind", ["a view", "a time series collection"])
async def test_what_has_no_change_streams_is_named_and_can_be_polled(
    mongo_database: Data, mongo_uri: str, kind: str
) -> None:
    mongo_database["behind"].insert_one(channel("one"))
    if kind == "a view":
        mongo_database.create_collection("channels", viewOn="behind", pipeline=[{"$project": {"_id": 0}}])
    else:
        mongo_database.create_collection("channels", timeseries={"timeField": "at", "metaField": "key"})
    with pytest.raises(SourceUnsupported) as told:
        async with a_source(mongo_uri):
            pass
    assert f"channels is {kind}, which has no change streams: set poll_seconds in the source" in str(told.value)
    async with a_source(mongo_uri, **POLLING) as source, following(source) as seen:
        mongo_database["behind"].insert_one(channel("two"))
        await seen.settle()
        assert set(seen.held) == ({"one", "two"} if kind == "a view" else set())


async def test_documents_of_a_view_without_ids_and_keys_are_named(mongo_database: Data, mongo_uri: str) -> None:
    mongo_database["behind"].insert_many([channel("one"), {"on": True}])
    mongo_database.create_collection("channels", viewOn="behind", pipeline=[{"$project": {"_id": 0}}])
    async with a_source(mongo_uri, **POLLING) as source, following(source) as seen:
        assert set(seen.held) == {"one"}
        assert set(source.invalid) == {"a document without _id"}


async def test_a_view_that_compares_in_its_own_way_is_refused(mongo_database: Data, mongo_uri: str) -> None:
    mongo_database.create_collection("channels", viewOn="behind", pipeline=[], collation=Collation("en", strength=2))
    with pytest.raises(SourceUnsupported, match="the view channels compares texts by the collation en"):
        async with a_source(mongo_uri, **POLLING):
            pass


async def test_a_collection_that_becomes_a_view_while_it_is_followed_is_told_so(
    mongo_database: Data, mongo_uri: str
) -> None:
    mongo_database["channels"].insert_one(channel("one"))
    async with a_source(mongo_uri) as source:
        mongo_database["channels"].drop()
        mongo_database.create_collection("channels", viewOn="behind", pipeline=[])
        with pytest.raises(SourceUnsupported, match="no change streams: set poll_seconds"):
            async with following(source):
                pass


async def test_keys_are_compared_byte_by_byte_whatever_the_collection_does(
    mongo_database: Data, mongo_uri: str, mode: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    docs = mongo_database.create_collection("channels", collation=Collation("en", strength=1))
    docs.create_index("key")  # collated: of no use for hybridsync
    docs.insert_many([{"_id": "A", **channel("a")}, {"_id": "B", **channel("A")}, {"_id": "C", **channel("ä")}])
    async with a_source(mongo_uri, **mode) as source, following(source) as seen:
        assert set(seen.held) == {"a", "A", "ä"}
        docs.update_one({"_id": "a"}, {"$set": {"v": 1}})  # finds A
        docs.delete_one({"_id": "B"})
        docs.insert_one({"_id": "D", **channel("Ä")})
        await seen.settle()
        assert seen.held == {
            "a": b'{"key":"a","v":1}',
            "ä": '{"key":"ä"}'.encode(),
            "Ä": '{"key":"Ä"}'.encode(),
        }
        assert dict(source.invalid) == {}
    if not mode:
        assert 'createIndex({key: 1}, {collation: {locale: "simple"}})' in capfd.readouterr().out


async def test_what_falls_out_of_a_capped_collection_is_withdrawn(
    mongo_database: Data, mongo_uri: str, mode: dict[str, Any]
) -> None:
    docs = mongo_database.create_collection("channels", capped=True, size=4096, max=3)
    docs.insert_many([channel(str(number)) for number in range(3)])
    async with a_source(mongo_uri, **mode) as source, following(source) as seen:
        docs.insert_one(channel("new"))
        await seen.settle()
        assert set(seen.held) == {"1", "2", "new"}


async def test_a_missing_right_is_named(tmp_path: Path) -> None:
    with GuardedMongo(tmp_path / "mongodb") as server:
        with pymongo.MongoClient[Any](server.uri) as first:
            first.admin.command("createUser", "root", pwd="secret", roles=["root"])
        with pymongo.MongoClient[Any](server.uri.replace("//", "//root:secret@")) as client:
            await _rights(server, client["x"])


async def _rights(server: MongoServer, data: Data) -> None:
    data["channels"].insert_one(channel("one"))
    own = {"db": data.name, "collection": "channels"}
    actions: list[tuple[str, list[str]]] = [("listing", ["find"]), ("following", ["find", "changeStream"])]
    for name, rights in actions:
        data.command("createRole", name, privileges=[{"resource": own, "actions": rights}], roles=[])
        data.command("createUser", name, pwd="secret", roles=[name])
    uri = server.uri_for(data.name).replace("//", "//{}:secret@")

    async with a_source(uri.format("following")) as source, following(source) as seen:
        assert set(seen.held) == {"one"}
        data["channels"].insert_one(channel("two"))
        await seen.settle()
        assert set(seen.held) == {"one", "two"}
        assert not (await listed(source))[1].root_missing

    async with a_source(uri.format("listing")) as source:
        with pytest.raises(SourceError) as told:
            async with following(source):
                pass
    line = str(told.value)
    assert "to follow channels takes find and changeStream on it" in line
    assert "pipeline" not in line
    assert len(line) < 250


# -- a collection that goes away ------------------------------------------------------------------


async def test_a_collection_that_never_was_is_missing_and_one_that_is_empty_is_not(
    mongo_database: Data, mongo_uri: str, mode: dict[str, Any]
) -> None:
    async with a_source(mongo_uri, **mode) as source, following(source) as seen:
        assert (await seen.sync()).root_missing
        assert not source.removal_seen
        mongo_database["channels"].insert_one(channel("one"))
        await seen.settle()
        assert set(seen.held) == {"one"}
        assert not (await seen.sync()).root_missing
        mongo_database["channels"].delete_many({})
        await seen.settle()
        assert not (await seen.sync()).root_missing
        assert not source.removal_seen


@pytest.mark.parametrize("how", ["drop", "rename", "dropDatabase"])
async def test_the_end_of_the_collection_is_seen_before_anything_is_withdrawn(
    mongo_database: Data, mongo_uri: str, mode: dict[str, Any], how: str
) -> None:
    docs = mongo_database["channels"]
    docs.insert_one(channel("one"))
    async with a_source(mongo_uri, **mode) as source:
        async with following(source) as seen:
            if how == "drop":
                docs.drop()
            elif how == "rename":
                docs.rename("elsewhere")
            else:
                mongo_database.client.drop_database(mongo_database.name)
            assert isinstance(await lost(seen), PositionExpired)
            assert source.removal_seen
            assert set(seen.held) == {"one"}
            assert not seen.dirty.waiting
        await source.connect()
        async with following(source) as seen:
            assert (await seen.sync()).root_missing
            assert source.removal_seen
            docs.insert_one(channel("again"))
            await seen.settle()
            assert set(seen.held) == {"again"}
            assert not (await seen.sync()).root_missing
            assert not source.removal_seen


async def test_a_collection_that_is_dropped_and_made_anew_at_once_is_another_one(
    mongo_database: Data, mongo_uri: str, mode: dict[str, Any]
) -> None:
    docs = mongo_database["channels"]
    docs.insert_many([channel("old"), channel("both")])
    async with a_source(mongo_uri, **mode) as source:
        place = source.place
        async with following(source) as seen:
            docs.drop()
            docs.insert_many([channel("both", v=1), channel("new")])
            assert isinstance(await lost(seen), PositionExpired)
        await source.connect()
        assert mode or (place is not None and source.place != place)
        async with following(source) as seen:
            assert set(seen.held) == {"both", "new"}
            assert not source.removal_seen


async def test_a_listing_that_saw_two_collections_is_none(mongo_database: Data, mongo_uri: str) -> None:
    docs = mongo_database["channels"]
    docs.insert_many([channel(str(number)) for number in range(10)])
    async with a_source(mongo_uri) as source:
        judged = source._reader.verdicts

        async def replaced_meanwhile() -> Any:
            async for batch in judged():
                yield batch
            docs.drop()
            docs.insert_one(channel("new"))

        source._reader.verdicts = replaced_meanwhile  # type: ignore[method-assign]
        with pytest.raises(SourceError, match="replaced"):
            await listed(source)


async def test_a_place_is_a_collection_of_a_replica_set(
    mongo_database: Data, mongo_uri: str, own_mongodb: MongoServer, mongo_client: Callable[[MongoServer], Data]
) -> None:
    mongo_database["channels"].insert_one(channel("one"))
    there = mongo_client(own_mongodb)
    there["channels"].insert_one(channel("one"))
    places = set[str | None]()
    for _ in range(2):
        async with a_source(mongo_uri) as source:
            places.add(source.place)
        async with a_source(own_mongodb.uri_for(there.name)) as source:
            places.add(source.place)
    assert len(places) == 2
    assert None not in places
    mongo_database["channels"].drop()
    mongo_database["channels"].insert_one(channel("one"))
    async with a_source(mongo_uri) as source:
        assert source.place not in places


async def test_a_collection_that_is_created_while_it_is_watched_has_its_place_with_the_next_listing(
    mongo_database: Data, mongo_uri: str
) -> None:
    async with a_source(mongo_uri) as source, following(source) as seen:
        mongo_database["channels"].insert_one(channel("one"))
        await seen.settle()
        await seen.sync()
        place = source.place
        await source.connect()
        assert source.place == place


async def resumed_to_its_end(source: MongoSource, position: str | None) -> None:
    async with following(source, position) as seen:
        raise await lost(seen)


async def test_a_drop_while_the_connection_was_away_is_told_by_the_stream_that_resumes(
    mongo_database: Data, mongo_uri: str
) -> None:
    docs = mongo_database["channels"]
    docs.insert_one(channel("one"))
    async with a_source(mongo_uri) as source:
        async with following(source) as seen:
            position, place = seen.watch.position, source.place
        docs.drop()
        await source.connect()
        assert source.place == place
        with pytest.raises(PositionExpired, match="dropped"):
            await resumed_to_its_end(source, position)
        assert source.removal_seen


async def test_a_collection_that_took_the_place_while_the_connection_was_away_is_not_resumed(
    mongo_database: Data, mongo_uri: str
) -> None:
    docs = mongo_database["channels"]
    docs.insert_one(channel("one"))
    async with a_source(mongo_uri) as source:
        async with following(source) as seen:
            position, place = seen.watch.position, source.place
        docs.drop()
        docs.insert_one(channel("two"))
        await source.connect()
        assert source.place != place
        with pytest.raises(PositionExpired, match="another collection"):
            async with following(source, position):
                pass
        async with following(source) as seen:
            assert set(seen.held) == {"two"}
