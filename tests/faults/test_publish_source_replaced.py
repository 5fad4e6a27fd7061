"""The published collection is put back, replaced or spoilt under the service: what is published follows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bson.datetime_ms import DatetimeMS

from hybridsync.embedded import MongoServer, ZooKeeperServer
from tests.acceptance.channels import Publishing, channel, invalid_of, published
from tests.acceptance.place import Place, a_place
from tests.servers import GivenMongo, GivenZooKeeper
from tests.service import Service, wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def place(
    zookeeper_server: ZooKeeperServer | GivenZooKeeper, mongo_server: MongoServer | GivenMongo
) -> Iterator[Place]:
    with a_place(zookeeper_server.hosts, mongo_server.uri) as made:
        yield made


@pytest.fixture
def channels(place: Place) -> Publishing:
    return Publishing(place)


def test_a_date_beyond_the_year_9999_as_an_id_holds_up_nobody(channels: Publishing) -> None:
    with Service(channels.settings()) as service:
        service.wait_ready()
        far = [{**channel(f"far{number}"), "_id": DatetimeMS(2**58 + number)} for number in range(20)]
        nameless = {**channel(""), "_id": DatetimeMS(2**59)}
        channels.collection.insert_many([*far, nameless, channel("near")])
        channels.until({one["channel_id"]: published(one) for one in [*far, channel("near")]})
        channels.collection.delete_many({"_id": far[0]["_id"]})
        channels.until({one["channel_id"]: published(one) for one in [*far[1:], channel("near")]})
        service.wait_in_sync()
        assert [name.split("#")[0] for name in invalid_of(service)] == [f"_id {2**59} "]
        assert service.logged("watch lost") == []
        assert service.resource()["informerReconnectCount"] == 0


def test_invalid_documents_are_named_again_after_a_restart_without_a_listing(channels: Publishing) -> None:
    channels.collection.insert_many([channel("one"), channel("bad", port=0), {**channel(""), "_id": 5}])
    with Service(channels.settings()) as service:
        service.wait_ready()
        wait_until(lambda: set(invalid_of(service)) == {"bad", "_id 5"}, "both are named")
        channels.collection.update_one({"channel_id": "one"}, {"$inc": {"port": 1}})
        channels.until({"one": published(channel("one", port=8081))})
        service.wait_in_sync()
        service.kill()
        service.start()
        service.wait_in_sync()
        assert set(invalid_of(service)) == {"bad", "_id 5"}
        assert service.logged("full sync begins") == []


def test_a_collection_put_back_with_drop_is_published_whole_in_the_end(channels: Publishing) -> None:
    """As `mongorestore --drop` does it: drop, create, the indexes, and then the documents in batches."""
    old = [channel(f"c{number}") for number in range(150)]
    channels.collection.insert_many(old)
    with Service(channels.settings()) as service:
        service.wait_ready()
        service.wait_in_sync()
        back = [channel(f"c{number}", port=9000) for number in range(0, 150, 2)]
        channels.collection.drop()
        channels.place.database.create_collection("channels")
        channels.collection.create_index("channel_id")
        for begin in range(0, len(back), 10):
            channels.collection.insert_many(back[begin : begin + 10])
        channels.until({one["channel_id"]: published(one) for one in back})
        service.wait_in_sync(seconds=120)


def test_a_collection_replaced_while_the_service_was_down_is_compared(channels: Publishing) -> None:
    channels.collection.insert_many([channel("old"), channel("both")])
    service = Service(channels.settings())
    with service:
        service.wait_ready()
        service.wait_in_sync()
        assert service.terminate() == 0
        channels.collection.drop()
        channels.collection.insert_many([channel("both", port=9000), channel("new")])
        service.start()
        channels.until({"both": published(channel("both", port=9000)), "new": published(channel("new"))})
        service.wait_in_sync()
        assert service.logged("full sync begins")
