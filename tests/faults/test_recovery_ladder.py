"""Losing the connection again and again, and what happens when nobody allowed the service to help itself."""

from __future__ import annotations

from tests.faults.conftest import NewScene
from tests.faults.scene import Scene, now
from tests.service import wait_until


def test_more_cuts_than_allowed_end_in_a_full_sync_that_resets_the_count(new_scene: NewScene) -> None:
    scene = new_scene(ZOOKEEPER_SESSION_TIMEOUT_SECONDS="20", INFORMER_MAX_RECONNECTS="2")
    scene.populate(100)
    with scene.running() as recorder:
        scene.wait_confirmed()
        for number in (1, 2):
            scene.zk_proxy.cut()
            scene.wait_entry("it is counted", informerReconnectCount=number, informer__state="watching", inSync=True)
            assert scene.service.resource()["lastResult"]["trigger"] == "reconnect"
        scene.zk_proxy.cut()
        scene.wait_entry("the ladder's end", informerReconnectCount=0, lastResult__trigger="max_reconnects")
        scene.wait_confirmed()

    assert recorder.checked_promises > 0


def test_a_connection_that_flaps_all_the_time_converges_when_it_stops(new_scene: NewScene) -> None:
    scene = new_scene(ZOOKEEPER_SESSION_TIMEOUT_SECONDS="20")
    scene.populate(500)
    with scene.running(pause_seconds=0.02) as recorder:
        for _ in range(40):
            scene.zk_proxy.cut()
            scene.wait_for_writes(3)
        scene.wait_confirmed()

    assert recorder.checked_promises > 0
    assert scene.service.logged("a task died and will be started again") == []


def test_without_consent_an_expiry_leaves_it_disconnected_until_somebody_triggers(new_scene: NewScene) -> None:
    scene = new_scene(AUTO_SYNC_ON_INFORMER_FAILURE="false")
    scene.populate(100)
    with scene.running() as recorder:
        scene.wait_confirmed()
        expire(scene)
        parked = now()
        scene.wait_for_writes(100)
        degraded(scene)
        recorder.wait_asked(parked)
        before_trigger = now()
        status, body = scene.service.post("/health/sync/trigger", {"wait": True})
        assert (status, body["results"]["services"]["trigger"]) == (200, "manual")
        scene.wait_confirmed()
        assert scene.service.get("/health")[1]["status"] == "ok"

    waiting = [answer for answer in recorder.since(parked) if answer.until < before_trigger]
    assert {answer.sync["informer"]["state"] for answer in waiting} == {"disconnected"}
    assert {answer.sync["inSync"] for answer in waiting} == {False}
    assert len({answer.sync["confirmedAt"] for answer in waiting}) == 1


def test_without_consent_a_gap_within_the_session_is_made_good_all_the_same(new_scene: NewScene) -> None:
    scene = new_scene(AUTO_SYNC_ON_INFORMER_FAILURE="false", ZOOKEEPER_SESSION_TIMEOUT_SECONDS="20")
    scene.populate(100)
    with scene.running():
        scene.wait_confirmed()
        scene.zk_proxy.refuse()
        scene.wait_for_writes(30)
        scene.zk_proxy.accept_again()
        scene.wait_confirmed()
        assert scene.service.resource()["lastResult"]["trigger"] == "reconnect"


def test_without_consent_too_many_cuts_leave_it_disconnected_until_somebody_triggers(new_scene: NewScene) -> None:
    scene = new_scene(
        AUTO_SYNC_ON_INFORMER_FAILURE="false", ZOOKEEPER_SESSION_TIMEOUT_SECONDS="20", INFORMER_MAX_RECONNECTS="1"
    )
    scene.populate(100)
    with scene.running():
        scene.wait_confirmed()
        scene.zk_proxy.cut()
        scene.wait_entry("the first is forgiven", informerReconnectCount=1, inSync=True)
        scene.zk_proxy.cut()
        wait_until(lambda: scene.service.logged(PARKED), "it gives up")
        degraded(scene)
        assert scene.service.post("/health/sync/trigger", {"wait": True})[0] == 200
        scene.wait_confirmed()


def test_without_consent_it_ends_in_good_order_while_it_waits(new_scene: NewScene) -> None:
    scene = new_scene(AUTO_SYNC_ON_INFORMER_FAILURE="false")
    scene.populate(100)
    with scene.service, scene.recorder():
        scene.wait_confirmed()
        expire(scene)
        assert scene.service.get("/health/live")[0] == 200
        assert scene.service.terminate() == 0
    assert scene.collection.count_documents({}) == 102


PARKED = "disconnected for good, because AUTO_SYNC_ON_INFORMER_FAILURE is false"


def expire(scene: Scene) -> None:
    """The session ends; the way to ZooKeeper is free again afterwards."""
    scene.zk_proxy.refuse()
    scene.wait_logged("ZooKeeper session over")
    scene.zk_proxy.accept_again()
    scene.wait_logged(PARKED)


def degraded(scene: Scene) -> None:
    """It says what is wrong, lives, and is ready with what it has."""
    assert scene.service.get("/health")[1]["status"] == "degraded"
    assert scene.service.get("/health/ready")[0] == 200
    assert scene.service.resource()["informer"]["state"] == "disconnected"
