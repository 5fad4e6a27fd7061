"""Full syncs and comparisons with a ZooKeeper path as the sink."""

from __future__ import annotations

import pytest
from kazoo.client import KazooClient

from hybridsync.canonical import content_version
from hybridsync.embedded import ZooKeeperServer
from hybridsync.errors import SweepRefused
from hybridsync.full_sync import FullSync
from hybridsync.model import Record
from hybridsync.sinks.zookeeper import ZooKeeperSink
from hybridsync.sweep_guard import SweepRules
from hybridsync.testing import MemorySource
from hybridsync.verify import verify
from tests.publishing import publishing
from tests.servers import GivenZooKeeper

Server = ZooKeeperServer | GivenZooKeeper


def source_of(**content: bytes) -> MemorySource:
    """A source whose versions are hashes, as those of publishing are."""
    source = MemorySource()
    source.list_batch = 1000
    source.records = {key: Record(key, value, content_version(value)) for key, value in content.items()}
    return source


def numbered(count: int, value: bytes = b"1") -> dict[str, bytes]:
    return {f"k{number:04}": value for number in range(count)}


async def synced(source: MemorySource, sink: ZooKeeperSink) -> tuple[int, int, int, int]:
    """Inserted, updated, deleted and unchanged of one full sync in which nothing failed."""
    sync = FullSync(source, sink, rules=SweepRules(50), stall_seconds=60)
    await sync.run()
    assert sync.failed == {}
    progress = sync.progress
    return progress.inserted, progress.updated, progress.deleted, progress.unchanged


async def test_a_full_sync_writes_differences_and_sweeps_what_is_gone(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        assert await synced(source_of(**numbered(2500)), sink) == (2500, 0, 0, 0)
        source = source_of(**numbered(2500) | {"k0001": b"2", "new": b"1"})
        del source.records["k0002"]
        assert await synced(source, sink) == (1, 1, 1, 2498)
        before = zk.get(zk_root)[1].pzxid
        assert await synced(source, sink) == (0, 0, 0, 2500)
        assert zk.get(zk_root)[1].pzxid == before
        assert zk.get(f"{zk_root}/k0001")[0] == b"2"


async def test_a_sweep_that_would_delete_too_much_changes_nothing(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await synced(source_of(**numbered(200)), sink)
        with pytest.raises(SweepRefused):
            await synced(source_of(other=b"1"), sink)
        assert len(zk.get_children(zk_root)) == 200


async def test_foreign_znodes_neither_count_nor_go_in_a_full_sync(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(f"{zk_root}/%zz", b"", makepath=True)
    zk.create(f"{zk_root}/k0000/gateway", b"", makepath=True)
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        assert await synced(source_of(**numbered(2)), sink) == (1, 1, 0, 0)
    assert sorted(zk.get_children(zk_root)) == ["%zz", "k0000", "k0001"]
    assert zk.get_children(f"{zk_root}/k0000") == ["gateway"]


async def test_tampering_is_found_and_repaired(zookeeper_server: Server, zk: KazooClient, zk_root: str) -> None:
    source = source_of(**numbered(10))
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await synced(source, sink)
        zk.set(f"{zk_root}/k0001", b"tampered")
        zk.delete(f"{zk_root}/k0002")
        zk.create(f"{zk_root}/extra", b"")
        report = await verify(source, sink, settle_seconds=0.01)
        assert (report.missing, report.extra, report.different) == (1, 1, 1)
        report = await verify(source, sink, repair=True, settle_seconds=0.01)
        assert report.repaired == 3
        assert (await verify(source, sink, settle_seconds=0.01)).drift == 0
