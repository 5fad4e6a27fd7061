"""ZooKeeper freezes, stops, comes back, or is not there yet."""

from __future__ import annotations

from hybridsync.embedded import ZooKeeperServer
from tests.faults.conftest import NewScene
from tests.faults.scene import now
from tests.service import wait_until


def test_frozen_for_less_than_the_session_nothing_is_read_again(
    own_zookeeper: ZooKeeperServer, own_zookeeper_scene: NewScene
) -> None:
    scene = own_zookeeper_scene(ZOOKEEPER_SESSION_TIMEOUT_SECONDS="30")
    scene.populate(200)
    with scene.running() as recorder:
        scene.wait_confirmed()
        own_zookeeper.pause()
        scene.wait_entry("the doubt is shown", inSync=False)
        own_zookeeper.resume()
        scene.wait_confirmed()
        assert scene.service.resource()["lastResult"]["trigger"] == "startup"
        assert scene.service.logged("watch lost") == []

    assert recorder.checked_promises > 0
    assert {answer.sync["gapSince"] for answer in recorder.answers if answer.sync["lastResult"]} == {None}


def test_frozen_for_longer_than_the_session(own_zookeeper: ZooKeeperServer, own_zookeeper_scene: NewScene) -> None:
    scene = own_zookeeper_scene()
    scene.populate(200)
    with scene.running() as recorder:
        scene.wait_confirmed()
        own_zookeeper.pause()
        scene.wait_logged("ZooKeeper session over")
        own_zookeeper.resume()
        scene.wait_confirmed()
        assert scene.service.resource()["lastResult"]["trigger"] == "expired"

    assert recorder.checked_promises > 0


def test_stopped_for_longer_than_the_session_and_started_again(
    own_zookeeper: ZooKeeperServer, own_zookeeper_scene: NewScene
) -> None:
    scene = own_zookeeper_scene()
    scene.populate(200)
    with scene.service, scene.recorder() as recorder:
        with scene.churn():
            scene.wait_for_writes(60)
        scene.wait_confirmed()
        scene.disconnect()
        own_zookeeper.stop()
        stopped = now()
        scene.wait_logged("ZooKeeper session over")
        recorder.wait_asked(stopped)
        away = recorder.since(stopped)
        scene.zk_proxy.refuse()  # so that the changes come before the service
        own_zookeeper.start()
        scene.connect()
        scene.write(60)
        scene.zk_proxy.accept_again()
        scene.wait_confirmed()
        assert scene.service.resource()["lastResult"]["trigger"] == "expired"
        with scene.churn(seed=3):
            scene.wait_for_writes(30)
        scene.assert_equal_at_rest()

    assert {answer.ready for answer in away} == {200}
    assert away[-1].sync["gapSince"] is not None


def test_stopped_and_started_three_times_in_a_row(
    own_zookeeper: ZooKeeperServer, own_zookeeper_scene: NewScene
) -> None:
    scene = own_zookeeper_scene(ZOOKEEPER_SESSION_TIMEOUT_SECONDS="30")
    scene.populate(200)
    with scene.service, scene.recorder() as recorder:
        for seed in range(3):
            with scene.churn(seed=seed):
                scene.wait_for_writes(60)
            scene.disconnect()
            own_zookeeper.restart()
            scene.connect()
            scene.write(10, seed=seed)
            scene.wait_confirmed()
        scene.assert_equal_at_rest()

    assert recorder.checked_promises > 0


def test_a_service_with_a_fresh_mirror_starts_without_zookeeper_and_catches_up(
    own_zookeeper: ZooKeeperServer, own_zookeeper_scene: NewScene
) -> None:
    scene = own_zookeeper_scene()
    scene.populate(200)
    with scene.service:
        scene.service.wait_in_sync()
        assert scene.service.terminate() == 0
    scene.write(40)
    scene.disconnect()
    own_zookeeper.stop()

    scene.restart_service()
    with scene.recorder() as recorder:
        scene.service.wait_ready()
        tried = scene.zk_proxy.connections
        wait_until(lambda: scene.zk_proxy.connections > tried, "it tries to connect")
        entry = scene.service.resource()
        assert (entry["decision"]["action"], entry["decision"]["reason"]) == ("skip", "fresh")
        assert (entry["inSync"], entry["gapSince"] is None) == (False, False)

        own_zookeeper.start()
        scene.connect()
        scene.write(20, seed=8)
        scene.wait_confirmed()
        assert scene.service.resource()["lastResult"]["trigger"] == "catch_up"
        scene.assert_equal_at_rest()

    assert recorder.readiness == {200}


def test_a_service_without_a_mirror_waits_for_zookeeper_and_is_not_ready(
    own_zookeeper: ZooKeeperServer, own_zookeeper_scene: NewScene
) -> None:
    scene = own_zookeeper_scene()
    scene.populate(200)
    scene.disconnect()
    own_zookeeper.stop()

    with scene.service, scene.recorder() as recorder:
        entry = wait_until(lambda: (entry := scene.service.resource())["error"] and entry, "it says why", seconds=60)
        assert own_zookeeper.hosts.split(":")[0] in entry["error"]
        assert entry["decision"]["reason"] == "no_state"
        assert scene.service.get("/health/ready") == (
            503,
            {"ready": False, "reason": "waiting for the first full sync", "waitingFor": ["services"]},
        )
        assert scene.service.get("/health/startup")[0] == 503
        assert scene.service.get("/health")[1]["status"] == "degraded"

        own_zookeeper.start()
        scene.connect()
        scene.service.wait_ready()
        scene.assert_equal_at_rest()
        assert scene.service.get("/health")[1]["status"] == "ok"
        assert scene.service.resource()["error"] is None

    assert recorder.answers[0].ready == 503
