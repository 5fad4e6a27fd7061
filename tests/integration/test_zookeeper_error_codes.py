"""Replies with error codes: whatever the code, the session goes on or is dropped loudly, and nothing hangs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from hybridsync.dirty import DirtySet
from hybridsync.embedded import ZooKeeperServer
from hybridsync.errors import ListingFailed, PositionExpired, SinkError, SourceDisconnected, SourceError
from hybridsync.model import Applied, Dirty, Listing, Put
from hybridsync.sources import zookeeper as source_room
from hybridsync.sources.zookeeper import ZooKeeperSource, ZooKeeperWatch
from hybridsync.zookeeper.settings import SessionSettings
from tests.publishing import publishing, record
from tests.servers import GivenZooKeeper
from tests.zookeeper_replies import ADD_WATCH, AUTH, EXISTS, MULTI_READ, SYNC, TRANSACTION, ReplyProxy

Server = ZooKeeperServer | GivenZooKeeper

LOUD = (-4, -112, -115, -118, -124)
"""After these a server does nothing more on the connection."""

QUIET = (-1, -3, -5, -7, -8, -13, -100, -101, -102, -103, -110, -122, -125, -126, -127, -128, -999_999, 1, 2_000_000)


def always(code: int, *opcodes: int) -> dict[int, int]:
    return dict.fromkeys(opcodes, code)


@asynccontextmanager
async def watched(
    proxy: ReplyProxy, path: str, dirty: DirtySet
) -> AsyncIterator[tuple[ZooKeeperSource, ZooKeeperWatch]]:
    source = ZooKeeperSource(SessionSettings(hosts=proxy.address), path=path)
    try:
        await source.connect()
        async with source.watch(dirty) as watch:
            yield source, watch
    finally:
        await source.close()


@pytest.mark.parametrize("opcode", [SYNC, EXISTS])
async def test_a_proof_that_gets_an_error_code_is_in_vain_and_the_next_one_proves(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, opcode: int
) -> None:
    wrong: dict[int, int] = {}
    dirty = DirtySet()
    with ReplyProxy("127.0.0.1", zookeeper_server.port, wrong.get) as proxy:
        async with watched(proxy, zk_root, dirty) as (_, watch), asyncio.timeout(120):
            for code in QUIET:
                if (code, opcode) == (-101, EXISTS):
                    continue  # an answer like any other
                wrong.update(always(code, opcode))
                with pytest.raises(SourceError, match=re.escape(f"error {code}")) as refused:
                    await watch.probe()
                assert "\n" not in str(refused.value)
                wrong.clear()
                await watch.probe()
                assert not watch.lost.done()
            zk.create(zk_root)
            await watch.probe()
            assert [key for key, _ in dirty.take(9)] == [zk_root]
        assert proxy.connections == 1


async def test_a_throttled_proof_says_so_in_words(zookeeper_server: Server, zk_root: str) -> None:
    wrong: dict[int, int] = {}
    with ReplyProxy("127.0.0.1", zookeeper_server.port, wrong.get) as proxy:
        async with watched(proxy, zk_root, DirtySet()) as (_, watch):
            wrong.update(always(-127, SYNC))
            with pytest.raises(ListingFailed, match=r"error -127 \(THROTTLEDOP: the server is overloaded"):
                await watch.probe()
            wrong.update(always(-125, SYNC))
            with pytest.raises(ListingFailed, match="QUOTAEXCEEDED"):
                await watch.probe()


async def test_a_look_at_hidden_subtrees_that_gets_an_error_code_fails_one_proof_and_not_all(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_room, "LOOK_AGAIN_SECONDS", 3600.0)
    zk.create(f"{zk_root}/secret", makepath=True)
    zk.set_acls(f"{zk_root}/secret", [make_digest_acl("somebody", "else", all=True)])
    wrong: dict[int, int] = {}
    with ReplyProxy("127.0.0.1", zookeeper_server.port, wrong.get) as proxy:
        async with watched(proxy, zk_root, DirtySet()) as (source, watch):
            assert await source.read([Dirty(f"{zk_root}/secret")]) == []
            wrong.update(always(-127, MULTI_READ))
            with pytest.raises(ListingFailed, match="THROTTLEDOP"):
                await watch.probe()
            await watch.probe()
            assert list(source.unreadable) == [f"{zk_root}/secret"]


@pytest.mark.parametrize("code", LOUD)
async def test_a_code_that_ends_a_connection_ends_the_watch_at_once_and_the_next_connection_is_whole(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, code: int
) -> None:
    wrong: dict[int, int] = {}
    with ReplyProxy("127.0.0.1", zookeeper_server.port, wrong.get) as proxy:
        async with asyncio.timeout(60), watched(proxy, zk_root, DirtySet()) as (source, watch):
            wrong.update(always(code, EXISTS))
            with pytest.raises((SourceDisconnected, PositionExpired)):
                await watch.probe()
            await asyncio.wait([watch.lost], timeout=30)
            assert watch.lost.exception() is not None
            wrong.clear()
            while True:
                try:
                    await source.connect()
                except (SourceDisconnected, PositionExpired):
                    continue
                break
            async with source.watch(DirtySet()) as again:
                await again.probe()


@pytest.mark.parametrize("code", [-127, -128, -999_999, -8, -5])
async def test_an_error_code_for_a_listing_or_a_watch_fails_it_and_nothing_else(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, code: int
) -> None:
    zk.create(zk_root)
    wrong: dict[int, int] = {}
    with ReplyProxy("127.0.0.1", zookeeper_server.port, wrong.get) as proxy:
        async with asyncio.timeout(60), watched(proxy, zk_root, DirtySet()) as (source, watch):
            wrong.update(always(code, MULTI_READ, ADD_WATCH))
            with pytest.raises(ListingFailed, match=f"error {code}"):
                async for _ in source.list(Listing()):
                    pass
            with pytest.raises(SourceError, match=f"error {code}"):
                async with source.watch(DirtySet()):
                    pass
            wrong.clear()
            assert [batch async for batch in source.list(Listing())]
            await watch.probe()


@pytest.mark.parametrize("code", [-127, -128, -8])
async def test_an_error_code_for_a_transaction_is_an_error_of_the_sink_and_the_next_one_is_done(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, code: int
) -> None:
    wrong: dict[int, int] = {}
    with ReplyProxy("127.0.0.1", zookeeper_server.port, wrong.get) as proxy:
        async with asyncio.timeout(60), publishing(proxy.address, zk_root) as sink:
            await sink.apply([Put(record("a"))])
            wrong.update(always(code, TRANSACTION))
            with pytest.raises(SinkError, match=f"error {code}"):
                await sink.apply([Put(record("b"))])
            wrong.clear()
            applied = await sink.apply([Put(record("b"))])
            assert applied == Applied(inserted=1) or applied == Applied(unchanged=1)  # the transaction itself was done
            assert sorted(zk.get_children(zk_root)) == ["a", "b"]


@pytest.mark.parametrize("code", [-127, -999_999, -4, -124])
async def test_an_error_code_for_the_credentials_is_told_and_tried_again(
    zookeeper_server: Server, zk_root: str, code: int
) -> None:
    wrong = always(code, AUTH)
    with ReplyProxy("127.0.0.1", zookeeper_server.port, wrong.get) as proxy:
        settings = SessionSettings(hosts=proxy.address, auth="digest:me:hunter22")
        source = ZooKeeperSource(settings, path=zk_root)
        source._session.deadline_seconds = 2.0
        try:
            with pytest.raises(SourceDisconnected, match=f"error {code}") as refused:
                await source.connect()
            assert "hunter22" not in str(refused.value)
            assert f"error {code}" in (source.trouble or "")
            wrong.clear()
            source._session.deadline_seconds = 30.0
            await source.connect()
            assert source.trouble is None
        finally:
            await source.close()
