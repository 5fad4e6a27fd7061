"""ZooKeeper loses its data and comes back on the same port with another tree: its ids count from the beginning."""

from __future__ import annotations

import pytest

from hybridsync.embedded import ZooKeeperServer
from tests.faults.conftest import NewScene
from tests.faults.scene import Scene

CALLS_FOR_A_SYNC = ("last_failed", "incomplete")
"""A refused sync is tried again by itself, so the stop before may have cut the next one off."""


def wiped(scene: Scene, server: ZooKeeperServer) -> None:
    """An empty server on the same port, with the test's session; the service cannot reach it yet."""
    scene.zk_proxy.refuse()
    scene.disconnect()
    server.stop()
    server.wipe()
    server.start()
    scene.journal.forget()
    scene.connect()


@pytest.mark.parametrize(("before", "after"), [(400, 120), (120, 700)])
def test_the_mirror_follows_to_the_other_tree_when_the_guard_is_off(
    own_zookeeper: ZooKeeperServer, own_zookeeper_scene: NewScene, before: int, after: int
) -> None:
    scene = own_zookeeper_scene(SWEEP_LIMIT_PERCENT="100")
    scene.populate(before)
    with scene.service, scene.recorder() as recorder:
        scene.write(40)
        scene.wait_confirmed()
        wiped(scene, own_zookeeper)
        scene.populate(after, b"another", group="other")
        scene.write(40, seed=2)
        scene.zk_proxy.accept_again()
        scene.wait_confirmed()
        with scene.churn(seed=3):
            scene.wait_for_writes(60)
        scene.assert_equal_at_rest()

    assert recorder.checked_promises > 0


def test_the_same_names_with_lower_ids_are_replaced(
    own_zookeeper: ZooKeeperServer, own_zookeeper_scene: NewScene
) -> None:
    scene = own_zookeeper_scene()
    scene.zk.ensure_path("/elsewhere")
    for number in range(50):
        scene.zk.set("/elsewhere", b"%d" % number)
    scene.populate(300, b"old")
    with scene.service, scene.recorder():
        scene.wait_confirmed()
        wiped(scene, own_zookeeper)
        scene.populate(300, b"new")
        scene.zk_proxy.accept_again()
        scene.wait_confirmed()
        assert scene.collection.count_documents({"value": "new"}) == 303
        scene.assert_equal_at_rest()


@pytest.mark.parametrize("meanwhile", ["running", "stopped"])
def test_the_same_script_run_again_with_other_values_gives_the_same_ids(
    own_zookeeper: ZooKeeperServer, own_zookeeper_scene: NewScene, meanwhile: str
) -> None:
    scene = own_zookeeper_scene()
    wiped(scene, own_zookeeper)
    scene.populate(150, b"old")
    scene.zk_proxy.accept_again()
    with scene.service:
        scene.service.wait_in_sync()
        ids = scene.collection.distinct("version")
        if meanwhile == "stopped":
            assert scene.service.terminate() == 0
        wiped(scene, own_zookeeper)
        scene.populate(150, b"new")
        scene.zk_proxy.accept_again()
        if meanwhile == "stopped":
            scene.restart_service()

        with scene.recorder():
            scene.wait_confirmed()
            scene.assert_equal_at_rest()
    assert scene.collection.distinct("version") == ids, "the situation is not the one that is meant"
    assert scene.collection.count_documents({"value": "new"}) == 152


def test_the_guard_refuses_a_much_smaller_tree_and_a_start_without_it_heals(
    own_zookeeper: ZooKeeperServer, own_zookeeper_scene: NewScene
) -> None:
    scene = own_zookeeper_scene()
    scene.populate(400)
    with scene.service:
        with scene.recorder() as recorder:
            scene.wait_confirmed()
            before = scene.collection.find({}).sort("_id").to_list()
            wiped(scene, own_zookeeper)
            scene.populate(30, b"another")
            scene.zk_proxy.accept_again()
            entry = scene.wait_entry("the full sync is refused", status="failed")

            assert "SWEEP_LIMIT_PERCENT" in entry["error"]
            assert "nothing was changed" in entry["error"]
            assert entry["gapSince"] is not None
            assert scene.service.get("/health")[1]["status"] == "degraded"
            assert scene.service.post("/health/sync/trigger", {"wait": True})[0] == 500
            assert scene.collection.find({}).sort("_id").to_list() == before
        assert not recorder.last.sync["inSync"]
        assert scene.service.terminate() == 0

    scene.restart_service()
    with scene.recorder():
        entry = scene.wait_entry("refused again", status="failed", lastResult__trigger="catch_up")
        assert entry["decision"]["reason"] in CALLS_FOR_A_SYNC
        assert scene.service.get("/health/ready")[0] == 200, "what it made before is whole, and served"
        assert scene.service.terminate() == 0

    scene.restart_service(SWEEP_LIMIT_PERCENT="100")
    with scene.recorder() as recorder:
        scene.service.wait_ready()
        scene.assert_equal_at_rest()
        assert scene.service.resource()["decision"]["reason"] in CALLS_FOR_A_SYNC
        assert scene.collection.count_documents({}) == 32
    assert recorder.last.sync["error"] is None
