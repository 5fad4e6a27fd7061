"""Random changes over a connection that breaks in each batch: afterwards the znodes are exactly right."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

import pytest
from kazoo.client import KazooClient

from hybridsync.embedded import ZooKeeperServer
from hybridsync.embedded.ports import LOOPBACK
from hybridsync.errors import SinkUnavailable
from hybridsync.model import Change, Put, Remove
from hybridsync.sinks.zookeeper import ZooKeeperSink
from hybridsync.zookeeper import connection
from tests.proxy import TcpProxy
from tests.publishing import index_of, publishing, record
from tests.servers import GivenZooKeeper

Server = ZooKeeperServer | GivenZooKeeper
ROUNDS = 40
KEYS = 60


async def hurt(proxy: TcpProxy, chance: random.Random) -> None:
    """Breaks the connection at some byte of the next request or answer, or holds answers back and then cuts."""
    way = chance.randrange(4)
    if way == 0:
        proxy.drop_after(chance.randrange(1, 8_000), "to_server")
    elif way == 1:
        proxy.drop_after(chance.randrange(1, 1_000), "to_client")
    elif way == 2:
        await asyncio.sleep(chance.uniform(0.0, 0.01))
        await asyncio.to_thread(proxy.cut)
    else:
        proxy.stall("to_client" if chance.random() < 0.5 else "to_server")
        await asyncio.sleep(chance.uniform(0.0, 0.1))
        await asyncio.to_thread(proxy.cut)
        proxy.resume()


async def applied(sink: ZooKeeperSink, changes: list[Change]) -> dict[str, str]:
    """Applies until it works, as the engine does; what failed."""
    while True:
        with contextlib.suppress(SinkUnavailable):
            return (await sink.apply(changes)).failed


def some_changes(chance: random.Random, expected: dict[str, bytes]) -> list[Change]:
    """Changes of some keys, which `expected` then shows."""
    changes: list[Change] = []
    for key in chance.sample(range(KEYS), chance.randrange(1, KEYS)):
        if chance.random() < 0.6:
            put = Put(record(f"k{key}", "x" * chance.randrange(200)))
            expected[put.key] = put.record.value
            changes.append(put)
        else:
            expected.pop(f"k{key}", None)
            changes.append(Remove(f"k{key}"))
    return changes


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
async def test_after_each_batch_the_znodes_are_exactly_what_was_asked_for(
    zookeeper_server: Server,
    zk: KazooClient,
    zk_root: str,
    proxy_factory: Callable[[str, int], TcpProxy],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    monkeypatch.setattr(connection, "MAX_RETRY_SECONDS", 0.1)  # there are many cuts, one after the other
    chance = random.Random(seed)
    proxy = proxy_factory(LOOPBACK, zookeeper_server.port)
    expected: dict[str, bytes] = {}
    async with publishing(proxy.address, zk_root) as sink:
        for _ in range(ROUNDS):
            changes = some_changes(chance, expected)
            failed, _ = await asyncio.gather(applied(sink, changes), hurt(proxy, chance))
            assert failed == {}
            found = {name: zk.get(f"{zk_root}/{name}")[0] for name in zk.get_children(zk_root)}
            assert found == expected
        assert set(await index_of(sink)) == set(expected)
