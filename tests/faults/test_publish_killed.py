"""A service that publishes, killed at a certain step: between a write and its acknowledgement, and before the
resume token that covers the write is stored. What was done is not done again, what was not done follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hybridsync.embedded import ZooKeeperServer
from tests.acceptance.channels import Publishing, channel, published
from tests.acceptance.place import a_place
from tests.faults.test_publish_interrupted import Failing, expected
from tests.proxy import TcpProxy
from tests.service import Service, wait_until

pytestmark = pytest.mark.timeout(300)

COUNT = 20


@pytest.fixture
def channels(own_zookeeper: ZooKeeperServer, tmp_path: Path) -> Iterator[Publishing]:
    """Twenty channels that are on, and one that is off."""
    with Failing(tmp_path / "mongodb") as server, a_place(own_zookeeper.hosts, server.uri, keep=True) as place:
        made = Publishing(place)
        documents = [channel(f"c{number}") for number in range(COUNT)]
        made.collection.insert_many([*documents, channel("off", enabled=False)])
        yield made


@contextmanager
def no_state_is_stored(channels: Publishing) -> Iterator[None]:
    """Meanwhile MongoDB refuses every update of hybridsync's, and only `sync_states` is updated here."""
    admin = channels.place.database.client.admin
    refused = {"failCommands": ["update"], "errorCode": 50, "appName": "hybridsync"}
    admin.command({"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": refused})
    try:
        yield
    finally:
        admin.command({"configureFailPoint": "failCommand", "mode": "off"})


def stored(channels: Publishing) -> object:
    """The state of the resource as it is stored."""
    return channels.place.database["sync_states"].find_one({"_id": "channels"})


def edit(channels: Publishing) -> None:
    """A change, a switch-off, a switch-on and a creation."""
    collection = channels.collection
    collection.update_one({"channel_id": "c0"}, {"$inc": {"port": 1}})
    collection.update_one({"channel_id": "c1"}, {"$set": {"is_enabled": False}})
    collection.update_one({"channel_id": "off"}, {"$set": {"is_enabled": True}})
    collection.insert_one(channel("new"))


def counted(channels: Publishing) -> tuple[object, object]:
    """Every znode's creation and version, and how often children came and went."""
    root = channels.zk.exists(channels.root)
    assert root is not None
    return channels.traces(), (root.cversion, root.pzxid)


def test_killed_between_the_write_and_the_token_it_replays_the_events_and_writes_nothing_twice(
    channels: Publishing,
) -> None:
    service = Service(channels.settings())
    with service:
        service.wait_ready()
        service.wait_in_sync()
        with no_state_is_stored(channels):
            token = stored(channels)
            edit(channels)
            channels.until(expected(channels))
            service.kill()
            assert stored(channels) == token, "the token does not cover the writes"
        before = counted(channels)

        service.start()
        service.wait_ready()
        service.wait_in_sync()

        assert counted(channels) == before
        assert channels.values() == expected(channels)
        assert service.logged("the watch goes on where it was")
        assert service.logged("full sync begins") == []


def test_edits_between_the_kill_and_the_next_start_come_on_top_of_what_is_replayed(channels: Publishing) -> None:
    service = Service(channels.settings())
    with service:
        service.wait_ready()
        service.wait_in_sync()
        with no_state_is_stored(channels):
            edit(channels)
            channels.until(expected(channels))
            service.kill()
        channels.collection.update_one({"channel_id": "c0"}, {"$set": {"is_enabled": False}})
        channels.collection.update_one({"channel_id": "c1"}, {"$set": {"is_enabled": True, "port": 1}})
        channels.collection.delete_one({"channel_id": "new"})
        channels.collection.update_one({"channel_id": "c2"}, {"$set": {"port": 0}})
        last_good = published(channel("c2"))

        service.start()
        channels.until(expected(channels) | {"c2": last_good})
        service.wait_in_sync()
        assert channels.values() == expected(channels) | {"c2": last_good}


@pytest.mark.parametrize("direction", ["to_client", "to_server"], ids=["done-unanswered", "not-arrived"])
def test_killed_while_a_transaction_has_no_answer_it_ends_with_exactly_what_is_on(
    channels: Publishing,
    own_zookeeper: ZooKeeperServer,
    proxy_factory: Callable[[str, int], TcpProxy],
    direction: str,
) -> None:
    proxy = proxy_factory("127.0.0.1", own_zookeeper.port)
    service = Service(channels.settings(ZOOKEEPER_HOSTS=proxy.address))
    with service:
        service.wait_ready()
        service.wait_in_sync()
        before = expected(channels)
        if direction == "to_client":
            proxy.stall("to_client")
            channels.collection.update_many({}, {"$set": {"rate_limit": 77}})
            wait_until(lambda: channels.values() != before, "a transaction is done")
        else:
            sent = proxy.bytes["to_server"]
            proxy.stall("to_server")
            channels.collection.update_many({}, {"$set": {"rate_limit": 77}})
            wait_until(lambda: service.resource()["informer"]["pending"] > 0, "a transaction is under way")
            assert proxy.bytes["to_server"] == sent
            assert channels.values() == before
        service.kill()
        proxy.resume()

        service.start()
        channels.until(expected(channels))
        service.wait_in_sync()
        versions = {version for _, version in channels.traces().values()}
        assert versions == {1}, "each znode was changed once"


def test_a_bulk_update_cut_short_by_a_kill_and_a_dead_zookeeper_is_finished(
    channels: Publishing, own_zookeeper: ZooKeeperServer
) -> None:
    channels.collection.insert_many([channel(f"d{number}") for number in range(480)])
    service = Service(channels.settings())
    with service:
        service.wait_ready()
        service.wait_in_sync()
        own_zookeeper.kill()
        channels.collection.update_many({"channel_id": {"$regex": "^d"}}, {"$set": {"is_enabled": False}})
        channels.collection.update_many({"channel_id": {"$regex": "^c"}}, {"$inc": {"port": 1}})
        wait_until(lambda: service.resource()["informer"]["pending"] >= 500, "all of it waits", 120)
        assert not service.resource()["inSync"]
        service.kill()
        own_zookeeper.start()

        service.start()
        channels.until(expected(channels))
        service.wait_in_sync(seconds=120)
        assert len(channels.names()) == COUNT
