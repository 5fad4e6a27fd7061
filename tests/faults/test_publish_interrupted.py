"""Publishing while servers and the service come and go: nothing lost, no phantom, the last good state in between."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from pymongo.errors import ConnectionFailure

from hybridsync.embedded import MongoServer, ZooKeeperServer
from tests.acceptance.channels import Publishing, channel, invalid_of, published
from tests.acceptance.place import Place, a_place
from tests.replica_set import Member, ReplicaSet, step_down
from tests.servers import GivenZooKeeper, StandaloneMongo, connected
from tests.service import Service, wait_until

pytestmark = pytest.mark.timeout(300)


class Failing(MongoServer):
    """A MongoDB whose commands can be made to fail."""

    def _command(self) -> list[str]:
        return [*super()._command(), "--setParameter", "enableTestCommands=1"]


@pytest.fixture
def own_place(own_zookeeper: ZooKeeperServer, own_mongodb: MongoServer) -> Iterator[Place]:
    with a_place(own_zookeeper.hosts, own_mongodb.uri, keep=True) as made:
        yield made


@pytest.fixture
def channels(own_place: Place) -> Publishing:
    return Publishing(own_place)


def expected(channels: Publishing) -> dict[str, dict[str, object]]:
    """What has to be published now."""
    return {one["channel_id"]: published(one) for one in channels.collection.find({"is_enabled": True})}


def edit(channels: Publishing) -> None:
    """One of everything: a change, a switch-off, a switch-on, a deletion, a creation."""
    collection = channels.collection
    collection.update_one({"channel_id": "c0"}, {"$inc": {"port": 1}})
    collection.update_one({"channel_id": "c1"}, {"$set": {"is_enabled": False}})
    collection.update_one({"channel_id": "off"}, {"$set": {"is_enabled": True}})
    collection.delete_one({"channel_id": "c2"})
    collection.insert_one(channel("new"))


def filled(channels: Publishing) -> None:
    """Twenty channels that are on, and one that is off."""
    channels.collection.insert_many([channel(f"c{number}") for number in range(20)] + [channel("off", enabled=False)])


def test_edits_while_zookeeper_is_down_arrive_when_it_is_back(
    channels: Publishing, own_zookeeper: ZooKeeperServer
) -> None:
    filled(channels)
    with Service(channels.settings()) as service:
        service.wait_ready()
        own_zookeeper.stop()
        edit(channels)
        assert service.get("/health/live")[0] == 200
        own_zookeeper.start()
        channels.until(expected(channels))
        service.wait_in_sync(seconds=120)


def test_a_zookeeper_that_comes_back_empty_is_filled_again(
    channels: Publishing, own_zookeeper: ZooKeeperServer
) -> None:
    filled(channels)
    with Service(channels.settings(ZOOKEEPER_SESSION_TIMEOUT_SECONDS="4")) as service:
        service.wait_ready()
        own_zookeeper.stop()
        own_zookeeper.wipe()
        own_zookeeper.start()
        channels.collection.update_one({"channel_id": "c0"}, {"$inc": {"port": 1}})
        with connected(own_zookeeper.hosts) as zk:  # the old client has seen more than this server knows

            def all_there() -> bool:
                assert zk.exists(channels.root)
                assert set(zk.get_children(channels.root)) == set(expected(channels))
                return True

            wait_until(all_there, "everything is published again")
            assert json.loads(zk.get(f"{channels.root}/c0")[0]) == expected(channels)["c0"]
        service.wait_in_sync(seconds=120)
        assert service.resource("channels")["lastResult"]["trigger"] == "reconnect"


def test_edits_while_the_service_is_dead_are_followed_from_the_resume_token(channels: Publishing) -> None:
    filled(channels)
    service = Service(channels.settings())
    with service:
        service.wait_ready()
        channels.collection.update_one({"channel_id": "c3"}, {"$inc": {"port": 1}})
        channels.until(expected(channels))
        service.wait_in_sync()
        service.kill()
        channels.collection.update_one({"channel_id": "c0"}, {"$inc": {"port": 1}})
        channels.collection.update_one({"channel_id": "c1"}, {"$set": {"is_enabled": False}})
        channels.collection.update_one({"channel_id": "off"}, {"$set": {"is_enabled": True}})
        channels.collection.insert_one(channel("new"))

        service.start()
        channels.until(expected(channels))
        service.wait_in_sync()
        assert service.logged("the watch goes on where it was")
        assert service.logged("full sync begins") == []


def test_a_document_deleted_while_the_service_was_dead_needs_a_full_sync_and_gets_it(channels: Publishing) -> None:
    filled(channels)
    service = Service(channels.settings())
    with service:
        service.wait_ready()
        service.wait_in_sync()
        service.kill()
        edit(channels)
        service.start()
        channels.until(expected(channels))
        service.wait_in_sync()
        assert service.logged("full sync begins")


def test_a_service_killed_again_and_again_while_edits_go_on_converges(channels: Publishing) -> None:
    filled(channels)
    service = Service(channels.settings())
    with service:
        for number in range(4):
            service.wait_ready()
            for step in range(40):
                channels.collection.update_one(
                    {"channel_id": f"c{step % 20}"},
                    {"$set": {"rate_limit": 1 + number * 40 + step, "is_enabled": step % 3 != number % 3}},
                )
            service.kill()
            service.start()
        service.wait_ready()
        service.wait_in_sync()
        assert channels.values() == expected(channels)


def test_a_mongodb_that_is_killed_and_comes_back_costs_no_full_sync(
    channels: Publishing, own_mongodb: MongoServer
) -> None:
    filled(channels)
    with Service(channels.settings()) as service:
        service.wait_ready()
        service.wait_in_sync()
        own_mongodb.kill()
        wait_until(lambda: service.logged("watch lost"), "the loss is noticed")
        own_mongodb.start()
        edit(channels)
        channels.until(expected(channels))
        service.wait_in_sync(seconds=120)
        assert len(service.logged("full sync begins")) == 1, "the one at start"


def test_a_collection_that_is_dropped_takes_its_znodes_with_it(channels: Publishing) -> None:
    filled(channels)
    with Service(channels.settings()) as service:
        service.wait_ready()
        service.wait_in_sync()
        channels.collection.drop()
        channels.until({})
        channels.collection.insert_one(channel("again"))
        channels.until({"again": published(channel("again"))})
        service.wait_in_sync()


def test_a_collection_that_is_renamed_away_and_one_that_is_renamed_into_its_place(channels: Publishing) -> None:
    filled(channels)
    with Service(channels.settings()) as service:
        service.wait_ready()
        service.wait_in_sync()
        channels.collection.database["fresh"].insert_one(channel("fresh"))
        channels.collection.rename("old")
        channels.collection.database["fresh"].rename("channels")
        channels.until({"fresh": published(channel("fresh"))})
        service.wait_in_sync()


@pytest.mark.parametrize("token", ["827F000000000000012B0229296E04", "8265", "zz"])
def test_a_position_that_cannot_be_resumed_from_means_a_full_sync(channels: Publishing, token: str) -> None:
    filled(channels)
    service = Service(channels.settings())
    with service:
        service.wait_ready()
        service.wait_in_sync()
        assert service.terminate() == 0
        edit(channels)
        states = channels.place.database["sync_states"]
        state = states.find_one({"_id": "channels"})
        assert state is not None
        names = [name for name, value in state.items() if isinstance(value, str) and value.startswith("82")]
        assert names, state
        states.update_one({"_id": "channels"}, {"$set": dict.fromkeys(names, token)})
        service.start()
        channels.until(expected(channels))
        service.wait_in_sync()
        assert service.logged("full sync begins")


def test_a_history_that_is_lost_while_watching_means_a_full_sync(
    zookeeper_server: ZooKeeperServer | GivenZooKeeper, tmp_path: Path
) -> None:
    with Failing(tmp_path / "failing") as server, a_place(zookeeper_server.hosts, server.uri) as place:
        channels = Publishing(place)
        filled(channels)
        with Service(channels.settings()) as service:
            service.wait_ready()
            service.wait_in_sync()
            lost = {"errorCode": 286, "failCommands": ["getMore"], "appName": "hybridsync"}
            admin = place.database.client.admin
            admin.command({"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": lost})
            wait_until(lambda: service.logged("watch lost"), "the loss is noticed")
            edit(channels)
            channels.until(expected(channels))
            service.wait_in_sync()
            assert [entry["trigger"] for entry in service.logged("full sync completed")] == ["startup", "expired"]


@pytest.mark.parametrize("end", [step_down, Member.kill], ids=["stepped-down", "killed"])
def test_another_primary_takes_over_in_the_midst_of_edits_without_a_full_sync(
    zookeeper_server: ZooKeeperServer | GivenZooKeeper, tmp_path: Path, end: Callable[[Member], None]
) -> None:
    with ReplicaSet(tmp_path) as members, a_place(zookeeper_server.hosts, members.uri("x")) as place:
        channels = Publishing(place)
        filled(channels)
        with Service(channels.settings()) as service:
            service.wait_ready()
            service.wait_in_sync()
            for number in range(30):
                if number == 10:
                    end(members.wait_primary())
                change = {"$set": {"rate_limit": 100 + number}}
                retried(partial(channels.collection.update_many, {}, change))
            retried(lambda: channels.collection.update_one({"channel_id": "c1"}, {"$set": {"is_enabled": False}}))
            channels.until(expected(channels))
            service.wait_in_sync(seconds=120)
            assert len(service.logged("full sync begins")) == 1, "the one at start"


def retried(write: Callable[[], object]) -> None:
    """Writes, again and again while there is no primary."""

    def done() -> bool:
        with suppress(ConnectionFailure):
            write()
            return True
        return False

    wait_until(done, "there is a primary")


def test_a_standalone_mongodb_is_told_in_one_clear_line_and_polling_works_there(
    own_zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    with (
        StandaloneMongo(tmp_path / "standalone") as server,
        a_place(own_zookeeper.hosts, server.uri, keep=True) as place,
    ):
        channels = Publishing(place)
        filled(channels)
        with Service(channels.settings()) as service:
            error = str(wait_until(lambda: service.resource()["error"], "the error is told"))
            assert "is no replica set" in error
            assert "poll_seconds" in error

        with Service(channels.settings(source={"poll_seconds": 0.2})) as service:
            service.wait_ready()
            channels.until(expected(channels))
            edit(channels)
            channels.collection.insert_one(channel("bad", port=0))
            channels.until(valid(channels))
            wait_until(lambda: set(invalid_of(service)) == {"bad"}, "the invalid one is named")
            before = channels.traces()
            service.wait_in_sync()
            assert channels.traces() == before


def valid(channels: Publishing) -> dict[str, dict[str, object]]:
    """What has to be published when the document `bad` is not."""
    return {key: value for key, value in expected(channels).items() if key != "bad"}
