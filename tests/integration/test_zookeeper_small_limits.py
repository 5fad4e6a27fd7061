"""A jute.maxbuffer below the default: requests are cut until they fit, and what cannot be cut is named."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from hybridsync.embedded import ZooKeeperServer
from hybridsync.errors import SourceError
from hybridsync.model import Applied, Change, Dirty, Listing, Put, Record
from hybridsync.sources.zookeeper import ZooKeeperSource
from hybridsync.zookeeper import connection_thread
from hybridsync.zookeeper.settings import SessionSettings
from tests.publishing import index_of, publishing, record
from tests.servers import GivenZooKeeper, connected

Server = ZooKeeperServer | GivenZooKeeper


def server(directory: Path, jute_maxbuffer: int) -> ZooKeeperServer:
    return ZooKeeperServer(directory, jvm_options=[f"-Djute.maxbuffer={jute_maxbuffer}"])


@pytest.fixture
def small(tmp_path: Path) -> Iterator[ZooKeeperServer]:
    with server(tmp_path / "small", 128 * 1024) as running:
        yield running


@pytest.fixture
def of_200_000(tmp_path: Path) -> Iterator[ZooKeeperServer]:
    with server(tmp_path / "small", 200_000) as running:
        yield running


async def listed(source: ZooKeeperSource) -> tuple[list[Record], Listing, int]:
    """A complete listing, and how many attempts were cut off before."""
    for attempt in range(30):
        listing = Listing()
        records: list[Record] = []
        with suppress(SourceError):
            await source.connect()
            async for batch in source.list(listing):
                records += batch.records
            return records, listing, attempt
    raise AssertionError("no listing in 30 attempts")


async def read(source: ZooKeeperSource, keys: list[str]) -> tuple[int, int]:
    """How many of the keys were read in the end, and how many attempts were cut off before."""
    for attempt in range(30):
        with suppress(SourceError):
            await source.connect()
            return len(await source.read([Dirty(key) for key in keys])), attempt
    raise AssertionError("not read in 30 attempts")


async def test_many_long_names_are_listed_in_shorter_requests(small: ZooKeeperServer) -> None:
    with connected(small.hosts) as zk:
        zk.create("/r")
        for answer in [zk.create_async(f"/r/{number:03d}" + "x" * 400) for number in range(900)]:
            answer.get(30)
    source = ZooKeeperSource(SessionSettings(hosts=small.hosts), path="/r")
    try:
        async with asyncio.timeout(120):
            records, listing, attempts = await listed(source)
            assert len(records) == 901
            assert not listing.unreadable
            assert 0 < attempts < 8
            assert (await listed(source))[2] == 0, "what was learnt is remembered"
    finally:
        await source.close()


async def test_many_long_names_are_read_in_shorter_requests(small: ZooKeeperServer) -> None:
    with connected(small.hosts) as zk:
        zk.create("/r")
        names = [f"/r/{number:03d}" + "x" * 400 for number in range(900)]
        for answer in [zk.create_async(name) for name in names]:
            answer.get(30)
    source = ZooKeeperSource(SessionSettings(hosts=small.hosts), path="/r")
    try:
        async with asyncio.timeout(120):
            found, attempts = await read(source, names)
            assert found == 900
            assert attempts < 8
            assert await read(source, names) == (900, 0)
    finally:
        await source.close()


async def test_a_document_too_long_for_the_server_is_refused_and_all_others_are_published(
    of_200_000: ZooKeeperServer,
) -> None:
    long = record("long", "x" * 300_000)
    changes: list[Change] = [Put(record(f"k{number}", "y" * 2_000)) for number in range(250)]
    changes.insert(100, Put(long))
    async with asyncio.timeout(240), publishing(of_200_000.hosts, "/p") as sink:
        applied = await until_applied(sink, changes)
        assert list(applied.failed) == ["long"]
        assert "jute.maxbuffer" in applied.failed["long"]
        with connected(of_200_000.hosts) as zk:
            assert len(zk.get_children("/p")) == 250
        generation = sink.generation
        again = await sink.apply([Put(long), Put(record("k1", "new"))])
        assert list(again.failed) == ["long"]
        assert again.updated == 1
        assert sink.generation == generation
        assert set(await index_of(sink)) == {f"k{number}" for number in range(250)}


async def until_applied(sink: object, changes: list[Change]) -> Applied:
    """As the engine does: what could not be written in time is written again."""
    for _ in range(10):
        with suppress(Exception):
            return await sink.apply(changes)  # type: ignore[attr-defined, no-any-return]
    return await sink.apply(changes)  # type: ignore[attr-defined, no-any-return]


async def test_a_batch_too_long_for_the_server_is_published_in_shorter_ones(of_200_000: ZooKeeperServer) -> None:
    changes: list[Change] = [Put(record(f"k{number}", "y" * 20_000)) for number in range(60)]
    async with asyncio.timeout(240), publishing(of_200_000.hosts, "/p") as sink:
        applied = await until_applied(sink, changes)
        assert not applied.failed
        with connected(of_200_000.hosts) as zk:
            assert len(zk.get_children("/p")) == 60


async def test_an_answer_longer_than_we_take_is_asked_for_in_pieces_and_at_last_left_out(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    zk.create(zk_root)
    for number in range(40):
        zk.create(f"{zk_root}/s{number}", b"x" * 10_000)
    zk.create(f"{zk_root}/long", b"x" * 200_000)
    zk.create(f"{zk_root}/many/children", b"deep", makepath=True)
    for answer in [zk.create_async(f"{zk_root}/wide/{'n' * 300}{n}", makepath=True) for n in range(500)]:
        answer.get(30)
    monkeypatch.setattr(connection_thread, "MAX_ANSWER_BYTES", 100_000)
    source = ZooKeeperSource(SessionSettings(hosts=zookeeper_server.hosts), path=zk_root)
    try:
        async with asyncio.timeout(120):
            await source.connect()
            records, listing, attempts = await listed(source)
            assert attempts == 0
            found = {one.key for one in records}
            assert set(listing.unreadable) == {f"{zk_root}/long", f"{zk_root}/wide"}
            assert set(source.unreadable) == set(listing.unreadable)
            assert all("longer than hybridsync takes" in why for why in source.unreadable.values())
            assert len(found) == 40 + 4
            assert f"{zk_root}/many/children" in found
            assert await source.read([Dirty(f"{zk_root}/long")]) == []
    finally:
        await source.close()
