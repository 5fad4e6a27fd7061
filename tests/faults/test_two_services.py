"""Two services write the same mirror: they may not undo each other, whatever happens to one of them."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.faults.conftest import NewScene
from tests.faults.scene import Scene, now
from tests.mirror_truth import wait_until_equal
from tests.service import Service


def started(scene: Scene, exits: ExitStack, **more: str) -> Service:
    """Another service on the same mirror."""
    return exits.enter_context(scene.another_service(**more))


def test_both_follow_all_changes_and_neither_spoils_the_other(new_scene: NewScene) -> None:
    scene = new_scene()
    scene.populate(300)
    with ExitStack() as exits:
        other = started(scene, exits)
        with scene.running(alone=False) as recorder:
            scene.service.wait_ready()
            other.wait_ready()
            scene.wait_for_writes(300)
            for service in (other, scene.service):
                assert service.post("/health/sync/trigger", {"wait": True})[0] == 200
            scene.wait_for_writes(50)
        other.wait_in_sync(now())
        wait_until_equal(scene.zk, scene.root, scene.collection, seconds=0.0)

    assert recorder.answers


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_is_killed_while_changes_flow_and_the_other_goes_on(new_scene: NewScene, seed: int) -> None:
    scene = new_scene()
    scene.populate(300)
    with ExitStack() as exits:
        victim = started(scene, exits)
        with scene.running(alone=False, seed=seed):
            scene.service.wait_ready()
            victim.wait_ready()
            scene.wait_for_writes(100 + 20 * seed)
            victim.kill()
            scene.wait_for_writes(100)
            # an insert that the victim had on its way may have come after the removal of its znode; now none can
            assert scene.service.post("/health/sync/trigger", {"wait": True})[0] == 200


def test_one_is_cut_off_and_comes_back_while_the_other_goes_on(new_scene: NewScene) -> None:
    scene = new_scene()
    scene.populate(300)
    with ExitStack() as exits:
        straight = exits.enter_context(scene.another_service(ZOOKEEPER_HOSTS=scene.zookeeper_hosts))
        with scene.running(alone=False):
            straight.wait_ready()
            scene.wait_confirmed()
            for _ in range(2):
                scene.zk_proxy.refuse()
                scene.wait_for_writes(100)
                scene.zk_proxy.accept_again()
                scene.wait_confirmed()
        straight.wait_in_sync(now())
        wait_until_equal(scene.zk, scene.root, scene.collection, seconds=0.0)
