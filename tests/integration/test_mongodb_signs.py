"""Why MongoDB cannot be used is known within a second, and said with its address and the variable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from hybridsync.embedded import MongoServer
from hybridsync.embedded.ports import LOOPBACK, free_port
from hybridsync.errors import SinkError, SinkUnavailable
from hybridsync.model import ANY, Put
from hybridsync.mongodb import MongoDB
from hybridsync.sinks.mongodb import MongoMirror
from hybridsync.sinks.znode_codec import ZnodeCodec
from tests.eventually import eventually
from tests.mirror_records import znode
from tests.proxy import TcpProxy
from tests.replica_set import Member, ReplicaSet, step_down

VARIABLE = "HYBRIDSYNC_MONGODB_URI"


@asynccontextmanager
async def client(uri: str) -> AsyncIterator[MongoDB]:
    mongodb = MongoDB(uri, retry_seconds=2)
    try:
        yield mongodb
    finally:
        await mongodb.close()


async def fails(mongodb: MongoDB) -> str:
    """The words of a sign of life that does not come."""
    with pytest.raises(SinkUnavailable) as refused:
        await mongodb.ping(60.0)
    said = str(refused.value)
    assert "\n" not in said
    assert "Topology" not in said
    return said


async def answers(mongodb: MongoDB) -> bool:
    try:
        await mongodb.ping()
    except SinkError:
        return False
    return True


async def test_nothing_is_said_before_anybody_looked_and_after_it_was_closed(mongo_uri: str) -> None:
    mongodb = MongoDB(mongo_uri)
    assert mongodb.trouble is None
    await mongodb.ping()
    assert mongodb.trouble is None
    await mongodb.close()
    assert mongodb.trouble is None


async def test_a_refused_connection_is_named_long_before_the_deadline() -> None:
    address = f"{LOOPBACK}:{free_port()}"
    async with client(f"mongodb://u:secret-word@{address}/db") as mongodb:
        sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"))
        started = time.monotonic()
        said = await fails(mongodb)
        assert time.monotonic() - started < 30, "the deadline was a minute"
        for text in (said, sink.trouble or ""):
            assert f"MongoDB at {address}/db cannot be reached: {address}: [Errno 111] Connection refused" in text
            assert VARIABLE in text
            assert "secret-word" not in text


async def test_a_name_that_nobody_knows_is_named() -> None:
    async with client("mongodb://no-such-host.invalid/db") as mongodb:
        said = await fails(mongodb)
        assert "no-such-host.invalid" in said
        assert VARIABLE in said


async def test_requests_need_no_answer_for_the_trouble_to_be_known() -> None:
    async with client(f"mongodb://{LOOPBACK}:{free_port()}/db") as mongodb:
        sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"))
        writing = asyncio.create_task(sink.apply([Put(znode("/a/x"), ANY)]))
        await eventually(lambda: sink.trouble)
        assert not writing.done()
        with pytest.raises(SinkUnavailable):
            await writing


async def test_the_trouble_ends_when_the_server_is_back(
    mongo_uri: str, own_mongodb: MongoServer, proxy_factory: Callable[[str, int], TcpProxy]
) -> None:
    host, port = own_mongodb.address.split(":")
    proxy = proxy_factory(host, int(port))
    async with client(f"mongodb://{proxy.address}/db?directConnection=true") as mongodb:
        await mongodb.ping()
        for _ in range(3):
            proxy.refuse()
            await fails(mongodb)
            assert proxy.address in (mongodb.trouble or "")
            assert VARIABLE in (mongodb.trouble or "")
            await eventually(lambda: "cannot be reached" in (mongodb.trouble or ""))
            proxy.accept_again()
            await eventually(lambda: answers(mongodb))
            assert mongodb.trouble is None


async def test_a_connection_that_is_only_cut_is_no_outage(
    own_mongodb: MongoServer, proxy_factory: Callable[[str, int], TcpProxy]
) -> None:
    host, port = own_mongodb.address.split(":")
    proxy = proxy_factory(host, int(port))
    async with client(f"mongodb://{proxy.address}/db?directConnection=true") as mongodb:
        await mongodb.ping()
        for _ in range(10):
            proxy.cut()
            await eventually(lambda: answers(mongodb))


async def test_a_frozen_server_is_named_too(own_mongodb: MongoServer) -> None:
    async with client(own_mongodb.uri_for("db")) as mongodb:
        await mongodb.ping()
        own_mongodb.pause()
        try:
            with pytest.raises(SinkUnavailable):
                await mongodb.ping(0.3)
            assert f"MongoDB at {own_mongodb.address}/db" in (mongodb.trouble or "")
        finally:
            own_mongodb.resume()
        await eventually(lambda: answers(mongodb))
        assert mongodb.trouble is None


async def test_a_replica_set_of_another_name_is_named(mongo_uri: str) -> None:
    direct = mongo_uri + "&replicaSet=another"
    async with client(direct) as one, client(direct.replace("directConnection=true&", "")) as other:
        with pytest.raises(SinkUnavailable, match="another") as refused:
            await one.ping(1.0)
        assert "HYBRIDSYNC_MONGODB_URI" in str(one.trouble)
        assert "Topology" not in str(refused.value)
        with pytest.raises(SinkUnavailable, match=r"replica set"):
            await other.ping(1.0)
        assert "replicaSet" in str(other.trouble)
        assert VARIABLE in str(other.trouble)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with ReplicaSet(tmp_path_factory.mktemp("replica-set")) as three:
        yield three


async def test_a_member_that_is_not_primary_takes_no_writes_and_says_which_is(members: ReplicaSet) -> None:
    primary = await asyncio.to_thread(members.wait_primary)
    (secondary, *_) = await asyncio.to_thread(members.secondaries)
    async with client(secondary.uri_for("db")) as mongodb:
        said = await fails(mongodb)
        assert f"MongoDB at {secondary.address}/db takes no writes: it is not the primary" in said
        assert primary.address in said
        assert "directConnection=true" in said
        assert VARIABLE in said
        assert "it is a secondary, not the primary" in (mongodb.trouble or "")


async def test_a_member_that_steps_down_while_it_is_used_is_noticed(members: ReplicaSet) -> None:
    primary = await asyncio.to_thread(members.wait_primary)
    async with client(primary.uri_for("db")) as direct, client(members.uri("db")) as whole:
        await direct.ping()
        await whole.ping()
        await asyncio.to_thread(step_down, primary)
        await eventually(lambda: _is_not_primary(direct))
        await eventually(lambda: answers(whole), what="the others have a new primary")
        assert whole.trouble is None
        assert "not the primary" in (direct.trouble or "")


async def test_without_a_majority_there_is_no_primary_and_that_is_said(members: ReplicaSet) -> None:
    primary = await asyncio.to_thread(members.wait_primary)
    rest = [one for one in members.members if one is not primary]
    async with client(members.uri("db")) as mongodb:
        await mongodb.ping()
        for one in rest:
            await asyncio.to_thread(Member.kill, one)
        try:
            await eventually(lambda: "no primary" in (mongodb.trouble or ""))
            assert primary.address in str(mongodb.trouble)
            with pytest.raises(SinkUnavailable):
                await mongodb.ping(1.0)
        finally:
            await asyncio.to_thread(members.make_whole)
        await eventually(lambda: answers(mongodb))
        assert mongodb.trouble is None


async def _is_not_primary(mongodb: MongoDB) -> bool:
    try:
        await mongodb.ping()
    except SinkUnavailable as error:
        return "not the primary" in str(error)
    return False
