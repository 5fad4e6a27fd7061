"""What ZooKeeper refuses to hold: each key is named with the reason, whoever writes it, and nothing else waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest
from kazoo.client import KazooClient
from kazoo.protocol.serialization import Create2
from kazoo.security import make_acl, make_digest_acl

from hybridsync.embedded import ZooKeeperServer
from hybridsync.errors import SinkError
from hybridsync.full_sync import FullSync
from hybridsync.model import Change, Put, Record, Remove
from hybridsync.sinks.publish_batch import CULPRITS
from hybridsync.sinks.zookeeper import ZooKeeperSink
from hybridsync.sweep_guard import SweepRules
from hybridsync.testing import MemorySource
from tests.publishing import publishing, record, requests_counted
from tests.servers import GivenZooKeeper, connected

Server = ZooKeeperServer | GivenZooKeeper
Write = Callable[[ZooKeeperSink, dict[str, Record], set[str]], Awaitable[dict[str, str]]]


async def watched(sink: ZooKeeperSink, records: dict[str, Record], gone: set[str]) -> dict[str, str]:
    """As the watch writes; returns what failed."""
    changes: list[Change] = [*map(Put, records.values()), *map(Remove, gone)]
    return (await sink.apply(changes)).failed


async def full_sync(sink: ZooKeeperSink, records: dict[str, Record], gone: set[str]) -> dict[str, str]:
    """As a full sync writes, which sweeps what is gone; returns what failed."""
    source = MemorySource()
    source.records = dict(records)
    sync = FullSync(source, sink, rules=SweepRules(100), stall_seconds=60)
    await sync.run()
    return sync.failed


both_ways = pytest.mark.parametrize("write", [watched, full_sync])


def records(*keys: str, content: object = "v") -> dict[str, Record]:
    return {key: record(key, content) for key in keys}


def rights(**given: bool) -> list[object]:
    """Of everybody."""
    return [make_acl("world", "anyone", **given), make_digest_acl("somebody", "else", all=True)]


@pytest.fixture(scope="module")
def with_quotas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer]:
    with ZooKeeperServer(tmp_path_factory.mktemp("quotas"), extra_config=["enforceQuota=true"]) as server:
        yield server


def limit(zk: KazooClient, path: str, **limits: int) -> None:
    """As `setquota` of ZooKeeper's shell does it."""
    values = {"byteHardLimit": -1, "countHardLimit": -1} | limits
    text = "count=-1,bytes=-1=;" + ";".join(f"{name}={value}" for name, value in values.items())
    zk.create(f"/zookeeper/quota{path}/zookeeper_limits", text.encode(), makepath=True)
    zk.create(f"/zookeeper/quota{path}/zookeeper_stats", b"count=1,bytes=0")


@both_ways
async def test_a_quota_of_znodes_refuses_those_that_are_too_many(with_quotas: ZooKeeperServer, write: Write) -> None:
    path = f"/quota-{write.__name__}"
    with connected(with_quotas.hosts) as zk:
        zk.create(path)
        limit(zk, path, countHardLimit=4)
        async with publishing(with_quotas.hosts, path) as sink:
            assert not await write(sink, records("a", "b", "c"), set())
            failed = await write(sink, records("a", "b", "c", "d", "e"), set())
            assert sorted(failed) == ["d", "e"]
            assert all("quota" in why for why in failed.values())
            held = sorted(zk.get_children(path))
            assert held == ["a", "b", "c"]
            failed = await write(sink, records("b", content="new"), {"a", "c"})
            assert not failed
            assert zk.get(f"{path}/b")[0] == b'"new"'


@both_ways
async def test_a_quota_of_bytes_refuses_the_one_that_is_too_long(with_quotas: ZooKeeperServer, write: Write) -> None:
    path = f"/bytes-{write.__name__}"
    with connected(with_quotas.hosts) as zk:
        zk.create(path)
        limit(zk, path, byteHardLimit=2_000)
        async with publishing(with_quotas.hosts, path) as sink:
            wanted = records("a", "b") | records("long", content="x" * 5_000)
            failed = await write(sink, wanted, set())
            assert list(failed) == ["long"]
            assert "quota" in failed["long"]
            assert sorted(zk.get_children(path)) == ["a", "b"]


@both_ways
async def test_a_path_that_is_an_ephemeral_znode_is_an_error_that_says_so(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, write: Write
) -> None:
    zk.create(zk_root, ephemeral=True)
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        with pytest.raises(SinkError, match=f"{zk_root} is an ephemeral znode, which cannot have children"):
            await write(sink, records(*"abcde"), set())
        with pytest.raises(SinkError, match="ephemeral"):
            await sink.prepare()
        zk.delete(zk_root)
        assert not await write(sink, records(*"abcde"), set())
        assert sorted(zk.get_children(zk_root)) == list("abcde")


@both_ways
async def test_a_path_that_became_an_ephemeral_znode_meanwhile_fails_each_key_or_says_so(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, write: Write
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await sink.prepare()
        zk.delete(zk_root)
        zk.create(zk_root, ephemeral=True)
        try:
            failed = await write(sink, records(*"abc"), set())
        except SinkError as error:
            failed = dict.fromkeys("abc", str(error))
        assert set(failed) == set("abc")
        assert all("ephemeral" in why for why in failed.values())


async def test_a_container_is_a_path_like_any_other(zookeeper_server: Server, zk: KazooClient, zk_root: str) -> None:
    """Its `ephemeralOwner` is a mark and no session."""

    class CreateContainer(Create2):  # type: ignore[misc]  # kazoo has no types
        type = 19

    zk._call(
        CreateContainer(zk_root, b"", [make_acl("world", "anyone", all=True)], 4), answer := zk.handler.async_result()
    )
    answer.get(30)
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        assert not await watched(sink, records("a"), set())


@both_ways
async def test_without_the_right_to_create_the_new_ones_are_named_and_the_others_written(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, write: Write
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await write(sink, records("a", "b", "old"), set())
        zk.set_acls(zk_root, rights(read=True, write=True, delete=True))
        new = [f"new-{number}" for number in range(4 * CULPRITS)]
        wanted = records(*new) | records("a", "b", content="changed")
        with requests_counted() as sent:
            failed = await write(sink, wanted, {"old"})
        assert set(failed) == set(new)
        assert all(why.endswith(f"of {zk_root} gives no CREATE") for why in failed.values())
        assert sorted(zk.get_children(zk_root)) == ["a", "b"]
        assert zk.get(f"{zk_root}/a")[0] == b'"changed"'
        assert sent.count("Transaction") <= 6, "a right that is missing for one is missing for all"


@both_ways
async def test_without_the_right_to_delete_what_should_go_is_named_and_the_others_written(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, write: Write
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        old = {f"old-{number}" for number in range(4 * CULPRITS)}
        await write(sink, records("a", *old), set())
        zk.set_acls(zk_root, rights(read=True, write=True, create=True))
        with requests_counted() as sent:
            failed = await write(sink, records("a", content="changed") | records("new"), old)
        assert set(failed) == old
        assert all("was not deleted" in why and "gives no DELETE" in why for why in failed.values())
        assert zk.get(f"{zk_root}/a")[0] == b'"changed"'
        assert zk.exists(f"{zk_root}/new")
        assert sent.count("Transaction") <= 6


@both_ways
async def test_children_of_somebody_else_stand_in_the_way_of_one_removal_only(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, write: Write
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await write(sink, records("a", "b", "c"), set())
        zk.create(f"{zk_root}/b/gateway")
        failed = await write(sink, records("c", content="changed"), {"a", "b"})
        assert list(failed) == ["b"]
        assert "has children (1) that are not hybridsync's" in failed["b"]
        assert sorted(zk.get_children(zk_root)) == ["b", "c"]
        zk.delete(f"{zk_root}/b/gateway")
        assert not await write(sink, records("c", content="changed"), {"b"})
        assert zk.get_children(zk_root) == ["c"]


@both_ways
async def test_a_znode_that_may_not_be_written_or_read_is_named_and_the_others_written(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, write: Write
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await write(sink, records("a", "b", "c"), set())
        zk.set_acls(f"{zk_root}/a", rights(read=True))
        zk.set_acls(f"{zk_root}/b", rights(write=True))
        failed = await write(sink, records("a", "b", "c", content="changed"), set())
        assert set(failed) == {"a", "b"}
        assert "may not be read" in failed["b"]
        assert failed["a"].endswith("of the znode gives no WRITE")
        assert zk.get(f"{zk_root}/c")[0] == b'"changed"'
