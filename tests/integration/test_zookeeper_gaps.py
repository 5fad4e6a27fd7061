"""Connections that break, sessions that end, servers that freeze: what the source says then, and when."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.protocol.serialization import Exists

from hybridsync.dirty import DirtySet
from hybridsync.embedded import ZooKeeperServer
from hybridsync.errors import PositionExpired, SourceDisconnected, SourceError
from hybridsync.model import Listing, Put
from hybridsync.sources.zookeeper import ZooKeeperSource, ZooKeeperWatch
from hybridsync.zookeeper.settings import SessionSettings
from tests.eventually import eventually
from tests.proxy import Directions, TcpProxy
from tests.servers import GivenZooKeeper, connected

Server = ZooKeeperServer | GivenZooKeeper
Proxies = Callable[[str, int], TcpProxy]


def source_at(hosts: str, path: str = "/g", timeout: float = 30.0) -> ZooKeeperSource:
    return ZooKeeperSource(SessionSettings(hosts=hosts, timeout_seconds=timeout), path=path)


async def reconnected(source: ZooKeeperSource, seconds: float = 60.0) -> int:
    """Connects however often it takes; returns how many sessions were reported as over."""
    expired = 0
    async with asyncio.timeout(seconds):
        while True:
            try:
                await source.connect()
                return expired
            except PositionExpired:
                expired += 1
            except SourceDisconnected:
                continue


async def keys(source: ZooKeeperSource) -> set[str]:
    return {record.key async for batch in source.list(Listing()) for record in batch.records}


async def lost(watch: ZooKeeperWatch, seconds: float = 60.0) -> BaseException | None:
    """The reason why the watch is gone."""
    await asyncio.wait([watch.lost], timeout=seconds)
    assert watch.lost.done()
    return watch.lost.exception()


async def test_a_cut_connection_ends_the_watch_and_the_session_goes_on(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, proxy_factory: Proxies
) -> None:
    proxy = proxy_factory("127.0.0.1", zookeeper_server.port)
    source = source_at(proxy.address, zk_root)
    try:
        for _ in range(5):
            assert await reconnected(source) == 0
            dirty = DirtySet()
            async with source.watch(dirty) as watch:
                zk.ensure_path(zk_root)
                await watch.probe()
                proxy.cut()
                assert type(await lost(watch)) is SourceDisconnected
                with pytest.raises(SourceDisconnected):
                    await watch.probe()
        assert await reconnected(source) == 0
        assert await keys(source) == {zk_root}
    finally:
        await source.close()


async def test_an_old_watch_stays_useless_on_the_next_connection(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, proxy_factory: Proxies
) -> None:
    proxy = proxy_factory("127.0.0.1", zookeeper_server.port)
    source = source_at(proxy.address, zk_root)
    try:
        await source.connect()
        old = DirtySet()
        async with source.watch(old) as watch:
            proxy.cut()
            await lost(watch)
            await reconnected(source)
            new = DirtySet()
            async with source.watch(new) as fresh:
                zk.create(zk_root)
                await fresh.probe()
                assert [key for key, _ in new.take(9)] == [zk_root]
                assert len(old) == 0
                with pytest.raises(SourceDisconnected):
                    await watch.probe()
    finally:
        await source.close()


@pytest.mark.parametrize("direction", ["to_client", "to_server"])
async def test_a_probe_that_gets_no_answer_drops_the_connection_in_time(
    zookeeper_server: Server, zk_root: str, proxy_factory: Proxies, direction: Directions
) -> None:
    proxy = proxy_factory("127.0.0.1", zookeeper_server.port)
    source = source_at(proxy.address, zk_root, timeout=9.0)
    try:
        await source.connect()
        async with source.watch(DirtySet()) as watch:
            await watch.probe()
            proxy.stall(direction)
            begin = time.monotonic()
            with pytest.raises(SourceDisconnected, match="did not answer"):
                await watch.probe()
            assert 2.5 < time.monotonic() - begin < 9.0
            assert isinstance(await lost(watch), SourceDisconnected)
            proxy.resume()
        assert await reconnected(source) == 0
    finally:
        await source.close()


async def test_a_short_freeze_is_no_gap(own_zookeeper: ZooKeeperServer) -> None:
    source = source_at(own_zookeeper.hosts)
    with connected(own_zookeeper.hosts) as zk:
        try:
            await source.connect()
            dirty = DirtySet()
            async with source.watch(dirty) as watch:
                own_zookeeper.pause()
                probing = asyncio.create_task(watch.probe())
                pending = zk.create_async("/g")
                await asyncio.sleep(2)
                assert not probing.done()
                own_zookeeper.resume()
                await probing
                await asyncio.to_thread(pending.get, 30)
                await watch.probe()
                assert [key for key, _ in dirty.take(9)] == ["/g"]
                assert not watch.lost.done()
        finally:
            await source.close()


async def test_a_freeze_beyond_the_session_timeout_ends_the_session_and_it_is_said_once(
    own_zookeeper: ZooKeeperServer,
) -> None:
    source = source_at(own_zookeeper.hosts, timeout=2.0)
    try:
        await source.connect()
        async with source.watch(DirtySet()) as watch:
            own_zookeeper.pause()
            assert isinstance(await lost(watch), SourceDisconnected)
        with pytest.raises(PositionExpired):
            await source.connect()
        own_zookeeper.resume()
        assert await reconnected(source) == 0
        assert await keys(source) == set()
    finally:
        own_zookeeper.resume()
        await source.close()


async def test_an_expired_session_is_reported_once_and_followed_by_a_new_one(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, proxy_factory: Proxies
) -> None:
    proxy = proxy_factory("127.0.0.1", zookeeper_server.port)
    source = source_at(proxy.address, zk_root, timeout=2.0)
    try:
        for _ in range(2):
            await reconnected(source)
            dirty = DirtySet()
            async with source.watch(dirty) as watch:
                proxy.refuse()
                assert isinstance(await lost(watch), SourceDisconnected)
            zk.ensure_path(zk_root)
            with pytest.raises(PositionExpired):
                await source.connect()
            proxy.accept_again()
            assert await reconnected(source) == 0
            assert await keys(source) == {zk_root}
    finally:
        await source.close()


async def test_a_server_that_ends_the_session_itself(own_zookeeper: ZooKeeperServer) -> None:
    """Somebody else closes our session: the server then says so as soon as kazoo is back."""
    source = source_at(own_zookeeper.hosts)
    try:
        await source.connect()
        client = source._session._link._client  # type: ignore[union-attr]
        async with source.watch(DirtySet()) as watch:
            thief = KazooClient(own_zookeeper.hosts, client_id=client.client_id)
            await asyncio.to_thread(thief.start)
            await asyncio.to_thread(thief.stop)
            thief.close()
            assert isinstance(await lost(watch), SourceError)
        begin = time.monotonic()
        assert await reconnected(source) == 1
        assert time.monotonic() - begin < 20
        assert await keys(source) == set()
    finally:
        await source.close()


async def test_a_server_whose_data_was_wiped_is_accepted_after_the_session_timeout(
    own_zookeeper: ZooKeeperServer,
) -> None:
    with connected(own_zookeeper.hosts) as zk:
        for number in range(50):
            zk.create(f"/n{number}")
    source = source_at(own_zookeeper.hosts, "/", timeout=3.0)
    try:
        await source.connect()
        assert "/n7" in await keys(source)
        async with source.watch(DirtySet()) as watch:
            await asyncio.to_thread(own_zookeeper.stop)
            assert isinstance(await lost(watch), SourceDisconnected)
        own_zookeeper.wipe()
        await asyncio.to_thread(own_zookeeper.start)
        assert await reconnected(source) == 1
        found = await keys(source)
        assert "/" in found
        assert "/n7" not in found
    finally:
        await source.close()


async def test_a_server_that_is_started_later(tmp_path: Path) -> None:
    server = ZooKeeperServer(tmp_path / "late")
    with server:
        pass  # the port is known now
    source = source_at(server.hosts, timeout=2.0)
    source._session.deadline_seconds = 0.5
    try:
        with pytest.raises(SourceDisconnected, match=r"no connection to ZooKeeper at .* within 0\.5 s: .*refused"):
            await source.connect()
        with server:
            assert await reconnected(source) == 0
            assert await keys(source) == set()
    finally:
        await source.close()


async def test_calls_of_a_lost_connection_fail_at_once(
    zookeeper_server: Server, zk_root: str, proxy_factory: Proxies
) -> None:
    """Also those that kazoo would still send on the next connection: they could not count as a proof."""
    proxy = proxy_factory("127.0.0.1", zookeeper_server.port)
    source = source_at(proxy.address, zk_root)
    try:
        for _ in range(6):
            await reconnected(source)
            async with source.watch(DirtySet()) as watch:
                proxy.stall("to_client")
                probes = [asyncio.create_task(watch.probe()) for _ in range(100)]
                await asyncio.sleep(0)
                proxy.cut()
                proxy.resume()
                failures = await asyncio.gather(*probes, return_exceptions=True)
                assert {type(failure) for failure in failures} == {SourceDisconnected}
    finally:
        await source.close()


async def test_flapping_connections_never_block_the_loop(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, proxy_factory: Proxies
) -> None:
    zk.create(zk_root)
    proxy = proxy_factory("127.0.0.1", zookeeper_server.port)
    source = source_at(proxy.address, zk_root, timeout=4.0)
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            longest, last = max(longest, now - last), now

    ticking = asyncio.create_task(tick())
    try:
        for round_number in range(9):
            await reconnected(source)
            reads = [asyncio.create_task(keys(source)) for _ in range(80)]
            await asyncio.sleep(0.01 * (round_number % 3))
            await asyncio.to_thread(proxy.cut)
            await asyncio.gather(*reads, return_exceptions=True)
        await reconnected(source)
        assert await keys(source) == {zk_root}
        assert longest < 3.0
    finally:
        ticking.cancel()
        await source.close()


async def test_closing_ends_the_session_on_the_server(own_zookeeper: ZooKeeperServer) -> None:
    source = source_at(own_zookeeper.hosts)
    await source.connect()
    async with source.watch(DirtySet()):
        assert await asyncio.to_thread(own_zookeeper.ask, "wchs") != ""
        before = await asyncio.to_thread(own_zookeeper.ask, "mntr")
    await source.close()
    await source.close()
    after = await asyncio.to_thread(own_zookeeper.ask, "mntr")
    assert sessions(before) == 1
    assert sessions(after) == 0
    with pytest.raises(SourceDisconnected, match="closed"):
        await source.connect()


def sessions(monitor: str) -> int:
    values = dict(line.split("\t") for line in monitor.splitlines() if line.count("\t") == 1)
    return int(values["zk_global_sessions"])


async def test_closing_does_not_wait_for_a_frozen_server(own_zookeeper: ZooKeeperServer) -> None:
    source = source_at(own_zookeeper.hosts)
    await source.connect()
    async with source.watch(DirtySet()) as watch:
        own_zookeeper.pause()
        probing = asyncio.create_task(watch.probe())
        await asyncio.sleep(0)
        begin = time.monotonic()
        await source.close()
        assert time.monotonic() - begin < 6
        with pytest.raises(SourceDisconnected, match="closed"):
            await probing
        assert isinstance(watch.lost.exception(), SourceDisconnected)


async def test_closing_before_and_during_connecting(own_zookeeper: ZooKeeperServer) -> None:
    unused = source_at(own_zookeeper.hosts)
    await unused.close()
    own_zookeeper.pause()
    source = source_at(own_zookeeper.hosts)
    connecting = asyncio.create_task(source.connect())
    await asyncio.sleep(0.2)
    begin = time.monotonic()
    await source.close()
    assert time.monotonic() - begin < 6
    with pytest.raises(SourceDisconnected, match="closed"):
        await connecting


async def test_whatever_is_cut_the_copy_equals_the_tree_once_a_probe_says_so(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, proxy_factory: Proxies
) -> None:
    """List, watch, read and prove as the engine does it, over a connection that breaks at random bytes."""
    chance = random.Random(7)
    zk.create(zk_root, b"-")
    for number in range(200):
        zk.create(f"{zk_root}/{number}", b"0")
    proxy = proxy_factory("127.0.0.1", zookeeper_server.port)
    source = source_at(proxy.address, zk_root)
    compared = gaps = 0

    def change_something() -> None:
        path = f"{zk_root}/{chance.randrange(250)}"
        if zk.exists(path) is None:
            zk.create(path, b"new")
        elif chance.random() < 0.3:
            zk.delete(path)
        else:
            zk.set(path, b"%d" % chance.randrange(1000))

    def truth() -> dict[str, bytes]:
        paths = [zk_root, *(f"{zk_root}/{name}" for name in zk.get_children(zk_root))]
        reads = [zk.get_async(path) for path in paths]
        return {path: read.get()[0] for path, read in zip(paths, reads, strict=True)}

    try:
        while compared < 15 or gaps < 6:
            try:
                await reconnected(source)
                dirty = DirtySet()
                async with source.watch(dirty) as watch:
                    proxy.drop_after(chance.randrange(1, 25_000), "to_client")
                    change_something()
                    copy = {one.key: one.value async for batch in source.list(Listing()) for one in batch.records}
                    while True:
                        for _ in range(5):
                            change_something()
                        await watch.probe()
                        while dirty.waiting:
                            for change in await source.read(dirty.take(3)):
                                if isinstance(change, Put):
                                    copy[change.key] = change.record.value
                                else:
                                    copy.pop(change.key, None)
                            dirty.acknowledge()
                        assert copy == truth()
                        compared += 1
            except SourceDisconnected:
                gaps += 1
    finally:
        await source.close()


async def test_calls_beyond_what_kazoo_can_take_fail_and_never_block(
    zookeeper_server: Server, zk_root: str, proxy_factory: Proxies
) -> None:
    """kazoo#577: each call leaves a byte in a socket pair, whose 279th would block the caller."""
    proxy = proxy_factory("127.0.0.1", zookeeper_server.port)
    source = source_at(proxy.address, zk_root)
    try:
        await source.connect()
        async with source.watch(DirtySet()) as watch:
            link = source._session._link
            assert link is not None
            waker = link._client._connection._write_sock
            proxy.refuse()
            with suppress(BlockingIOError):
                while True:
                    waker.send(b"\0")
            link.call(Exists("/", False), IgnoringSink())
            await lost(watch)
        proxy.accept_again()

        async def recovered() -> bool:
            await reconnected(source)
            with suppress(SourceDisconnected):  # the bytes of before are still being taken out
                return await keys(source) == set()
            return False

        await eventually(recovered, what="a listing after the socket pair was emptied")
    finally:
        await source.close()


class IgnoringSink:
    """Takes any answer."""

    def set(self, value: object) -> None:
        pass

    def set_exception(self, error: Exception) -> None:
        pass
