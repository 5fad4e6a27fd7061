"""The service dies (SIGKILL) at the worst moments: the next one knows what is not done and does it."""

from __future__ import annotations

import pytest

from tests.faults.conftest import NewScene
from tests.faults.test_mongodb_away import slow_down, wait_for_some_writes
from tests.service import wait_until


def test_killed_in_the_middle_of_the_first_full_sync(new_scene: NewScene) -> None:
    scene = new_scene()
    scene.populate(10_000)
    slow_down(scene)
    with scene.service:
        wait_for_some_writes(scene)
        scene.service.kill()
    assert scene.states.find_one({"_id": "services"})["status"] == "in_progress"  # type: ignore[index]
    assert 0 < scene.collection.count_documents({}) < 10_101
    scene.zk.delete(f"{scene.root}/group-3", recursive=True)
    scene.write(30)

    scene.restart_service()
    with scene.recorder() as recorder:
        entry = wait_until(lambda: (entry := scene.service.resource())["decision"] and entry, "it decided")
        assert (entry["decision"]["action"], entry["decision"]["reason"]) == ("sync", "incomplete")
        scene.mongo_proxy.delay(0.0)
        scene.service.wait_ready()
        assert scene.service.resource()["status"] == "completed"
        scene.assert_equal_at_rest()

    assert recorder.answers[0].ready == 503
    assert recorder.last.ready == 200


def test_killed_in_the_middle_of_a_later_full_sync(new_scene: NewScene) -> None:
    scene = new_scene(ZOOKEEPER_SESSION_TIMEOUT_SECONDS="20")
    scene.populate(200)
    with scene.service:
        scene.service.wait_in_sync()
        scene.zk_proxy.refuse()
        scene.populate(10_000, group="more")
        slow_down(scene)
        scene.zk_proxy.accept_again()
        wait_for_some_writes(scene)
        scene.service.kill()
    scene.mongo_proxy.delay(0.0)
    scene.delete_tree()
    scene.populate(3_000)

    scene.restart_service(SWEEP_LIMIT_PERCENT="100")
    with scene.recorder():
        scene.service.wait_ready()
        assert scene.service.resource()["decision"]["reason"] == "incomplete"
        scene.assert_equal_at_rest()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_while_changes_flow(new_scene: NewScene, seed: int) -> None:
    scene = new_scene()
    scene.populate(100)
    with scene.churn(seed=seed):
        with scene.service, scene.recorder():
            scene.wait_confirmed()
            scene.wait_for_writes(50 * seed)
            scene.service.kill()
        scene.wait_for_writes(50)
        scene.restart_service()
        with scene.recorder() as recorder:
            scene.service.wait_ready()
            entry = scene.service.resource()
            assert (entry["decision"]["action"], entry["decision"]["reason"]) == ("skip", "fresh")
            scene.wait_confirmed()
    scene.assert_equal_at_rest()

    assert recorder.checked_promises > 0


def test_terminated_while_changes_flow_and_started_again(new_scene: NewScene) -> None:
    scene = new_scene()
    scene.populate(100)
    with scene.churn():
        for _ in range(3):
            with scene.recorder(scene.service.start()):
                scene.wait_confirmed()
                assert scene.service.terminate() == 0
            scene.wait_for_writes(20)
        scene.service.start()
    scene.assert_equal_at_rest()
    assert "Traceback" not in scene.service.stderr
