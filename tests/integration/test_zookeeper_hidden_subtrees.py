"""What an access list hides: named with the reason, looked at again by proofs, compared as soon as it opens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from kazoo.client import KazooClient
from kazoo.security import OPEN_ACL_UNSAFE, make_digest_acl

from hybridsync.dirty import DirtySet
from hybridsync.embedded import ZooKeeperServer
from hybridsync.model import Dirty, Listing, Put, Remove
from hybridsync.sources import hidden
from hybridsync.sources import zookeeper as source_room
from hybridsync.sources.zookeeper import ZooKeeperSource, ZooKeeperWatch
from hybridsync.zookeeper.settings import SessionSettings
from tests.publishing import requests_counted
from tests.servers import GivenZooKeeper, connected

Server = ZooKeeperServer | GivenZooKeeper
CLOSED = [make_digest_acl("somebody", "else", all=True)]


@pytest.fixture(autouse=True)
def every_proof_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_room, "LOOK_AGAIN_SECONDS", 0.0)


@asynccontextmanager
async def watched(server: Server, path: str, dirty: DirtySet) -> AsyncIterator[tuple[ZooKeeperSource, ZooKeeperWatch]]:
    source = ZooKeeperSource(SessionSettings(hosts=server.hosts), path=path)
    try:
        await source.connect()
        async with source.watch(dirty) as watch:
            yield source, watch
    finally:
        await source.close()


async def listed(source: ZooKeeperSource) -> tuple[set[str], Listing]:
    listing = Listing()
    return {one.key async for batch in source.list(listing) for one in batch.records}, listing


async def test_a_subtree_that_opens_again_is_owed_a_comparison_by_the_next_look(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    """It was changed while it was hidden: no event tells of that, nor of the access list."""
    zk.create(f"{zk_root}/secret/below", b"1", makepath=True)
    dirty = DirtySet()
    async with watched(zookeeper_server, zk_root, dirty) as (source, watch):
        zk.set_acls(f"{zk_root}/secret", CLOSED)
        found, listing = await listed(source)
        assert found == {zk_root}
        assert listing.unreadable == list(source.unreadable) == [f"{zk_root}/secret"]
        why = source.unreadable[f"{zk_root}/secret"]
        assert "READ" in why
        assert "HYBRIDSYNC_ZOOKEEPER_AUTH" in why
        assert "\n" not in why
        for _ in range(3):
            await watch.probe()
        assert not dirty.overflowed
        with connected(zookeeper_server.hosts, auth_data=[("digest", "somebody:else")]) as owner:
            owner.set(f"{zk_root}/secret", b"2")
            owner.set_acls(f"{zk_root}/secret", OPEN_ACL_UNSAFE)
        await watch.probe()
        assert dirty.overflowed
        assert dirty.reason == f"a subtree may be read again: {zk_root}/secret"
        dirty.clear()
        await watch.probe()
        assert not dirty.overflowed, "a listing is owed already"
        found, listing = await listed(source)
        assert f"{zk_root}/secret/below" in found
        assert not listing.unreadable
        assert not source.unreadable
        await watch.probe()
        assert not dirty.overflowed


async def test_a_subtree_that_closes_and_opens_twice_is_noticed_twice(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(f"{zk_root}/a", makepath=True)
    dirty = DirtySet()
    with connected(zookeeper_server.hosts, auth_data=[("digest", "somebody:else")]) as owner:
        async with watched(zookeeper_server, zk_root, dirty) as (source, watch):
            for _ in range(2):
                owner.set_acls(f"{zk_root}/a", CLOSED)
                await listed(source)
                owner.set_acls(f"{zk_root}/a", OPEN_ACL_UNSAFE)
                await watch.probe()
                assert dirty.overflowed
                dirty.clear()
                await listed(source)


async def test_a_hidden_subtree_that_is_gone_is_read_as_gone(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(f"{zk_root}/secret", makepath=True)
    zk.set_acls(f"{zk_root}/secret", CLOSED)
    dirty = DirtySet()
    async with watched(zookeeper_server, zk_root, dirty) as (source, watch):
        await listed(source)
        assert list(source.unreadable) == [f"{zk_root}/secret"]
        zk.delete(f"{zk_root}/secret")
        await watch.probe()
        (change,) = await source.read(dirty.take(9))
        assert isinstance(change, Remove)
        assert (change.key, change.subtree) == (f"{zk_root}/secret", True)
        assert not source.unreadable


async def test_a_key_that_may_not_be_read_any_more_becomes_unreadable_and_leaves_when_it_may(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(f"{zk_root}/a", makepath=True)
    dirty = DirtySet()
    async with watched(zookeeper_server, zk_root, dirty) as (source, _):
        await listed(source)
        zk.set_acls(f"{zk_root}/a", CLOSED)
        assert await source.read([Dirty(f"{zk_root}/a")]) == []
        assert list(source.unreadable) == [f"{zk_root}/a"]
        with connected(zookeeper_server.hosts, auth_data=[("digest", "somebody:else")]) as owner:
            owner.set_acls(f"{zk_root}/a", OPEN_ACL_UNSAFE)
        (change,) = await source.read([Dirty(f"{zk_root}/a")])
        assert isinstance(change, Put)
        assert not source.unreadable
        assert dirty.overflowed, "nobody heard of what happened below it"


async def test_the_mirrored_root_itself_may_be_hidden_and_opens_again(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(f"{zk_root}/a", makepath=True)
    zk.set_acls(zk_root, CLOSED)
    dirty = DirtySet()
    async with watched(zookeeper_server, zk_root, dirty) as (source, watch):
        found, listing = await listed(source)
        assert (found, listing.unreadable, listing.root_missing) == (set(), [zk_root], False)
        assert list(source.unreadable) == [zk_root]
        with connected(zookeeper_server.hosts, auth_data=[("digest", "somebody:else")]) as owner:
            owner.set_acls(zk_root, OPEN_ACL_UNSAFE)
        await watch.probe()
        assert dirty.overflowed
        assert (await listed(source))[0] == {zk_root, f"{zk_root}/a"}
        assert not source.unreadable


async def test_a_listing_that_is_cut_off_changes_nothing_that_was_known(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(f"{zk_root}/secret", makepath=True)
    zk.set_acls(f"{zk_root}/secret", CLOSED)
    async with watched(zookeeper_server, zk_root, DirtySet()) as (source, _):
        await listed(source)
        stream = source.list(Listing())
        await anext(stream)
        await stream.aclose()
        assert list(source.unreadable) == [f"{zk_root}/secret"]


@pytest.mark.parametrize("count", [300, 1200])
async def test_each_look_asks_for_a_bounded_number_of_roots_and_every_root_has_its_turn(
    zookeeper_server: Server, zk: KazooClient, zk_root: str, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(hidden, "LOOK_AT", 100)
    zk.ensure_path(zk_root)
    for answer in [zk.create_async(f"{zk_root}/s{number}", acl=CLOSED) for number in range(count)]:
        answer.get(30)
    dirty = DirtySet()
    async with watched(zookeeper_server, zk_root, dirty) as (source, watch):
        await listed(source)
        assert len(source.unreadable) == count
        with requests_counted() as sent:
            await watch.probe()
        assert len(sent) < 15
        last = list(source.unreadable)[-1]
        with connected(zookeeper_server.hosts, auth_data=[("digest", "somebody:else")]) as owner:
            owner.set_acls(last, OPEN_ACL_UNSAFE)
        looks = 0
        while not dirty.overflowed:
            await watch.probe()
            looks += 1
            assert looks <= count / 100
        assert dirty.reason.endswith(last)


async def test_values_of_subtrees_that_all_open_at_once_are_not_all_read(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.ensure_path(zk_root)
    for answer in [zk.create_async(f"{zk_root}/s{number}", b"x" * 100_000, acl=CLOSED) for number in range(50)]:
        answer.get(30)
    dirty = DirtySet()
    async with watched(zookeeper_server, zk_root, dirty) as (source, watch):
        await listed(source)
        with connected(zookeeper_server.hosts, auth_data=[("digest", "somebody:else")]) as owner:
            for root in source.unreadable:
                owner.set_acls(root, OPEN_ACL_UNSAFE)
        with requests_counted() as sent:
            await watch.probe()
        assert dirty.overflowed
        assert sent.count("MultiRead") <= 4


async def test_a_root_that_is_not_there_is_told_by_the_listing(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with watched(zookeeper_server, zk_root, DirtySet()) as (source, _):
        found, listing = await listed(source)
        assert (found, listing.root_missing, source.removal_seen) == (set(), True, False)
        assert await source.read([Dirty(zk_root)]) == [], "nobody saw it go: it may be a slip of the pen"
        zk.create(zk_root)
        assert (await listed(source))[1].root_missing is False


async def test_the_end_of_the_root_is_seen_on_the_watch_and_forgotten_when_it_is_back(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(f"{zk_root}/a", makepath=True)
    dirty = DirtySet()
    async with watched(zookeeper_server, zk_root, dirty) as (source, watch):
        await listed(source)
        zk.delete(zk_root, recursive=True)
        await watch.probe()
        assert source.removal_seen
        changes = await source.read(dirty.take(9))
        assert {(change.key, type(change)) for change in changes} == {(zk_root, Remove), (f"{zk_root}/a", Remove)}
        dirty.acknowledge()
        assert (await listed(source))[1].root_missing
        assert source.removal_seen
        zk.create(zk_root)
        assert not (await listed(source))[1].root_missing
        assert not source.removal_seen


async def test_an_end_of_the_root_that_was_forgotten_with_too_many_changes_was_seen_all_the_same(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    for number in range(9):
        zk.create(f"{zk_root}/{number}", makepath=True)
    dirty = DirtySet(limit=3)
    async with watched(zookeeper_server, zk_root, dirty) as (source, watch):
        zk.delete(zk_root, recursive=True)
        await watch.probe()
        assert dirty.overflowed
        assert source.removal_seen


async def test_a_root_that_went_away_while_nobody_watched_was_not_seen_to_go(own_zookeeper: ZooKeeperServer) -> None:
    with connected(own_zookeeper.hosts) as zk:
        zk.create("/r")
    source = ZooKeeperSource(SessionSettings(hosts=own_zookeeper.hosts, timeout_seconds=4.0), path="/r")
    try:
        await source.connect()
        async with source.watch(DirtySet()) as watch:
            await asyncio.to_thread(own_zookeeper.stop)
            own_zookeeper.wipe()
            await asyncio.to_thread(own_zookeeper.start)
            await asyncio.wait([watch.lost], timeout=60)
        async with asyncio.timeout(60):
            while True:
                try:
                    await source.connect()
                    listing = (await listed(source))[1]
                except Exception:
                    await asyncio.sleep(0.1)
                    continue
                break
        assert listing.root_missing
        assert not source.removal_seen
    finally:
        await source.close()
