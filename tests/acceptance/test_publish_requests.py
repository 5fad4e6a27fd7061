"""What publishing asks of ZooKeeper, counted by ZooKeeper itself: one request a change, none for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from hybridsync.embedded import ZooKeeperServer
from tests.acceptance.channels import Publishing, channel, published
from tests.acceptance.place import Place
from tests.service import Service, wait_until
from tests.zookeeper_requests import requests_sent, transactions


@pytest.fixture
def channels(own_place: Place) -> Publishing:
    return Publishing(own_place)


@pytest.fixture
def service(channels: Publishing) -> Iterator[Service]:
    """A service that publishes an empty collection."""
    channels.collection.create_index("channel_id")
    with Service(channels.settings()) as running:
        running.wait_ready()
        running.wait_in_sync()
        yield running


@pytest.fixture
def requests(channels: Publishing, own_zookeeper: ZooKeeperServer, service: Service) -> Callable[[], int]:
    """How many requests the service has sent by the time everything up to now is confirmed."""

    def sent() -> int:
        service.wait_in_sync()
        return requests_sent(own_zookeeper, but=channels.zk)

    return sent


def test_a_life_of_a_channel_costs_three_requests_create_change_and_delete(
    channels: Publishing, requests: Callable[[], int], own_zookeeper: ZooKeeperServer
) -> None:
    collection, one, document = channels.collection, {"channel_id": "one"}, channel("one", enabled=False)
    before, written = requests(), transactions(own_zookeeper)

    collection.insert_one(document)
    assert requests() == before, "created as off"

    collection.update_one(one, {"$set": {"is_enabled": True}})
    channels.until({"one": published(document)})
    assert requests() == before + 1, "switched on"

    collection.update_one(one, {"$set": {"port": 9090}})
    channels.until({"one": published(document) | {"port": 9090}})
    assert requests() == before + 2, "edited while on"

    collection.update_one(one, {"$set": {"remark": "another", "port": 9090.0}})
    assert requests() == before + 2, "edited, with the same bytes to publish"

    assert len(list(collection.find())) == 1
    collection.aggregate([{"$out": "export"}])
    assert requests() == before + 2, "read and exported"

    collection.update_one(one, {"$set": {"is_enabled": False}})
    channels.until({})
    assert requests() == before + 3, "switched off"

    collection.update_one(one, {"$set": {"port": 0}})
    assert requests() == before + 3, "edited while off"

    collection.delete_one(one)
    assert requests() == before + 3, "deleted while off"
    assert transactions(own_zookeeper) == written + 3


def test_an_invalid_edit_and_its_repair_to_what_is_published_cost_no_request(
    channels: Publishing, requests: Callable[[], int]
) -> None:
    channels.collection.insert_one(channel("one"))
    channels.until({"one": published(channel("one"))})
    before = requests()

    channels.collection.update_one({}, {"$set": {"port": 0}})
    assert requests() == before
    channels.collection.update_one({}, {"$set": {"port": 8080}})
    assert requests() == before


def test_closing_500_channels_at_once_deletes_500_znodes_and_deleting_the_closed_ones_sends_nothing(
    channels: Publishing, requests: Callable[[], int]
) -> None:
    channels.collection.insert_many([channel(f"c{number}") for number in range(500)])
    wait_until(lambda: len(channels.names()) == 500, "all are published")
    at_most = requests() + 500
    before = channels.zk.exists(channels.root)

    channels.collection.update_many({}, {"$set": {"is_enabled": False}})
    wait_until(lambda: not channels.names(), "all are gone")
    closed = requests()
    after = channels.zk.exists(channels.root)
    assert before is not None
    assert after is not None
    assert after.cversion - before.cversion == 500, "each znode is deleted once, and none is created"
    assert closed <= at_most

    channels.collection.delete_many({})
    assert requests() == closed
    assert channels.zk.exists(channels.root) == after
