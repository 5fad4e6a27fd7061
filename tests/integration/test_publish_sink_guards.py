"""Who saw another state than the one that is there has old news: nothing is overwritten or deleted by it."""

from __future__ import annotations

import asyncio

from kazoo.client import KazooClient

from hybridsync.embedded import ZooKeeperServer
from hybridsync.model import Applied, Change, Put, Remove
from tests.publishing import index_of, publishing, record
from tests.servers import GivenZooKeeper

Server = ZooKeeperServer | GivenZooKeeper


async def test_a_sweep_spares_what_was_published_anew_since_it_looked(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await sink.apply([Put(record("same")), Put(record("changed", 1)), Put(record("anew", 1))])
        seen = await index_of(sink)
        zk.set(f"{zk_root}/changed", b"2")
        zk.delete(f"{zk_root}/anew")
        zk.create(f"{zk_root}/anew", b"2")  # its data has the same version number as before
        assert await sink.apply([Remove(key, seen=version) for key, version in seen.items()]) == Applied(deleted=1)
        assert sorted(zk.get_children(zk_root)) == ["anew", "changed"]


async def test_a_full_sync_does_not_overwrite_what_is_newer_than_its_index(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await sink.apply([Put(record("changed", 1)), Put(record("gone", 1)), Put(record("same", 1))])
        seen = await index_of(sink)
        zk.set(f"{zk_root}/changed", b"3")
        zk.delete(f"{zk_root}/gone")
        zk.create(f"{zk_root}/new", b"3")
        changes = [Put(record(key, 2), seen.get(key)) for key in ("changed", "gone", "same", "new")]
        assert await sink.apply(changes) == Applied(updated=1, unchanged=3)
        assert {name: zk.get(f"{zk_root}/{name}")[0] for name in zk.get_children(zk_root)} == {
            "changed": b"3",
            "same": b"2",
            "new": b"3",
        }


async def test_an_edit_overwrites_whatever_is_there(zookeeper_server: Server, zk: KazooClient, zk_root: str) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await sink.apply([Put(record("a", 1)), Put(record("b", 1)), Put(record("c", 1))])
        await index_of(sink)
        zk.set(f"{zk_root}/a", b"tampered")
        zk.delete(f"{zk_root}/b")
        zk.delete(f"{zk_root}/c")
        zk.create(f"{zk_root}/d", b"tampered")
        changes: list[Change] = [Put(record("a", 2)), Put(record("b", 2)), Remove("c"), Put(record("d", 2))]
        assert await sink.apply(changes) == Applied(inserted=1, updated=2)
        assert {name: zk.get(f"{zk_root}/{name}")[0] for name in zk.get_children(zk_root)} == dict.fromkeys("abd", b"2")


async def test_a_path_that_was_deleted_with_all_below_it_comes_back(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with publishing(zookeeper_server.hosts, f"{zk_root}/channels") as sink:
        await sink.apply([Put(record("a")), Put(record("b"))])
        await index_of(sink)
        zk.delete(zk_root, recursive=True)
        changes: list[Change] = [Put(record("a", 2)), Put(record("c")), Remove("b")]
        assert await sink.apply(changes) == Applied(inserted=2)
        assert sorted(zk.get_children(f"{zk_root}/channels")) == ["a", "c"]
        assert await sink.apply([Put(record("b"))]) == Applied(inserted=1)


async def test_the_path_comes_back_although_nothing_is_to_be_published(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await sink.prepare()
        zk.delete(zk_root)
        await sink.prepare()
        assert zk.get_children(zk_root) == []


async def test_data_that_somebody_writes_into_the_path_itself_does_no_harm(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        for number in range(5):
            assert await sink.apply([Put(record(f"k{number}"))]) == Applied(inserted=1)
            zk.set(zk_root, b"maintained by the gateway team")
        assert zk.get(zk_root)[0] == b"maintained by the gateway team"


async def test_two_sinks_on_one_path_end_with_the_same_znodes(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    puts = [Put(record(f"k{number}", number)) for number in range(300)]
    removes = [Remove(f"k{number}") for number in range(0, 300, 2)]
    async with publishing(zookeeper_server.hosts, zk_root) as one, publishing(zookeeper_server.hosts, zk_root) as other:
        both = await asyncio.gather(one.apply(puts), other.apply(puts))
        assert [applied.failed for applied in both] == [{}, {}]
        assert sum(applied.inserted for applied in both) == 300
        both = await asyncio.gather(one.apply(removes), other.apply(removes))
        assert [applied.failed for applied in both] == [{}, {}]
        assert sum(applied.deleted for applied in both) == 150
        assert await index_of(one) == {put.key: put.record.version for put in puts[1::2]}


async def test_a_path_that_was_deleted_and_made_again_is_another_one(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    """Whoever did it took everything along that was published, also while no service ran."""
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        assert await sink.identity() is None
        await sink.apply([Put(record("a"))])
        before = await sink.identity()
        assert before is not None
        await sink.apply([Put(record("a", 2)), Put(record("b"))])
        assert await sink.identity() == before
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        assert await sink.identity() == before
        zk.delete(zk_root, recursive=True)
        assert await sink.identity() is None
        zk.create(zk_root)
        assert await sink.identity() not in (None, before)
