"""A ZooKeeper that goes away while it is written to: what it did is found out, and nothing comes late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError

from hybridsync.embedded import ZooKeeperServer
from hybridsync.embedded.ports import LOOPBACK
from hybridsync.errors import SinkError, SinkUnavailable
from hybridsync.model import ANY, Applied, Change, Put, Remove
from hybridsync.zookeeper import lifetime, writes
from tests.eventually import eventually
from tests.proxy import TcpProxy
from tests.publishing import index_of, publishing, record, requests_counted
from tests.servers import GivenZooKeeper, connected

Server = ZooKeeperServer | GivenZooKeeper
Proxies = Callable[[str, int], TcpProxy]
COUNT = 300


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives up sooner than a service would."""
    monkeypatch.setattr(writes, "RETRY_SECONDS", 1.0)
    monkeypatch.setattr(writes, "OPERATION_SECONDS", 2.0)
    monkeypatch.setattr(lifetime, "CONNECT_SECONDS", 1.0)


async def test_transactions_whose_answer_was_lost_are_not_done_twice_and_counted_right(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, proxy_factory: Proxies
) -> None:
    proxy = proxy_factory(LOOPBACK, zookeeper_server.port)
    async with publishing(proxy.address, zk_root) as sink:
        await sink.prepare()
        await index_of(sink)
        proxy.drop_after(1, "to_client")  # the answer to what comes next
        assert await sink.apply([Put(record(f"k{number}"), None) for number in range(COUNT)]) == Applied(inserted=COUNT)
        assert zk.get(f"{zk_root}/k7")[1].version == 0
        proxy.drop_after(1, "to_client")
        assert await sink.apply([Put(record(f"k{number}", 2)) for number in range(COUNT)]) == Applied(updated=COUNT)
        assert zk.get(f"{zk_root}/k7")[1].version == 1
        proxy.drop_after(1, "to_client")
        assert await sink.apply([Remove(f"k{number}") for number in range(COUNT)]) == Applied(deleted=COUNT)
        assert zk.get_children(zk_root) == []


async def test_a_transaction_that_was_given_up_can_no_longer_be_done(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, proxy_factory: Proxies
) -> None:
    proxy = proxy_factory(LOOPBACK, zookeeper_server.port)
    zk.create(zk_root, b"of the gateway team")
    async with publishing(proxy.address, zk_root) as sink:
        await sink.apply([Put(record("a"))])
        await index_of(sink)
        before = zk.get(zk_root)[1].version
        proxy.drop_after(1, "to_client")
        await sink.apply([Put(record("b"))])
        # What is under way from before has this check at its beginning.
        late = zk.transaction()
        late.check(zk_root, before)
        late.create(f"{zk_root}/phantom", b"")
        assert isinstance(late.commit()[0], BadVersionError)
        data, stat = zk.get(zk_root)
        assert (data, stat.version) == (b"of the gateway team", before + 1)


async def test_what_may_come_late_is_made_void_before_anybody_looks_whether_it_came(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, proxy_factory: Proxies
) -> None:
    proxy = proxy_factory(LOOPBACK, zookeeper_server.port)
    async with publishing(proxy.address, zk_root) as sink:
        await sink.prepare()
        await index_of(sink)
        proxy.stall("to_server")
        writing = asyncio.create_task(sink.apply([Put(record("late"), None)]))
        await eventually(lambda: sink._published.of("late") == ANY, what="the write is under way")
        proxy.cut()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        proxy.resume()
        assert await sink.apply([Remove("late")]) == Applied()  # nothing is there, so nothing is deleted
        assert zk.get(zk_root)[1].version == 1


async def test_a_write_that_is_cut_off_is_looked_at_before_the_next_one(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, proxy_factory: Proxies
) -> None:
    proxy = proxy_factory(LOOPBACK, zookeeper_server.port)
    async with publishing(proxy.address, zk_root) as sink:
        await sink.prepare()
        await index_of(sink)
        proxy.stall("to_client")
        writing = asyncio.create_task(sink.apply([Put(record("a"), None)]))
        await eventually(lambda: zk.exists(f"{zk_root}/a"), what="the write reached the server")
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        proxy.resume()
        with requests_counted() as sent:
            assert await sink.apply([Remove("a")]) == Applied(deleted=1)
        assert sent == ["MultiRead", "Transaction"]


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_cannot_be_reached_is_said_to_be_so_and_everything_is_done_once_it_can(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, proxy_factory: Proxies
) -> None:
    proxy = proxy_factory(LOOPBACK, zookeeper_server.port)
    async with publishing(proxy.address, zk_root) as sink:
        await sink.apply([Put(record("a"))])
        proxy.refuse()
        changes: list[Change] = [Put(record("a", 2)), Put(record("b")), Remove("c")]
        for attempt in (sink.prepare, sink.count, lambda: index_of(sink), lambda: sink.apply(changes)):
            with pytest.raises(SinkUnavailable, match=proxy.address):
                await attempt()
        proxy.accept_again()

        async def written() -> bool:
            try:
                return await sink.apply(changes) == Applied(inserted=1, updated=1)
            except SinkUnavailable:
                return False

        await eventually(written, what="the changes are written")
        assert zk.get(f"{zk_root}/a")[0] == b"2"


@pytest.mark.usefixtures("impatient")
async def test_a_frozen_server_is_given_up_and_what_it_did_late_is_seen(own_zookeeper: ZooKeeperServer) -> None:
    async with publishing(own_zookeeper.hosts, "/channels") as sink:
        await sink.apply([Put(record("a", 0))])
        await index_of(sink)
        own_zookeeper.pause()
        try:
            with pytest.raises(SinkUnavailable):
                await sink.apply([Put(record("a", 1)), Put(record("b", 1))])
        finally:
            own_zookeeper.resume()

        async def withdrawn() -> bool:
            try:
                await sink.apply([Put(record("a", 2)), Remove("b")])
            except SinkUnavailable:
                return False
            return True

        await eventually(withdrawn, what="newer changes are written")
        with connected(own_zookeeper.hosts) as zk:
            assert {name: zk.get(f"/channels/{name}")[0] for name in zk.get_children("/channels")} == {"a": b"2"}


async def test_what_was_known_before_a_session_ended_is_looked_at_again(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, proxy_factory: Proxies
) -> None:
    proxy = proxy_factory(LOOPBACK, zookeeper_server.port)
    async with publishing(proxy.address, zk_root, seconds=2.0) as sink:
        await sink.apply([Put(record("a")), Put(record("b"))])
        await index_of(sink)
        proxy.refuse()
        zk.delete(f"{zk_root}/a")
        zk.create(f"{zk_root}/c", b"phantom")
        await eventually(lambda: sink._session._over, what="the session is over")
        proxy.accept_again()
        changes: list[Change] = [Put(record("a")), Put(record("b")), Remove("c")]
        assert await sink.apply(changes) == Applied(inserted=1, deleted=1, unchanged=1)


async def test_a_server_killed_in_the_middle_of_a_large_batch_ends_up_with_all_of_it(
    own_zookeeper: ZooKeeperServer,
) -> None:
    async with publishing(own_zookeeper.hosts, "/channels") as sink:
        await sink.prepare()
        await index_of(sink)
        puts = [Put(record(f"k{number}", "x" * 5_000), None) for number in range(2_000)]
        writing = asyncio.create_task(sink.apply(puts))
        await eventually(lambda: sink._published._doubtful, what="the batch is under way")
        await asyncio.to_thread(own_zookeeper.kill)
        await asyncio.to_thread(own_zookeeper.start)
        while True:
            try:
                await writing
                break
            except SinkUnavailable:
                writing = asyncio.create_task(sink.apply([Put(put.record) for put in puts]))
        assert await index_of(sink) == {put.key: put.record.version for put in puts}


async def test_a_sink_that_was_closed_says_so_at_once(zookeeper_server: Server, zk_root: str) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await sink.apply([Put(record("a"))])
        await sink.close()
        with pytest.raises(SinkError, match="closed"):
            await sink.apply([Put(record("b"))])
