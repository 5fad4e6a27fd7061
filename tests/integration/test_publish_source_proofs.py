"""Proofs of a published collection: none is silent, none hangs, and after a restart the exceptions are known first."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from hybridsync.embedded import MongoServer
from hybridsync.errors import PositionExpired, SinkUnavailable, SourceDisconnected, SourceError
from hybridsync.mongodb import MongoDB
from hybridsync.mongodb_stream import ChangeFeed
from hybridsync.sources import mongodb_poll, mongodb_watch
from hybridsync.sources.mongodb_reader import CollectionReader
from tests.eventually import eventually
from tests.publish_source import a_source, following

Data = Database[dict[str, Any]]
POLLING: dict[str, Any] = {"poll_seconds": 0.05}
ENDS = [SourceDisconnected("away"), KeyError("unforeseen"), asyncio.CancelledError()]


def channel(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "on": True, **more}


@contextmanager
def failing(where: type, name: str, error: BaseException) -> Iterator[None]:
    """Has a coroutine function raise."""

    async def fail(*_: Any, **__: Any) -> None:
        raise error

    with patch.object(where, name, fail):
        yield


@pytest.mark.parametrize("error", [SinkUnavailable("no majority"), KeyError("unforeseen")], ids=str)
async def test_a_question_in_vain_is_told_and_may_be_asked_again(mongo_uri: str, error: Exception) -> None:
    async with a_source(mongo_uri) as source, following(source) as seen:
        with failing(MongoDB, "committed_time", error), pytest.raises(SourceError):
            await seen.watch.probe()
        assert not seen.watch.lost.done()
        await seen.watch.probe()


@pytest.mark.parametrize(
    "error", [SourceDisconnected("away"), KeyError("unforeseen"), asyncio.CancelledError()], ids=str
)
async def test_whatever_ends_a_change_stream_loses_its_watch(mongo_uri: str, error: BaseException) -> None:
    async with a_source(mongo_uri) as source, following(source) as seen:
        with failing(ChangeFeed, "next", error), pytest.raises(SourceDisconnected):
            await seen.watch.probe()
        assert isinstance(seen.watch.lost.exception(), SourceDisconnected)


@pytest.mark.parametrize(
    "error", [SourceDisconnected("away"), KeyError("unforeseen"), asyncio.CancelledError()], ids=str
)
async def test_whatever_ends_the_comparing_loses_its_watch(mongo_uri: str, error: BaseException) -> None:
    async with a_source(mongo_uri, **POLLING) as source, following(source) as seen:
        with failing(CollectionReader, "shared_keys", error), pytest.raises(SourceDisconnected):
            await seen.watch.probe()
        assert isinstance(seen.watch.lost.exception(), SourceDisconnected)


async def test_a_stream_that_goes_on_without_coming_any_further_is_lost(
    mongo_database: Data, mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongodb_watch, "ANSWER_SECONDS", 0.2)
    async with a_source(mongo_uri) as source, following(source) as seen:
        standing = seen.watch.position
        assert standing is not None
        mongo_database["other"].insert_one({})
        with (
            patch.object(ChangeFeed, "token", property(lambda _: standing)),
            pytest.raises(SourceDisconnected, match="fell silent"),
        ):
            await seen.watch.probe()


async def test_a_watch_that_cannot_catch_up_is_given_up(
    mongo_database: Data, mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongodb_watch, "ANSWER_SECONDS", 0.2)
    mongo_database["channels"].insert_one(channel("one"))
    async with a_source(mongo_uri) as source, following(source) as seen:
        position = seen.watch.position
        assert position is not None
    mongo_database["other"].insert_one({})
    async with a_source(mongo_uri) as source:
        with (
            patch.object(ChangeFeed, "token", property(lambda _: position)),
            pytest.raises(SourceDisconnected, match="fell silent"),
        ):
            async with following(source, position):
                pass


async def test_a_comparison_that_hangs_loses_its_watch(mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongodb_poll, "STALL_SECONDS", 0.3)

    async def hang(_: CollectionReader) -> None:
        await asyncio.Event().wait()

    async with a_source(mongo_uri, **POLLING) as source, following(source) as seen:
        with patch.object(CollectionReader, "facts", hang), pytest.raises(SourceDisconnected, match="stuck"):
            await seen.watch.probe()


async def test_polling_asks_a_majority_before_it_reads(mongo_uri: str) -> None:
    async with a_source(mongo_uri, **POLLING) as source, following(source) as seen:
        with (
            failing(MongoDB, "committed_time", SinkUnavailable("no majority")),
            pytest.raises(SourceDisconnected, match="no majority"),
        ):
            await seen.watch.probe()


async def test_after_a_restart_that_resumes_nothing_is_proven_before_the_invalid_are_known(
    mongo_database: Data, mongo_uri: str
) -> None:
    mongo_database["channels"].insert_many([channel("one"), channel("bad", v=float("nan")), {"_id": 5, "on": True}])
    async with a_source(mongo_uri) as source, following(source) as seen:
        assert set(source.invalid) == {"bad", "_id 5"}
        position = seen.watch.position
    mongo_database["channels"].insert_one(channel("worse", v=float("nan")))
    async with a_source(mongo_uri) as source, following(source, position) as seen:
        assert seen.watch.resumed
        await seen.watch.probe()
        assert set(source.invalid) == {"bad", "worse", "_id 5"}
        mongo_database["channels"].update_one({"key": "worse"}, {"$set": {"v": 1}})
        await seen.settle()
        assert set(source.invalid) == {"bad", "_id 5"}
        assert set(seen.held) == {"worse"}


async def test_a_restart_that_resumes_and_cannot_learn_what_is_invalid_loses_its_watch(
    mongo_database: Data, mongo_uri: str
) -> None:
    mongo_database["channels"].insert_one(channel("one"))
    async with a_source(mongo_uri) as source, following(source) as seen:
        position = seen.watch.position
    async with a_source(mongo_uri) as source:
        with failing(CollectionReader, "shared_keys", SourceDisconnected("away")):
            async with following(source, position) as seen:
                with pytest.raises(SourceDisconnected, match="away"):
                    await seen.watch.probe()


async def test_what_was_read_while_a_listing_went_on_is_newer_than_what_the_listing_found(
    mongo_database: Data, mongo_uri: str
) -> None:
    docs = mongo_database["channels"]
    docs.insert_many([channel("good"), channel("bad", v=float("nan"))])
    async with a_source(mongo_uri) as source, following(source) as seen:
        judged = CollectionReader.verdicts

        async def late(reader: CollectionReader) -> Any:
            found = [batch async for batch in judged(reader)]
            docs.update_one({"key": "good"}, {"$set": {"v": float("nan")}})
            docs.update_one({"key": "bad"}, {"$set": {"v": 1}})
            await seen.settle()
            for batch in found:
                yield batch

        with patch.object(CollectionReader, "verdicts", late):
            await seen.sync()
        assert set(source.invalid) == {"good"}


async def test_a_data_directory_put_back_from_a_copy_is_another_history(own_mongodb: MongoServer) -> None:
    copy = own_mongodb.directory.parent / "copy"
    with MongoClient[Any](own_mongodb.uri) as client:
        client["x"]["channels"].insert_many([channel("kept"), channel("changed")])
    own_mongodb.stop()
    shutil.copytree(own_mongodb.data, copy)
    own_mongodb.start()
    async with a_source(own_mongodb.uri_for("x")) as source:
        async with following(source) as seen:
            with MongoClient[Any](own_mongodb.uri) as client:
                client["x"]["channels"].insert_one(channel("phantom"))
                client["x"]["channels"].update_one({"key": "changed"}, {"$set": {"v": 1}})
            await seen.settle()
            assert set(seen.held) == {"kept", "changed", "phantom"}
            position, place = seen.watch.position, source.place
            await asyncio.to_thread(own_mongodb.stop)
            await eventually(seen.watch.lost.done)
        await asyncio.to_thread(own_mongodb.start)
        await source.connect()
        async with following(source, position) as seen:  # the same history: nothing was missed
            assert seen.watch.resumed
            await seen.settle()
            position = seen.watch.position
            await asyncio.to_thread(own_mongodb.stop)
            await eventually(seen.watch.lost.done)
        shutil.rmtree(own_mongodb.data)
        shutil.copytree(copy, own_mongodb.data)
        await asyncio.to_thread(own_mongodb.start)
        await source.connect()
        assert source.place == place
        with pytest.raises(PositionExpired, match="another history"):
            async with following(source, position):
                pass
        async with following(source) as seen:
            assert seen.held == {"kept": b'{"key":"kept"}', "changed": b'{"key":"changed"}'}
