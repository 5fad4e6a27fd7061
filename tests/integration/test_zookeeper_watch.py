"""What a watch marks, and that an event never comes after the answer to a later request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kazoo.client import KazooClient

from hybridsync.dirty import DirtySet
from hybridsync.embedded import ZooKeeperServer
from hybridsync.model import Dirty, Put
from hybridsync.sources.zookeeper import ZooKeeperSource, ZooKeeperWatch
from hybridsync.znode import stat_of
from hybridsync.zookeeper.settings import SessionSettings
from tests.eventually import eventually
from tests.servers import GivenZooKeeper

Server = ZooKeeperServer | GivenZooKeeper


@asynccontextmanager
async def watching(
    hosts: str, path: str, *exclude: str
) -> AsyncIterator[tuple[ZooKeeperSource, DirtySet, ZooKeeperWatch]]:
    source = ZooKeeperSource(SessionSettings(hosts=hosts), path=path, exclude=exclude)
    dirty = DirtySet()
    try:
        await source.connect()
        async with source.watch(dirty) as watch:
            yield source, dirty, watch
    finally:
        await source.close()


async def marked(dirty: DirtySet, watch: ZooKeeperWatch) -> dict[str, object]:
    """Everything dirty once a probe has come back."""
    await watch.probe()
    keys = dict(dirty.take(1_000_000))
    dirty.acknowledge()
    return keys


async def test_creating_changing_and_deleting_mark_their_paths(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    async with watching(zookeeper_server.hosts, zk_root) as (_, dirty, watch):
        zk.create(zk_root)
        zk.create(f"{zk_root}/a")
        zk.create(f"{zk_root}/a/b")
        assert await marked(dirty, watch) == dict.fromkeys((zk_root, f"{zk_root}/a", f"{zk_root}/a/b"), "created")
        zk.set(f"{zk_root}/a", b"1")
        assert await marked(dirty, watch) == {f"{zk_root}/a": "changed"}
        zk.delete(f"{zk_root}/a/b")
        zk.create(f"{zk_root}-beside")
        zk.delete(f"{zk_root}-beside")
        assert await marked(dirty, watch) == {f"{zk_root}/a/b": "deleted"}
        zk.delete(zk_root, recursive=True)
        zk.create(zk_root)
        assert await marked(dirty, watch) == {f"{zk_root}/a": "deleted", zk_root: "created"}


async def test_what_is_excluded_is_not_marked(zookeeper_server: Server, zk: KazooClient, zk_root: str) -> None:
    async with watching(zookeeper_server.hosts, zk_root, f"{zk_root}/tmp/**") as (_, dirty, watch):
        zk.create(f"{zk_root}/tmp/x/y", makepath=True)
        assert set(await marked(dirty, watch)) == {zk_root, f"{zk_root}/tmp"}


async def test_the_whole_tree_can_be_watched(own_zookeeper: ZooKeeperServer) -> None:
    zk = KazooClient(own_zookeeper.hosts)
    await asyncio.to_thread(zk.start)
    try:
        async with watching(own_zookeeper.hosts, "/") as (_, dirty, watch):
            zk.create("/a/b", makepath=True)
            assert set(await marked(dirty, watch)) == {"/a", "/a/b"}
    finally:
        zk.stop()
        zk.close()


async def test_events_below_a_chroot_come_without_it(zookeeper_server: Server, zk: KazooClient, zk_root: str) -> None:
    for path in ("/app", "/"):
        async with watching(f"{zookeeper_server.hosts}{zk_root}", path) as (_, dirty, watch):
            zk.create(f"{zk_root}/app/x", makepath=True)
            zk.create(f"{zk_root}/apple")
            expected = {"/app", "/app/x"} | ({"/", "/apple"} if path == "/" else set())
            assert set(await marked(dirty, watch)) == expected
            zk.delete(zk_root, recursive=True)


async def test_an_event_is_marked_before_any_later_answer_is_seen(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    """The proof of freshness rests on this: data newer than what is marked is never read."""
    zk.create(zk_root, b"0")
    trials = 3000
    async with watching(zookeeper_server.hosts, zk_root) as (source, dirty, watch):

        def write() -> None:
            pending = []
            for number in range(1, trials + 1):
                pending.append(zk.set_async(zk_root, b"%d" % number))
                if number % 20 == 0:
                    for one in pending:
                        one.get()
                    pending = []

        writing = asyncio.create_task(asyncio.to_thread(write))
        events = seen = reads = 0
        mark = dirty.mark

        def counting(key: str, hint: object = None) -> None:
            nonlocal events
            events += 1
            mark(key, hint)

        dirty.mark = counting  # type: ignore[method-assign]
        while seen < trials:
            (change,) = await source.read([Dirty(zk_root)])
            assert isinstance(change, Put)
            seen = int(change.record.value)
            assert events >= stat_of(change.record.meta).version, "new data came before its event"
            reads += 1
        await writing
        await watch.probe()
        assert events == trials
        assert reads > 100


async def test_a_probe_brings_every_event_committed_before_it(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(zk_root)
    async with watching(zookeeper_server.hosts, zk_root) as (_, dirty, watch):
        for number in range(500):
            zk.create(f"{zk_root}/{number}")
            assert set(await marked(dirty, watch)) == {f"{zk_root}/{number}"}


async def test_probes_do_not_end_the_watch(zookeeper_server: Server, zk: KazooClient, zk_root: str) -> None:
    async with watching(zookeeper_server.hosts, zk_root) as (_, dirty, watch):
        await asyncio.gather(*(watch.probe() for _ in range(300)))
        zk.create(zk_root)
        assert await marked(dirty, watch) == {zk_root: "created"}
        assert not watch.lost.done()


async def test_a_flood_of_events_leaves_the_loop_alive(zookeeper_server: Server, zk: KazooClient, zk_root: str) -> None:
    zk.create(zk_root)
    async with watching(zookeeper_server.hosts, zk_root) as (_, dirty, watch):

        def write() -> None:
            for _ in range(40):
                pending = [zk.create_async(f"{zk_root}/n-", sequence=True) for _ in range(200)]
                for one in pending:
                    one.get()

        writing = asyncio.create_task(asyncio.to_thread(write))
        turns = 0
        while not writing.done():
            await asyncio.sleep(0.001)
            turns += 1
        await writing
        assert len(await marked(dirty, watch)) == 8000
        assert turns > 20


async def test_a_watch_that_was_left_marks_nothing_and_can_be_armed_again(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    source = ZooKeeperSource(SessionSettings(hosts=zookeeper_server.hosts), path=zk_root)
    dirty = DirtySet()
    try:
        await source.connect()
        async with source.watch(dirty) as first:
            pass
        assert first.lost.cancelled()
        zk.create(zk_root)
        await source.read([Dirty(zk_root)])  # the event is here, and nobody heard it
        for _ in range(3):
            async with source.watch(dirty) as watch:
                await watch.probe()
                assert len(dirty) == 0
        async with source.watch(dirty) as watch:
            zk.set(zk_root, b"1")
            await eventually(lambda: len(dirty) == 1, what="the change marked once")
    finally:
        await source.close()
