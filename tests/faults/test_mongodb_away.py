"""MongoDB stops, dies or freezes, in the middle of a full sync or of changes: nothing is lost, and it is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hybridsync.embedded import MongoServer
from tests.faults.conftest import NewScene
from tests.faults.scene import Scene, now
from tests.service import wait_until

Act = Callable[[MongoServer], None]

OUTAGES = pytest.mark.parametrize(
    ("take_away", "bring_back"),
    [
        pytest.param(MongoServer.stop, MongoServer.start, id="stopped"),
        pytest.param(MongoServer.kill, MongoServer.start, id="killed"),
        pytest.param(MongoServer.pause, MongoServer.resume, id="frozen"),
    ],
)


@OUTAGES
def test_changes_made_while_it_is_away_arrive(
    own_mongodb: MongoServer, own_mongodb_scene: NewScene, take_away: Act, bring_back: Act
) -> None:
    scene = own_mongodb_scene()
    scene.populate(200)
    with scene.running(pause_seconds=0.02) as recorder:
        scene.wait_confirmed()
        take_away(own_mongodb)
        scene.wait_for_writes(2)  # the second was begun without MongoDB: no promise may include it
        taken = now()
        scene.wait_readiness(503)
        status, body = scene.service.get("/health/ready")
        assert (status, body["reason"]) == (503, "MongoDB cannot be reached")
        assert scene.service.get("/health")[1]["status"] == "degraded"
        scene.wait_for_writes(60)
        wait_until(lambda: scene.service.resource()["informer"]["pending"] > 0, "changes are pending")
        recorder.wait_asked(taken)
        before_return = now()
        bring_back(own_mongodb)
        scene.wait_readiness(200)
        scene.wait_confirmed()

    away = [answer for answer in recorder.since(taken) if answer.until < before_return]
    assert away[-1].sync["informer"]["state"] == "watching"
    assert not away[-1].sync["inSync"]
    assert all(answer.confirmed_at is None or answer.confirmed_at < taken for answer in away)
    assert scene.service.resource()["lastResult"]["trigger"] == "startup", "no full sync was needed"


@OUTAGES
def test_the_first_full_sync_is_done_again_when_it_went_away_in_the_middle(
    own_mongodb: MongoServer, own_mongodb_scene: NewScene, take_away: Act, bring_back: Act
) -> None:
    scene = own_mongodb_scene()
    scene.populate(12_000)
    slow_down(scene)
    with scene.service, scene.recorder() as recorder:
        wait_for_some_writes(scene)
        take_away(own_mongodb)
        scene.mongo_proxy.delay(0.0)
        scene.write(20)
        wait_until(lambda: scene.service.get("/health/ready")[1]["reason"] == "MongoDB cannot be reached", "noticed")
        bring_back(own_mongodb)
        scene.service.wait_ready()
        scene.assert_equal_at_rest()

    assert recorder.last.sync["error"] is None
    stored = scene.states.find_one({"_id": "services"})
    assert stored is not None
    assert stored["status"] == recorder.last.sync["status"], "a late save of an earlier state did not come after it"


@OUTAGES
def test_a_full_sync_of_a_ready_mirror_that_it_cut_off_is_made_good(
    own_mongodb: MongoServer, own_mongodb_scene: NewScene, take_away: Act, bring_back: Act
) -> None:
    scene = own_mongodb_scene(ZOOKEEPER_SESSION_TIMEOUT_SECONDS="20")
    scene.populate(200)
    with scene.running(pause_seconds=0.02) as recorder:
        scene.wait_confirmed()
        scene.zk_proxy.refuse()
        scene.populate(10_000, group="more")
        slow_down(scene)
        scene.zk_proxy.accept_again()
        wait_for_some_writes(scene)
        take_away(own_mongodb)
        taken = now()
        scene.mongo_proxy.delay(0.0)
        scene.wait_readiness(503)
        recorder.wait_asked(taken)
        before_return = now()
        bring_back(own_mongodb)
        scene.wait_confirmed()

    away = [answer for answer in recorder.since(taken) if answer.until < before_return]
    assert {answer.sync["inSync"] for answer in away} == {False}
    assert {answer.sync["gapSince"] is None for answer in away} == {False}


def test_a_service_started_while_it_is_away_waits_and_then_begins(
    own_mongodb: MongoServer, own_mongodb_scene: NewScene
) -> None:
    scene = own_mongodb_scene()
    scene.populate(200)
    own_mongodb.stop()
    with scene.service, scene.recorder() as recorder:
        wait_until(lambda: scene.service.resource()["error"], "it says why")
        assert scene.service.get("/health/ready")[1]["reason"] == "MongoDB cannot be reached"
        assert scene.service.resource()["decision"] is None
        own_mongodb.start()
        scene.service.wait_ready()
        scene.assert_equal_at_rest()

    assert recorder.answers[0].ready == 503


def test_a_flapping_connection_to_mongodb_loses_nothing(new_scene: NewScene) -> None:
    scene = new_scene()
    scene.populate(200)
    with scene.running() as recorder:
        for _ in range(10):
            scene.mongo_proxy.cut()
            scene.wait_for_writes(20)
        scene.wait_confirmed()

    assert recorder.checked_promises > 0


def test_with_slow_servers_nothing_is_promised_ahead(new_scene: NewScene) -> None:
    scene = new_scene(ZOOKEEPER_SESSION_TIMEOUT_SECONDS="20")
    scene.populate(100)
    scene.mongo_proxy.delay(0.15)
    with scene.running(pause_seconds=0.05) as recorder:
        scene.wait_confirmed()
        scene.wait_for_writes(60)
        scene.zk_proxy.delay(0.1)
        scene.wait_for_writes(60)
        scene.mongo_proxy.delay(0.0)
        scene.wait_for_writes(60)

    assert recorder.checked_promises > 3


def slow_down(scene: Scene) -> None:
    """Makes a full sync take seconds: every answer of MongoDB comes late."""
    scene.mongo_proxy.delay(0.2)


def wait_for_some_writes(scene: Scene) -> None:
    """Returns in the middle of the full sync that runs."""

    def some() -> bool:
        entry = scene.service.resource()
        assert entry["status"] in ("in_progress", "never") or entry["lastResult"]["trigger"] == "startup", entry
        return entry["progress"] is not None and entry["progress"]["inserted"] > 0

    wait_until(some, "the full sync has written something")
