"""MongoDB away, frozen, killed in the middle, or refusing: bounded times, clean errors, nothing lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pymongo
import pytest

from hybridsync.embedded import MongoServer
from hybridsync.embedded.ports import LOOPBACK, free_port
from hybridsync.errors import ConfigurationError, SinkError, SinkUnavailable
from hybridsync.model import ANY, Applied, Put, Remove
from hybridsync.mongodb import MongoDB
from hybridsync.sinks.mongodb import MongoMirror
from hybridsync.sinks.znode_codec import ZnodeCodec
from tests.eventually import eventually
from tests.mirror_records import mirror, whole_index, znode
from tests.proxy import TcpProxy

SECRET = "s3cr3t-wörd"
QUOTED = "s3cr3t-w%C3%B6rd"


def assert_clean(error: BaseException) -> None:
    """One line, no secret, and it says where."""
    text = str(error)
    assert "\n" not in text
    assert len(text) < 500
    assert SECRET not in text
    assert QUOTED not in text
    assert "MongoDB at 127.0.0.1:" in text


async def every_call(sink: MongoMirror) -> Sequence[object]:
    """What each call of a sink came to, all made at once: its result or its error."""
    return await asyncio.gather(
        sink.prepare(),
        sink.count(),
        whole_index(sink),
        sink.apply([Put(znode("/a/x"))]),
        sink.apply([Remove("/a/x", as_of=5)]),
        sink.differing([znode("/a/x")]),
        return_exceptions=True,
    )


async def test_a_server_that_is_not_there_is_unavailable_within_a_bounded_time() -> None:
    started = time.monotonic()
    uri = f"mongodb://user:{QUOTED}@{LOOPBACK}:{free_port()}/test"
    async with mirror(uri) as sink:
        for error in await every_call(sink):
            assert isinstance(error, SinkUnavailable)
            assert_clean(error)
            assert "Connection refused" in str(error)
    assert time.monotonic() - started < 45


async def test_writes_wait_for_a_server_that_comes_back(own_mongodb: MongoServer) -> None:
    async with mirror(own_mongodb.uri_for("test")) as sink:
        await sink.apply([Put(znode("/a/0"), None)])
        own_mongodb.kill()
        writing = asyncio.create_task(sink.apply([Put(znode("/a/1"), None), Remove("/a/0", as_of=100)]))
        await asyncio.to_thread(own_mongodb.start)
        assert await writing == Applied(inserted=1, deleted=1)
        assert await whole_index(sink) == {"/a/1": znode("/a/1").version}


async def test_a_server_killed_while_it_writes_loses_nothing(own_mongodb: MongoServer) -> None:
    records = [znode(f"/a/{number}", b"x" * 200) for number in range(30_000)]
    async with mirror(own_mongodb.uri_for("test")) as sink:
        await sink.prepare()
        pieces = [[Put(record, None) for record in records[start::4]] for start in range(4)]
        writing = [asyncio.create_task(sink.apply(piece)) for piece in pieces]
        await eventually(sink.count)
        await asyncio.to_thread(own_mongodb.kill)
        await asyncio.to_thread(own_mongodb.start)
        for task, piece in zip(writing, pieces, strict=True):
            try:
                await task
            except SinkUnavailable:
                await sink.apply(piece)
        assert await whole_index(sink) == {record.key: record.version for record in records}
        assert await sink.differing(records) == []


async def test_a_frozen_server_is_unavailable_and_closing_does_not_wait_for_it(own_mongodb: MongoServer) -> None:
    mongodb = MongoDB(own_mongodb.uri_for("test"), operation_seconds=2, retry_seconds=4)
    sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"))
    await sink.apply([Put(znode("/a/x"))])
    own_mongodb.pause()
    started = time.monotonic()
    with pytest.raises(SinkUnavailable) as refused:
        await mongodb.ping(1.0)
    assert_clean(refused.value)
    for error in await every_call(sink):
        assert isinstance(error, SinkUnavailable)
        assert_clean(error)
    assert time.monotonic() - started < 40
    started = time.monotonic()
    await mongodb.close()
    assert time.monotonic() - started < 10
    own_mongodb.resume()


async def test_a_server_that_thaws_is_used_again(own_mongodb: MongoServer) -> None:
    async with mirror(own_mongodb.uri_for("test"), operation_seconds=2, retry_seconds=3) as sink:
        await sink.apply([Put(znode("/a/x"))])
        own_mongodb.pause()
        with pytest.raises(SinkUnavailable):
            await sink.apply([Put(znode("/a/y"), ANY)])
        own_mongodb.resume()

        async def removed() -> bool:
            try:
                await sink.apply([Remove("/a/y", as_of=200)])
            except SinkUnavailable:
                return False
            return True

        await eventually(removed)
        assert await whole_index(sink) == {"/a/x": znode("/a/x").version}


def test_a_process_ends_although_the_server_is_frozen(own_mongodb: MongoServer) -> None:
    program = """
        import asyncio, os, signal, sys
        from hybridsync.model import Put
        from hybridsync.mongodb import MongoDB
        from hybridsync.sinks.mongodb import MongoMirror
        from hybridsync.sinks.znode_codec import ZnodeCodec
        from tests.mirror_records import znode

        async def main():
            mongodb = MongoDB(sys.argv[1], operation_seconds=60, retry_seconds=60)
            sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"))
            await sink.apply([Put(znode("/a/x"))])
            os.kill(int(sys.argv[2]), signal.SIGSTOP)
            writing = [asyncio.create_task(sink.apply([Put(znode(f"/a/{n}"))])) for n in range(20)]
            await asyncio.wait(writing, timeout=0.5)
            await mongodb.close()
            for task in writing:
                task.cancel()
            await asyncio.wait(writing)
            print("closed", flush=True)

        asyncio.run(main())
    """
    arguments = [own_mongodb.uri_for("test"), str(own_mongodb.pid)]
    try:
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *arguments],
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
    finally:
        own_mongodb.resume()
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "closed\n", "")


async def test_a_connection_cut_again_and_again_loses_nothing(
    own_mongodb: MongoServer, proxy_factory: Callable[[str, int], TcpProxy]
) -> None:
    host, port = own_mongodb.address.split(":")
    proxy = proxy_factory(host, int(port))
    records = [znode(f"/a/{number}", b"x" * 500) for number in range(5000)]

    async def cut() -> None:
        while True:
            proxy.cut()
            await asyncio.sleep(0.2)

    async with mirror(f"mongodb://{proxy.address}/test?directConnection=true") as sink:
        cutting = asyncio.create_task(cut())
        for start in range(0, len(records), 1000):
            puts = [Put(record, None) for record in records[start : start + 1000]]
            await eventually(partial(_try, sink, puts), 90)
        cutting.cancel()
        assert await whole_index(sink) == {record.key: record.version for record in records}


async def _try(sink: MongoMirror, puts: list[Put]) -> bool:
    try:
        await sink.apply(puts)
    except SinkUnavailable:
        return False
    return True


async def test_a_wrong_password_is_refused_in_one_line(own_mongodb: MongoServer) -> None:
    with pymongo.MongoClient[dict[str, Any]](own_mongodb.uri) as client:
        client["admin"].command("createUser", "user", pwd="right", roles=["root"])
    uri = f"mongodb://user:{QUOTED}@{own_mongodb.address}/test?directConnection=true&authSource=admin"
    async with mirror(uri) as sink:
        started = time.monotonic()
        for error in await every_call(sink):
            assert isinstance(error, SinkError)
            assert not isinstance(error, SinkUnavailable)
            assert_clean(error)
            assert "Authentication failed" in str(error)
        assert time.monotonic() - started < 30


async def test_what_the_server_forbids_is_an_error_and_is_not_tried_again(mongo_uri: str) -> None:
    mongodb = MongoDB(mongo_uri)
    try:
        sink = MongoMirror(mongodb, "x" * 300, ZnodeCodec("/a"))  # longer than a name may be
        with pytest.raises(SinkError) as refused:
            await sink.apply([Put(znode("/a/x"))])
        assert not isinstance(refused.value, SinkUnavailable)
        assert_clean(refused.value)
    finally:
        await mongodb.close()


async def test_after_closing_every_call_says_so(mongo_uri: str) -> None:
    async with mirror(mongo_uri) as sink:
        pass
    for error in await every_call(sink):
        assert isinstance(error, SinkUnavailable)
        assert "the connection is closed" in str(error)


async def test_closing_twice_is_fine(mongo_uri: str) -> None:
    mongodb = MongoDB(mongo_uri)
    await mongodb.close()
    await mongodb.close()
    with pytest.raises(SinkUnavailable):
        await mongodb.ping()


@pytest.mark.parametrize(
    "uri",
    [
        f"http://user:{SECRET}@host/",
        f"mongodb://user:{SECRET}:more@host/",
        f"mongodb://user:{SECRET}@@host/",
        f"mongodb://user:{QUOTED}@host:{'9' * 9}/",
        f"mongodb://user:{QUOTED}@host/?nonsense=1",
        f"mongodb://user:{QUOTED}@host/?w=0",
        f"mongodb://user:{QUOTED}@host/bad%24name",
        f"mongodb://user:{QUOTED}@host/bad%20name",
        f"mongodb://user:{QUOTED}@host/bad%22name",
        f"mongodb://user:{QUOTED}@host/bad%5Cname",
        f"mongodb://user:{QUOTED}@host/bad%00name",
        f"mongodb://user:{QUOTED}@host/bad.name",
        f"mongodb://user:{QUOTED}@host/{'x' * 64}",
    ],
)
async def test_a_uri_that_cannot_be_used_is_one_line_without_the_password(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^HYBRIDSYNC_MONGODB_URI: [^\n]+$") as refused:
        MongoDB(uri)
    assert SECRET not in str(refused.value)
    assert QUOTED not in str(refused.value)
