"""What a listing of a real tree holds: shapes, sizes, names, what is hidden and what goes away meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from kazoo.client import KazooClient
from kazoo.security import OPEN_ACL_UNSAFE, make_acl, make_digest_acl

from hybridsync.dirty import DirtySet
from hybridsync.embedded import ZooKeeperServer
from hybridsync.errors import ConfigurationError, SourceDisconnected
from hybridsync.model import ANY, Dirty, Listing, Put, Record, Remove
from hybridsync.sources.zookeeper import ZooKeeperSource
from hybridsync.znode import Stat, version_of
from hybridsync.zookeeper.settings import SessionSettings
from tests.multiread_answers import sent_stat
from tests.proxy import TcpProxy
from tests.servers import GivenZooKeeper

Server = ZooKeeperServer | GivenZooKeeper
MIB = 1024 * 1024


@asynccontextmanager
async def reading(hosts: str, path: str, *exclude: str, auth: str | None = None) -> AsyncIterator[ZooKeeperSource]:
    source = ZooKeeperSource(SessionSettings(hosts=hosts, auth=auth), path=path, exclude=exclude)
    try:
        await source.connect()
        yield source
    finally:
        await source.close()


async def listed(source: ZooKeeperSource, listing: Listing | None = None) -> dict[str, Record]:
    records: dict[str, Record] = {}
    async for batch in source.list(listing or Listing()):
        for record in batch.records:
            assert record.key not in records
            records[record.key] = record
    return records


def fill(zk: KazooClient, paths: list[str], value: bytes = b"v") -> None:
    pending = []
    for path in paths:
        pending.append(zk.create_async(path, value))
        if len(pending) >= 200:
            for one in pending:
                one.get()
            pending = []
    for one in pending:
        one.get()


async def test_a_root_that_does_not_exist_is_an_empty_tree(zookeeper_server: Server, zk_root: str) -> None:
    async with reading(zookeeper_server.hosts, zk_root) as source:
        listing = Listing()
        assert await listed(source, listing) == {}
        assert listing.position is not None
        assert listing.position.isdecimal()


async def test_every_znode_comes_with_its_value_version_and_stat(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(zk_root, b"root")
    zk.create(f"{zk_root}/a", b"")
    zk.create(f"{zk_root}/a/b", bytes(range(256)), ephemeral=True)
    zk.set(f"{zk_root}/a", b"\xff\x00")
    async with reading(zookeeper_server.hosts, zk_root) as source:
        listing = Listing()
        records = await listed(source, listing)
        for path in (zk_root, f"{zk_root}/a", f"{zk_root}/a/b"):
            value, stat = zk.get(path)
            assert records.pop(path) == Record(path, value, version_of(Stat(*stat)), sent_stat(Stat(*stat)))
            assert int(listing.position or 0) >= stat.mzxid
        assert records == {}
        assert listing.unreadable == []


async def test_five_thousand_children_of_one_parent(zookeeper_server: Server, zk: KazooClient, zk_root: str) -> None:
    paths = [zk_root, *(f"{zk_root}/child-{number}" for number in range(5000))]
    fill(zk, paths)
    async with reading(zookeeper_server.hosts, zk_root) as source:
        sizes = [len(batch.records) async for batch in source.list(Listing())]
        assert sum(sizes) == 5001
        assert max(sizes) <= 1000
        assert set(await listed(source)) == set(paths)


async def test_a_tree_two_hundred_levels_deep(zookeeper_server: Server, zk: KazooClient, zk_root: str) -> None:
    paths = [zk_root + "/d" * level for level in range(201)]
    fill(zk, paths)
    async with reading(zookeeper_server.hosts, zk_root) as source:
        assert set(await listed(source)) == set(paths)


ODD_NAMES = ["a b", ".hidden", "$x", "x.y", "!bang", "-dash", "zürich", "日本", "a%2Fb", "quote'\"", "\\b", "[x]", "*"]


async def test_odd_names_are_listed_watched_and_read(zookeeper_server: Server, zk: KazooClient, zk_root: str) -> None:
    async with reading(zookeeper_server.hosts, zk_root) as source:
        dirty = DirtySet()
        async with source.watch(dirty) as watch:
            paths = [zk_root, *(f"{zk_root}/{name}" for name in ODD_NAMES)]
            paths += [f"{path}/{name}" for path in paths[1:4] for name in ODD_NAMES]
            fill(zk, paths)
            await watch.probe()
            marked = dirty.take(1000)
            assert {key for key, _ in marked} == set(paths)
            assert {change.key for change in await source.read(marked) if isinstance(change, Put)} == set(paths)
        assert set(await listed(source)) == set(paths)


async def test_what_is_excluded_is_neither_read_nor_descended(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    kept = [zk_root, f"{zk_root}/tmp", f"{zk_root}/a", f"{zk_root}/a/x"]
    fill(zk, [*kept, f"{zk_root}/tmp/1", f"{zk_root}/tmp/1/2", f"{zk_root}/a/lock-7", f"{zk_root}/a/lock-7/z"])
    async with reading(zookeeper_server.hosts, zk_root, f"{zk_root}/tmp/**", "/**/lock-*") as source:
        assert set(await listed(source)) == set(kept)
        keys = [Dirty(f"{zk_root}/tmp/1"), Dirty(f"{zk_root}/a/x"), Dirty(f"{zk_root}/a/lock-7/gone"), Dirty("/other")]
        changes = await source.read(keys)
        assert [change.key for change in changes if isinstance(change, Put)] == [f"{zk_root}/a/x"]
        assert all(change.as_of == 0 for change in changes if isinstance(change, Remove))


async def test_a_chroot_is_invisible(zookeeper_server: Server, zk: KazooClient, zk_root: str) -> None:
    fill(zk, [zk_root, f"{zk_root}/app", f"{zk_root}/app/x", f"{zk_root}/other"])
    async with reading(f"{zookeeper_server.hosts}{zk_root}", "/app") as source:
        assert set(await listed(source)) == {"/app", "/app/x"}
        assert f"{zk_root} " not in source.description
    async with reading(f"{zookeeper_server.hosts}{zk_root}/", "/") as source:
        assert set(await listed(source)) == {"/", "/app", "/app/x", "/other"}
    async with reading(f"{zookeeper_server.hosts}{zk_root}/nowhere", "/") as source:
        assert await listed(source) == {}


async def test_the_whole_tree_can_be_the_root(own_zookeeper: ZooKeeperServer) -> None:
    async with reading(own_zookeeper.hosts, "/") as source:
        assert {"/", "/zookeeper"} <= set(await listed(source))
        changes = await source.read([Dirty("/"), Dirty("/zookeeper"), Dirty("/nothing/here")])
        kinds = {change.key: type(change) for change in changes}
        assert kinds == {"/": Put, "/zookeeper": Put, "/nothing/here": Remove}


async def test_subtrees_that_may_not_be_read_are_named_and_the_rest_is_listed(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.add_auth("digest", "owner:secret")
    hidden = [make_digest_acl("owner", "secret", all=True)]
    listable = [make_acl("world", "anyone", write=True, create=True, delete=True, admin=True)]
    fill(zk, [zk_root, f"{zk_root}/a", f"{zk_root}/z"])
    for path, acl in (("/private", hidden), ("/private/x", OPEN_ACL_UNSAFE), ("/a/unread", listable)):
        zk.create(zk_root + path, b"s", acl=acl)
    async with reading(zookeeper_server.hosts, zk_root) as source:
        listing = Listing()
        assert set(await listed(source, listing)) == {zk_root, f"{zk_root}/a", f"{zk_root}/z"}
        assert sorted(listing.unreadable) == [f"{zk_root}/a/unread", f"{zk_root}/private"]
        assert await source.read([Dirty(f"{zk_root}/private")]) == []
    async with reading(zookeeper_server.hosts, zk_root, auth="digest:owner:secret") as source:
        listing = Listing()
        assert {f"{zk_root}/private", f"{zk_root}/private/x"} <= set(await listed(source, listing))
        assert listing.unreadable == [f"{zk_root}/a/unread"]


async def test_a_root_that_may_not_be_read_is_not_an_empty_tree(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.add_auth("digest", "owner:secret")
    zk.create(zk_root, b"s", acl=[make_digest_acl("owner", "secret", all=True)])
    async with reading(zookeeper_server.hosts, zk_root) as source:
        listing = Listing()
        assert await listed(source, listing) == {}
        assert listing.unreadable == [zk_root]


async def test_a_hundred_znodes_of_one_mib_come_in_small_answers(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    fill(zk, [zk_root, f"{zk_root}/small", f"{zk_root}/big"])
    fill(zk, [f"{zk_root}/small/{number}" for number in range(500)])
    for number in range(100):
        zk.create(f"{zk_root}/big/{number}", b"%d" % (number % 10) * (MIB - 1000))
    async with reading(zookeeper_server.hosts, zk_root) as source:
        largest = count = 0
        async for batch in source.list(Listing()):
            count += len(batch.records)
            largest = max(largest, sum(len(record.value) for record in batch.records))
            for record in batch.records:
                if record.key.startswith(f"{zk_root}/big/"):
                    assert record.value == b"%d" % (int(record.key[-1])) * (MIB - 1000)
        assert count == 603
        assert largest < 10 * MIB


async def test_znodes_that_vanish_or_appear_during_the_walk(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    parents = [f"{zk_root}/p{number}" for number in range(20)]
    stable = [zk_root, *parents, *(f"{parent}/stays" for parent in parents)]
    fill(zk, stable)
    stop = False

    def churn() -> int:
        rounds = 0
        while not stop:
            for parent in parents:
                pending = [zk.create_async(f"{parent}/flickers-{number}", b"f") for number in range(5)]
                pending += [zk.create_async(f"{parent}/flickers-0/below", b"f")]
                pending += [zk.delete_async(f"{parent}/flickers-0/below")]
                pending += [zk.delete_async(f"{parent}/flickers-{number}") for number in range(5)]
                for one in pending:
                    one.wait()
            rounds += 1
        return rounds

    churning = asyncio.create_task(asyncio.to_thread(churn))
    try:
        async with reading(zookeeper_server.hosts, zk_root) as source:
            for _ in range(50):
                records = await listed(source)
                assert set(stable) <= set(records)
                assert all(key in stable or "/flickers-" in key for key in records)
    finally:
        stop = True
        assert await churning > 0


async def test_reading_says_what_is_there_and_what_is_gone_and_as_of_when(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    fill(zk, [zk_root, f"{zk_root}/new", f"{zk_root}/old"])
    zk.create(f"{zk_root}/gone")
    zk.delete(f"{zk_root}/gone")
    deleted = zk.last_zxid
    async with reading(zookeeper_server.hosts, zk_root) as source:
        keys = [Dirty(f"{zk_root}/new", "created"), Dirty(f"{zk_root}/old", "changed"), Dirty(f"{zk_root}/gone")]
        changes = {change.key: change for change in await source.read(keys)}
        new, old, gone = (changes.pop(key) for key, _ in keys)
        assert changes == {}
        assert isinstance(new, Put)
        assert new.replaces is None
        assert isinstance(old, Put)
        assert old.replaces == ANY
        assert isinstance(gone, Remove)
        assert gone.subtree
        assert (gone.as_of or 0) >= deleted
        assert await source.read([]) == []


async def test_a_consumer_that_stops_early_leaves_nothing_running(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    fill(zk, [zk_root, *(f"{zk_root}/{number}" for number in range(3000))])
    async with reading(zookeeper_server.hosts, zk_root) as source:
        before = asyncio.all_tasks()
        for _ in range(100):  # more than there are slots for calls under way
            batches = source.list(Listing())
            await anext(batches)
            await batches.aclose()
        assert asyncio.all_tasks() == before
        assert len(await listed(source)) == 3001


async def test_a_cancelled_listing_leaves_the_session_usable(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    fill(zk, [zk_root, *(f"{zk_root}/{number}" for number in range(500))])
    async with reading(zookeeper_server.hosts, zk_root) as source:
        for _ in range(100):
            listing = asyncio.create_task(listed(source))
            await asyncio.sleep(0.001)
            listing.cancel()
            await asyncio.gather(listing, return_exceptions=True)
        assert len(await listed(source)) == 501


async def test_a_cut_in_the_middle_of_a_listing_is_an_error_not_an_end(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, proxy_factory: Callable[[str, int], TcpProxy]
) -> None:
    fill(zk, [zk_root, *(f"{zk_root}/{number}" for number in range(3000))], b"x" * 1000)
    proxy = proxy_factory("127.0.0.1", zookeeper_server.port)
    async with reading(proxy.address, zk_root) as source:
        for allowed in (50, 5_000, 100_000, 1_000_000):
            while True:
                try:
                    await source.connect()
                    break
                except SourceDisconnected:
                    continue
            proxy.drop_after(allowed, "to_client")
            with pytest.raises(SourceDisconnected):
                await listed(source)
            await source.connect()
        assert len(await listed(source)) == 3001


async def test_a_listing_does_not_go_on_across_a_gap(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, proxy_factory: Callable[[str, int], TcpProxy]
) -> None:
    fill(zk, [zk_root, *(f"{zk_root}/{number}" for number in range(8000))])
    proxy = proxy_factory("127.0.0.1", zookeeper_server.port)
    async with reading(proxy.address, zk_root) as source:
        batches = source.list(Listing())
        await anext(batches)
        await asyncio.sleep(0.2)  # nothing is under way any more
        async with source.watch(DirtySet()) as watch:
            proxy.cut()
            with pytest.raises(SourceDisconnected):
                await watch.lost
        await source.connect()
        with pytest.raises(SourceDisconnected):
            async for _ in batches:
                pass


@pytest.mark.parametrize("path", ["", "services", "/services/", "//x", "/a/../b", "/a/./b"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="absolute path"):
        ZooKeeperSource(SessionSettings(hosts="h"), path=path)
