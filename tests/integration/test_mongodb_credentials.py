"""Users that go and come again, passwords and rights that change: it heals by itself, and what is missing is named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.database import Database

from hybridsync.errors import SinkError, SinkUnavailable, SourceError
from hybridsync.model import ANY, Put
from hybridsync.mongodb import MongoDB
from hybridsync.mongodb_options import PLAIN
from hybridsync.mongodb_topology import pools
from hybridsync.sinks.mirror_watch import MirrorWatch
from hybridsync.sinks.mongodb import MongoMirror
from hybridsync.sinks.znode_codec import ZnodeCodec
from tests.eventually import eventually
from tests.mirror_records import znode
from tests.servers import GuardedMongo

PASSWORD = "comes-and-goes-7"
ACTIONS = ["find", "insert", "update", "remove", "createIndex", "listIndexes", "listCollections", "changeStream"]

Root = Database[dict[str, Any]]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GuardedMongo, Root]]:
    """A server that asks for credentials, and its database `db` as one who may do everything."""
    directory: Path = tmp_path_factory.mktemp("guarded")
    with GuardedMongo(directory) as server:
        with pymongo.MongoClient[dict[str, Any]](server.uri) as first:
            first.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
        uri = server.uri.replace("mongodb://", f"mongodb://root:{PASSWORD}@") + "&authSource=admin"
        with pymongo.MongoClient[dict[str, Any]](uri) as client:
            yield server, client["db"]


def grant(root: Root, actions: list[str]) -> None:
    """Lets the user `u` do this, and nothing else."""
    privileges = [{"resource": {"db": "db", "collection": ""}, "actions": actions}]
    exists = root.command("rolesInfo", "r")["roles"]
    root.command("updateRole" if exists else "createRole", "r", privileges=privileges, roles=[])


def create_user(root: Root, password: str = PASSWORD) -> None:
    root.command("createUser", "u", pwd=password, roles=["r"])


@pytest.fixture
def root(guarded: tuple[GuardedMongo, Root]) -> Iterator[Root]:
    """With the user `u`, who has all rights that are needed."""
    _, root = guarded
    grant(root, ACTIONS)
    create_user(root)
    yield root
    if root.command("usersInfo", "u")["users"]:
        root.command("dropUser", "u")
    root.client.drop_database("db")


@pytest.fixture
async def mongodb(guarded: tuple[GuardedMongo, Root], root: Root) -> AsyncIterator[MongoDB]:
    server, _ = guarded
    uri = server.uri_for("db").replace("mongodb://", f"mongodb://u:{PASSWORD}@")
    one = MongoDB(uri)
    yield one
    await one.close()


async def refused(sink: MongoMirror) -> SinkError:
    """The error of a write that the server refuses, at once or after some that it still takes."""

    async def attempt() -> SinkError | None:
        try:
            await sink.apply([Put(znode("/a/x"), ANY)])
        except SinkError as error:
            return error
        return None

    error = await eventually(attempt, what="a write is refused")
    assert error is not None
    assert "\n" not in str(error)
    assert PASSWORD not in str(error)
    assert "{" not in str(error), "no dump of a command"
    return error


async def accepted(sink: MongoMirror) -> bool:
    try:
        await sink.apply([Put(znode("/a/x"), ANY)])
    except SinkError:
        return False
    return True


async def test_a_user_that_was_dropped_and_made_again_may_write_again(mongodb: MongoDB, root: Root) -> None:
    sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"))
    await sink.prepare()
    await asyncio.gather(*(sink.apply([Put(znode(f"/a/{number}"), ANY)]) for number in range(8)))
    root.command("dropUser", "u")
    error = await refused(sink)
    assert not isinstance(error, SinkUnavailable)
    assert "HYBRIDSYNC_MONGODB_URI" in str(error)
    create_user(root)
    await eventually(partial(accepted, sink), what="writes are taken again")
    await sink.prepare()
    await asyncio.gather(*(sink.apply([Put(znode(f"/a/{number}"), ANY)]) for number in range(8)))


async def test_also_while_nobody_writes_in_between(mongodb: MongoDB, root: Root) -> None:
    sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"))
    await sink.prepare()
    root.command("dropUser", "u")
    create_user(root)
    await eventually(partial(accepted, sink), what="writes are taken again")


async def test_the_looks_at_the_mirrors_heal_too(mongodb: MongoDB, root: Root) -> None:
    watch = MirrorWatch(mongodb)
    sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"), watch)
    await sink.prepare()
    root.command("dropUser", "u")
    with pytest.raises(SinkError):
        await watch.look_once()
    create_user(root)

    async def looked() -> bool:
        try:
            await watch.look_once()
        except SinkError:
            return False
        return True

    await eventually(looked)
    assert sink.generation == 0


async def test_a_password_that_changed_and_changed_back(mongodb: MongoDB, root: Root) -> None:
    sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"))
    await sink.prepare()
    root.command("updateUser", "u", pwd="another-one")
    for pool in pools(mongodb._client.delegate):  # connections do not live for ever
        pool.reset_without_pause()
    error = await refused(sink)
    assert "Authentication failed: check user, password and authSource in HYBRIDSYNC_MONGODB_URI" in str(error)
    root.command("updateUser", "u", pwd=PASSWORD)
    await eventually(partial(accepted, sink), what="writes are taken again")


async def test_a_change_stream_can_be_opened_again(mongodb: MongoDB, root: Root) -> None:
    root["source"].insert_one({"_id": 1})
    feed = await mongodb.follow("source", [], resume=None, await_seconds=0.1, options=PLAIN)
    await feed.next()
    await feed.close()
    root.command("dropUser", "u")

    async def opened() -> str | None:
        try:
            feed = await mongodb.follow("source", [], resume=None, await_seconds=0.1, options=PLAIN)
        except SourceError as error:
            return str(error)
        await feed.close()
        return None

    assert "HYBRIDSYNC_MONGODB_URI" in str(await eventually(opened))
    create_user(root)

    async def opened_again() -> bool:
        return await opened() is None

    await eventually(opened_again, what="the stream is opened")


MISSING: dict[str, tuple[str, Callable[[MongoMirror], Any]]] = {
    "insert": (r"lacks the right insert on db\.mirror", lambda sink: sink.apply([Put(znode("/a/new"), None)])),
    "update": (
        r"lacks one of the rights update, insert on db\.mirror",
        lambda sink: sink.apply([Put(znode("/a/x", b"1"), ANY)]),
    ),
    "find": (r"lacks the right find on db\.mirror", lambda sink: sink.held(["/a/x"])),
    "listCollections": (r"lacks the right listCollections on the database db", lambda sink: sink.prepare()),
}


@pytest.mark.parametrize(("right", "said"), [(right, said) for right, (said, _) in MISSING.items()], ids=MISSING)
async def test_the_missing_right_is_named_and_nothing_of_the_command(
    mongodb: MongoDB, root: Root, right: str, said: str
) -> None:
    sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"))
    await sink.prepare()
    await sink.apply([Put(znode("/a/x"))])
    grant(root, [action for action in ACTIONS if action != right])
    with pytest.raises(SinkError, match=said) as error:
        await MISSING[right][1](sink)
    assert "code 13" in str(error.value)
    assert "{" not in str(error.value)
    assert "lsid" not in str(error.value)
    grant(root, ACTIONS)
    await MISSING[right][1](sink)


async def test_without_the_right_to_see_or_make_indexes_a_mirror_is_kept_all_the_same(
    mongodb: MongoDB, root: Root, capsys: pytest.CaptureFixture[str]
) -> None:
    grant(root, [action for action in ACTIONS if action not in ("createIndex", "listIndexes")])
    sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"))
    await sink.prepare()
    await sink.apply([Put(znode("/a/x"), ANY)])
    logged = " ".join(capsys.readouterr().out.split())
    assert "lacks the right listIndexes on db.mirror" in logged
    assert "lacks the right createIndex on db.mirror" in logged
    watch = MirrorWatch(mongodb)
    mirror = watch.register("mirror")
    for _ in range(3):
        await watch.look_once()
    assert (mirror.generation, mirror.expires) == (0, None)


async def test_a_missing_change_stream_right_is_named(mongodb: MongoDB, root: Root) -> None:
    grant(root, [action for action in ACTIONS if action != "changeStream"])
    with pytest.raises(SourceError, match=r"lacks one of the rights changeStream, find on db\.source"):
        await mongodb.follow("source", [], resume=None, await_seconds=0.1, options=PLAIN)
    grant(root, ACTIONS)
    feed = await mongodb.follow("source", [], resume=None, await_seconds=0.1, options=PLAIN)
    await feed.close()


async def test_a_refusal_that_comes_again_and_again_makes_connections_anew_a_few_times_only(
    mongodb: MongoDB, root: Root
) -> None:
    sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"))
    await sink.prepare()
    (pool,) = pools(mongodb._client.delegate)
    before = pool.gen.get_overall()
    grant(root, [action for action in ACTIONS if action != "find"])
    for _ in range(200):
        with pytest.raises(SinkError):
            await sink.held(["/a/x"])
    assert before < pool.gen.get_overall() < before + 50
