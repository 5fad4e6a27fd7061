"""Servers of an ensemble are killed and restarted under continuous changes: the service follows, nothing is lost."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from pymongo.database import Database

from hybridsync.embedded import MongoServer
from tests.ensemble import Ensemble, Peer, at_once
from tests.faults.cluster_scene import EnsembleScene
from tests.servers import GivenMongo
from tests.service import wait_until

# The servers of an ensemble dial each other without end, also through a proxy that is just going away.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <(function _SelectorTransport|socket.socket):pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def _ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    with Ensemble(tmp_path_factory.mktemp("ensemble")) as ensemble:
        yield ensemble


@pytest.fixture
def scene(
    _ensemble: Ensemble, mongo_server: MongoServer | GivenMongo, mongo_database: Database[dict[str, object]]
) -> Iterator[EnsembleScene]:
    """A small tree on a whole ensemble; the session outlives an election."""
    _ensemble.make_whole()
    root = f"/t-{uuid.uuid4().hex[:8]}"
    more = {"ZOOKEEPER_SESSION_TIMEOUT_SECONDS": "20"}
    with EnsembleScene(_ensemble, mongo_server.port, mongo_database.name, root, **more) as scene:
        scene.populate(300)
        yield scene


@pytest.mark.parametrize("on_the_leader", [True, False], ids=["on-the-leader", "on-a-follower"])
def test_the_leader_is_killed(scene: EnsembleScene, on_the_leader: bool) -> None:
    with scene.running() as recorder:
        leader = scene.ensemble.wait_leader()
        scene.move_to(leader if on_the_leader else scene.ensemble.followers()[0])
        scene.wait_for_writes(60)
        leader.kill()
        next_leader = scene.ensemble.wait_leader()
        scene.wait_for_writes(60)
        scene.wait_confirmed()
        scene.ensemble.make_whole()
        scene.wait_for_writes(60)
        assert scene.service.resource()["lastResult"]["trigger"] == "reconnect"
        assert scene.service.logged("ZooKeeper session over") == []

    assert next_leader is not leader
    assert recorder.checked_promises > 0
    assert recorder.readiness == {200}


def test_every_server_is_restarted_one_after_the_other(scene: EnsembleScene) -> None:
    with scene.running() as recorder:
        scene.wait_confirmed()
        for server in scene.ensemble.servers:
            scene.move_to(server)
            server.restart()
            scene.wait_for_writes(40)
            scene.wait_confirmed()

    assert recorder.checked_promises > 0
    assert scene.service.logged("ZooKeeper session over") == []


def test_all_are_killed_at_once_and_come_back(scene: EnsembleScene) -> None:
    with scene.running() as recorder:
        scene.wait_confirmed()
        at_once(Peer.kill, scene.ensemble.servers)
        scene.wait_entry("it says so", informer__state="disconnected", inSync=False)
        at_once(Peer.start, scene.ensemble.servers)
        scene.wait_for_writes(60)
        scene.wait_confirmed()

    assert recorder.checked_promises > 0


def test_the_server_that_lists_the_tree_is_killed_and_nothing_is_swept(scene: EnsembleScene) -> None:
    scene.populate(6_000, group="more")
    with scene.running(pause_seconds=0.02) as recorder:
        leader = scene.ensemble.wait_leader()
        scene.move_to(leader)
        held = scene.collection.count_documents({})
        scene.proxies[leader.number].delay(0.3)  # a level of the tree an answer: the listing takes a second and more
        assert scene.service.post("/health/sync/trigger")[0] == 202
        wait_until(lambda: (scene.service.resource()["progress"] or {"read": 0})["read"] > 0, "it lists")
        leader.kill()
        scene.wait_logged("full sync failed")
        assert scene.collection.count_documents({}) >= held - 45, "more is gone than the writer ever has"
        scene.wait_confirmed()

    assert recorder.checked_promises > 0
