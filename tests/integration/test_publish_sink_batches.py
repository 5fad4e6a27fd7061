"""A batch that cannot be done as a whole: each culprit is named, everything else is written."""

from __future__ import annotations

from kazoo.client import KazooClient
from kazoo.security import make_acl, make_digest_acl

from hybridsync.embedded import ZooKeeperServer
from hybridsync.model import Applied, Change, Put, Record, Remove
from hybridsync.sinks.publish_batch import CULPRITS
from hybridsync.sinks.publish_jobs import MAX_VALUE_BYTES, UNREADABLE
from tests.publishing import index_of, publishing, record, requests_counted
from tests.servers import GivenZooKeeper

Server = ZooKeeperServer | GivenZooKeeper
MIB = 1024 * 1024


def read_only() -> list[object]:
    """Everybody may read, nobody here may write."""
    return [make_acl("world", "anyone", read=True), make_digest_acl("somebody", "else", all=True)]


async def test_one_znode_that_may_not_be_written_holds_up_none_of_the_others(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(f"{zk_root}/k250", b"0", makepath=True)
    zk.set_acls(f"{zk_root}/k250", read_only())
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await index_of(sink)
        with requests_counted() as sent:
            applied = await sink.apply([Put(record(f"k{number}", number)) for number in range(500)])
        assert applied.inserted == 499
        assert list(applied.failed) == ["k250"]
        assert "gives no WRITE" in applied.failed["k250"]
        assert sent.count("Transaction") == 2
        assert len(zk.get_children(zk_root)) == 500


async def test_many_culprits_are_told_apart_from_the_rest(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.ensure_path(zk_root)
    refused = {f"k{number}" for number in range(0, 200, 5)}
    assert len(refused) > CULPRITS
    for key in refused:
        zk.create(f"{zk_root}/{key}", b"0")
        zk.set_acls(f"{zk_root}/{key}", read_only())
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        applied = await sink.apply([Put(record(f"k{number}")) for number in range(200)])
        assert set(applied.failed) == refused
        assert applied.inserted == 160


async def test_a_path_in_which_nothing_may_be_created_fails_each_key(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(zk_root)
    zk.set_acls(zk_root, read_only())
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        applied = await sink.apply([Put(record(f"k{number}")) for number in range(50)])
        assert len(applied.failed) == 50
        assert applied.inserted == 0


async def test_five_hundred_znodes_with_children_are_told_in_a_few_requests(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await sink.apply([Put(record(f"k{number}")) for number in range(300)])
        for number in range(0, 300, 2):
            zk.create(f"{zk_root}/k{number}/child", b"")
        with requests_counted() as sent:
            applied = await sink.apply([Remove(f"k{number}") for number in range(300)])
        assert applied.deleted == 150
        assert len(applied.failed) == 150
        assert len(sent) < 12


async def test_values_up_to_the_limit_are_published_and_longer_ones_named(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await sink.prepare()
        room = sink._writes.room
        overhead = len(f"{zk_root}/fits".encode()) + 9 + 4 + 4 + 4 + 4 + 9 + 10 + 4
        fits = Record("fits", bytes(room - overhead), 1)
        assert await sink.apply([Put(record("before")), Put(fits), Put(record("after"))]) == Applied(inserted=3)
        changes = [
            Put(record("one more")),
            Put(Record("long", bytes(room - overhead + 1), 1)),
            Put(Record("longer", bytes(MAX_VALUE_BYTES + 1), 1)),
            Put(Record("longest", bytes(3 * MIB), 1)),
        ]
        applied = await sink.apply(changes)
        assert applied.inserted == 1
        assert set(applied.failed) == {"long", "longer", "longest"}
        assert all("are allowed" in reason for reason in applied.failed.values())
        assert zk.get(f"{zk_root}/fits")[1].dataLength == len(fits.value)


async def test_a_batch_of_many_megabytes_goes_in_several_transactions(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        puts = [Put(Record(f"k{number}", bytes(200_000), number)) for number in range(30)]
        with requests_counted() as sent:
            assert await sink.apply(puts) == Applied(inserted=30)
        assert sent.count("Transaction") == 16  # two at a time, and one that creates the path
        assert len(await index_of(sink)) == 30


async def test_a_key_too_long_for_a_path_is_named_and_the_connection_lives_on(
    zookeeper_server: Server, zk_root: str
) -> None:
    long, longer = "k" * 200_000, "k" * 300_000
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        applied = await sink.apply([Put(record("a")), Put(record(long)), Put(record(longer))])
        assert applied.inserted == 2
        assert list(applied.failed) == [longer]
        assert set(await sink.held(["a", long, longer])) == {"a", long}
        with requests_counted() as sent:
            await sink.apply([Remove(long), Remove(longer)])
        assert sent == ["Transaction"]


async def test_a_znode_that_may_not_be_read_is_there_and_left_as_it_is(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(f"{zk_root}/hidden", b"0", makepath=True)
    zk.set_acls(f"{zk_root}/hidden", [make_digest_acl("somebody", "else", all=True)])
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        assert await index_of(sink) == {"hidden": UNREADABLE}
        assert await sink.differing([record("hidden")]) == ["hidden"]
        tries: list[list[Change]] = [
            [Put(record("hidden"), UNREADABLE)],
            [Put(record("hidden"))],
            [Remove("hidden", seen=UNREADABLE)],
            [Remove("hidden")],
        ]
        for changes in tries:
            applied = await sink.apply(changes)
            assert list(applied.failed) == ["hidden"]
            assert "may not be read" in applied.failed["hidden"]
        assert await sink.count() == 1
