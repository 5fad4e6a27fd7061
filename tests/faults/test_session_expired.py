"""The ZooKeeper session ends while the service does not hear of it: everything is compared at once."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.faults.conftest import NewScene
from tests.faults.scene import now

SESSION_OVER = "ZooKeeper session over"


def test_a_connection_frozen_for_longer_than_the_session(new_scene: NewScene) -> None:
    scene = new_scene()
    scene.populate(300)
    with scene.running() as recorder:
        scene.wait_confirmed()
        scene.zk_proxy.stall()
        scene.wait_logged(SESSION_OVER)
        scene.wait_for_writes(60)
        scene.zk_proxy.resume()
        scene.wait_confirmed()
        assert scene.service.resource()["lastResult"]["trigger"] == "expired"

    assert recorder.checked_promises > 0
    assert recorder.readiness == {200}


def test_three_sessions_expire_one_after_the_other(new_scene: NewScene) -> None:
    scene = new_scene()
    scene.populate(300)
    with scene.running() as recorder:
        for number in range(1, 4):
            scene.wait_confirmed()
            scene.zk_proxy.refuse()
            scene.wait_logged(SESSION_OVER, number)
            scene.wait_for_writes(30)
            scene.zk_proxy.accept_again()
        scene.wait_confirmed()

    assert recorder.checked_promises > 0


@pytest.mark.parametrize("direction", ["to_client", "to_server"])
def test_a_half_open_connection_confirms_nothing_and_is_dropped(
    new_scene: NewScene, direction: Literal["to_client", "to_server"]
) -> None:
    scene = new_scene(ZOOKEEPER_SESSION_TIMEOUT_SECONDS="6")
    scene.populate(100)
    with scene.running() as recorder:
        scene.wait_confirmed()
        scene.zk_proxy.stall(direction)
        stalled = now()
        scene.wait_logged("watch lost")
        noticed = now()
        scene.wait_for_writes(60)
        recorder.wait_asked(noticed)
        before_return = now()
        scene.zk_proxy.resume()
        scene.wait_confirmed()

    still = [answer for answer in recorder.since(stalled) if answer.until < before_return]
    over = [answer for answer in still if answer.at >= noticed]
    assert all(answer.confirmed_at is not None and answer.confirmed_at < stalled for answer in still)
    assert len({answer.sync["confirmedAt"] for answer in over}) == 1, "it stands still"
    assert {answer.sync["inSync"] for answer in over} == {False}
    assert {answer.ready for answer in still} == {200}


def test_with_a_greatest_age_of_the_proof_it_is_not_ready_while_half_open(new_scene: NewScene) -> None:
    scene = new_scene(ZOOKEEPER_SESSION_TIMEOUT_SECONDS="20", READY_MAX_AGE_SECONDS="1")
    scene.populate(20)
    with scene.running() as recorder:
        scene.wait_confirmed()
        scene.service.wait_ready()
        scene.zk_proxy.stall("to_client")
        scene.wait_readiness(503)
        assert scene.service.get("/health/ready")[1]["waitingFor"] == ["services"]
        recorder.wait_asked(now(), 1)
        scene.zk_proxy.resume()
        scene.wait_readiness(200)

    assert "READY_MAX_AGE_SECONDS" in " ".join(answer.ready_body["reason"] or "" for answer in recorder.answers)
