"""Publishing to a real ZooKeeper: what is written, what is not, and what is left alone."""

from __future__ import annotations

import pytest
from kazoo.client import KazooClient
from structlog.testing import capture_logs

from hybridsync.embedded import ZooKeeperServer
from hybridsync.errors import ConfigurationError
from hybridsync.model import Applied, Put, Record, Remove
from hybridsync.sinks.znode_name import encode
from hybridsync.sinks.zookeeper import ZooKeeperSink
from hybridsync.zookeeper.settings import SessionSettings
from tests.publishing import index_of, publishing, record, requests_counted
from tests.servers import GivenZooKeeper

Server = ZooKeeperServer | GivenZooKeeper


async def test_the_path_and_its_parents_are_created_by_prepare(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with publishing(zookeeper_server.hosts, f"{zk_root}/a/b") as sink:
        assert await sink.count() == 0
        assert await index_of(sink) == {}
        assert zk.exists(zk_root) is None
        await sink.prepare()
        assert zk.get_children(f"{zk_root}/a") == ["b"]


async def test_the_chroot_is_created_as_well(zookeeper_server: Server, zk: KazooClient, zk_root: str) -> None:
    async with publishing(f"{zookeeper_server.hosts}{zk_root}/prod", "/channels") as sink:
        await sink.apply([Put(record("a", 1))])
        assert zk.get(f"{zk_root}/prod/channels/a")[0] == b"1"
        assert await index_of(sink) == {"a": record("a", 1).version}


async def test_records_are_created_changed_and_deleted(zookeeper_server: Server, zk: KazooClient, zk_root: str) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        assert await sink.apply([Put(record("a", {"n": 1})), Put(record("b", {"n": 1}))]) == Applied(inserted=2)
        assert await sink.apply([Put(record("a", {"n": 2})), Remove("b"), Remove("c")]) == Applied(updated=1, deleted=1)
        assert zk.get_children(zk_root) == ["a"]
        assert zk.get(f"{zk_root}/a")[0] == b'{"n":2}'
        assert await sink.count() == 1


async def test_a_znode_that_somebody_else_made_before_is_taken_over(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(f"{zk_root}/same", b"1", makepath=True)
    zk.create(f"{zk_root}/other", b"1")
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        changes = [Put(record("same", 1)), Put(record("other", 2))]
        assert await sink.apply(changes) == Applied(updated=1, unchanged=1)
        assert [zk.get(f"{zk_root}/{name}")[1].version for name in ("same", "other")] == [0, 1]


async def test_equal_bytes_are_not_written_and_after_a_listing_not_even_asked_for(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    records = [record(f"k{number}", number) for number in range(100)]
    async with publishing(zookeeper_server.hosts, zk_root) as first:
        await first.apply([Put(one) for one in records])
    zxid = zk.get(f"{zk_root}/k5")[1].mzxid
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        assert await sink.apply([Put(one) for one in records[:50]]) == Applied(unchanged=50)
        assert await index_of(sink) == {one.key: one.version for one in records}
        with requests_counted() as sent:
            assert await sink.apply([Put(one) for one in records]) == Applied(unchanged=100)
        assert sent == []
    assert zk.get(f"{zk_root}/k5")[1].mzxid == zxid
    assert zk.get(zk_root)[1].pzxid == zxid  # the one transaction that created them all


async def test_removing_what_was_never_published_sends_nothing(zookeeper_server: Server, zk_root: str) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await sink.prepare()
        await index_of(sink)
        with requests_counted() as sent:
            assert await sink.apply([Remove(f"disabled-{number}") for number in range(500)]) == Applied()
        assert sent == []


async def test_five_hundred_records_are_one_transaction(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await sink.prepare()
        await index_of(sink)
        with requests_counted() as sent:
            puts = [Put(record(f"k{number}", number), replaces=None) for number in range(500)]
            assert await sink.apply(puts) == Applied(inserted=500)
            assert sent == ["Transaction"]
            assert await sink.apply([Remove(f"k{number}") for number in range(500)]) == Applied(deleted=500)
            assert sent == ["Transaction", "Transaction"]
        assert zk.get_children(zk_root) == []


TRICKY_KEYS = [
    "a/b",
    "100%",
    "%2F",
    "",
    ".",
    "..",
    "a\nb",
    "\x7f",
    "\ue000",
    "\ufffd",
    "\U0001f600",
    "日本",
    "a b",
    "zookeeper",
]


async def test_keys_that_no_znode_name_can_hold_are_published_under_encoded_names(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        records = [record(key, key) for key in TRICKY_KEYS]
        assert await sink.apply([Put(one) for one in records]) == Applied(inserted=len(records))
        assert set(zk.get_children(zk_root)) == {encode(key) for key in TRICKY_KEYS}
        assert await index_of(sink) == {one.key: one.version for one in records}
        assert await sink.held(TRICKY_KEYS) == {one.key: one.version for one in records}
        assert await sink.differing(records) == []
        assert await sink.apply([Remove(key) for key in TRICKY_KEYS]) == Applied(deleted=len(records))


async def test_every_character_below_u_3000_and_around_the_forbidden_ranges_is_accepted(
    zookeeper_server: Server, zk_root: str
) -> None:
    codes = [*range(0x3000), *range(0xD7F0, 0xD800), *range(0xF8F0, 0xF910), *range(0xFFE0, 0x10010)]
    keys = [chr(code) for code in codes]
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        assert await sink.apply([Put(record(key)) for key in keys]) == Applied(inserted=len(keys))
        assert set(await index_of(sink)) == set(keys)
        assert await sink.apply([Remove(key) for key in keys]) == Applied(deleted=len(keys))


async def test_what_is_none_of_ours_is_left_alone_and_named_once(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(f"{zk_root}/%zz/deep", b"x", makepath=True)
    zk.create(f"{zk_root}/a", b'"v"')
    zk.create(f"{zk_root}/a/ephemeral", b"gateway", ephemeral=True)
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        with capture_logs() as logs:
            assert await index_of(sink) == {"a": record("a").version}
            assert await index_of(sink) == {"a": record("a").version}
        assert [entry["names"] for entry in logs if "left alone" in entry["event"]] == [["%zz"]]
        assert await sink.count() == 1
        assert await sink.apply([Put(record("a", 2))]) == Applied(updated=1)
        assert zk.get_children(f"{zk_root}/a") == ["ephemeral"]


async def test_a_znode_with_foreign_children_is_not_deleted_and_said_so(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await sink.apply([Put(record(name)) for name in "abc"])
        zk.create(f"{zk_root}/b/gateway-1", b"", ephemeral=True)
        applied = await sink.apply([Remove(name) for name in "abc"])
        assert applied.deleted == 2
        assert list(applied.failed) == ["b"]
        assert "children (1)" in applied.failed["b"]
        zk.delete(f"{zk_root}/b/gateway-1")
        assert await sink.apply([Remove("b")]) == Applied(deleted=1)


async def test_differences_are_found_by_content(zookeeper_server: Server, zk: KazooClient, zk_root: str) -> None:
    records = [record(name) for name in "abc"]
    async with publishing(zookeeper_server.hosts, zk_root) as sink:
        await sink.apply([Put(one) for one in records])
        zk.set(f"{zk_root}/a", b"tampered")
        zk.delete(f"{zk_root}/b")
        assert sorted(await sink.differing(records)) == ["a", "b"]
        held = await sink.held(["a", "b", "c"])
        assert set(held) == {"a", "c"}
        assert await sink.apply([Put(records[0], held["a"]), Put(records[1], None)]) == Applied(inserted=1, updated=1)
        assert await sink.differing(records) == []


@pytest.mark.parametrize("path", ["", "channels", "/a/", "/a//b", "/a/../b", "/.", "/a\nb", "/\ue000"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="allowed is an absolute path"):
        ZooKeeperSink(SessionSettings(hosts="127.0.0.1:1"), path=path)


async def test_at_the_root_the_znode_of_zookeeper_itself_is_not_ours(own_zookeeper: ZooKeeperServer) -> None:
    async with publishing(own_zookeeper.hosts, "/") as sink:
        await sink.prepare()
        assert await index_of(sink) == {}
        assert await sink.apply([Put(Record("zookeeper", b"x", 1))]) == Applied(inserted=1)
        assert await sink.count() == 1
