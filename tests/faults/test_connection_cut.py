"""The connection to ZooKeeper breaks and the session lives on: what was missed meanwhile is made good."""

from __future__ import annotations

import pytest

from tests.faults.conftest import NewScene
from tests.faults.scene import Scene, now
from tests.service import wait_until


@pytest.fixture
def scene(new_scene: NewScene) -> Scene:
    """A small tree; the session outlives every cut."""
    scene = new_scene(ZOOKEEPER_SESSION_TIMEOUT_SECONDS="20")
    scene.populate(300)
    return scene


def refused_for(scene: Scene, writes: int) -> None:
    """No connection until so many changes were made."""
    scene.zk_proxy.refuse()
    scene.wait_for_writes(writes)
    scene.zk_proxy.accept_again()


def test_changes_deletes_and_re_creates_during_cuts_arrive(scene: Scene) -> None:
    with scene.running() as recorder:
        scene.wait_confirmed()
        for _ in range(3):
            refused_for(scene, writes=60)
            scene.wait_confirmed()
        assert scene.service.resource()["lastResult"]["trigger"] == "reconnect"
        assert scene.service.logged("ZooKeeper session over") == []

    assert recorder.checked_promises >= 4
    assert any(answer.sync["gapSince"] is not None for answer in recorder.answers)


def test_it_stays_ready_while_the_gap_is_open_but_is_not_in_sync(scene: Scene) -> None:
    with scene.running() as recorder:
        scene.wait_confirmed()
        scene.zk_proxy.refuse()
        scene.wait_entry("the gap is noticed", informer__state="disconnected")
        noticed = now()
        scene.wait_for_writes(100)
        recorder.wait_asked(noticed)
        before_return = now()
        scene.zk_proxy.accept_again()
        scene.wait_confirmed()

    gap = [answer for answer in recorder.since(noticed) if answer.until < before_return]
    assert gap
    assert {answer.ready for answer in gap} == {200}
    assert {answer.sync["inSync"] for answer in gap} == {False}
    assert len({answer.sync["confirmedAt"] for answer in gap}) == 1
    assert len({answer.sync["gapSince"] for answer in gap}) == 1
    assert {answer.sync["informer"]["state"] for answer in gap} <= {"disconnected", "connecting"}


def test_one_path_deleted_and_re_created_within_one_gap_is_the_new_one(scene: Scene) -> None:
    path = f"{scene.root}/reborn"
    with scene.running() as recorder:
        scene.journal.create(path, b"first")
        for value in (b"second", b"third"):
            scene.journal.set(path, value)
        scene.wait_confirmed()
        assert scene.collection.find_one({"_id": path})["stat"]["version"] == 2  # type: ignore[index]

        scene.zk_proxy.refuse()
        scene.journal.delete(path)
        scene.journal.create(path, b"third")
        scene.zk_proxy.accept_again()
        scene.wait_confirmed()

    document = scene.collection.find_one({"_id": path})
    assert document is not None
    assert (document["value"], document["stat"]["version"]) == ("third", 0)
    assert document["stat"]["czxid"] == document["version"]
    assert recorder.checked_promises > 0


def test_a_whole_subtree_deleted_within_one_gap_is_gone(scene: Scene) -> None:
    with scene.running():
        scene.wait_confirmed()
        scene.zk_proxy.refuse()
        scene.zk.delete(f"{scene.root}/group-1", recursive=True)
        scene.zk.create(f"{scene.root}/group-1", b"[]")
        scene.zk_proxy.accept_again()
        scene.wait_confirmed()

    left = scene.collection.find({"_id": {"$regex": f"^{scene.root}/group-1"}}).to_list()
    assert [(one["_id"], one["value"]) for one in left] == [(f"{scene.root}/group-1", [])]


def test_a_connection_that_breaks_in_the_middle_of_every_listing_sweeps_nothing(scene: Scene) -> None:
    scene.populate(3_000, group="more")
    with scene.running(pause_seconds=0.02) as recorder:
        scene.wait_confirmed()
        count = scene.collection.count_documents({})
        for passed in (2_000, 40_000, 150_000):
            attempts = len(scene.service.logged("full sync failed"))
            scene.zk_proxy.cut()
            scene.zk_proxy.drop_after(passed, "to_client")
            wait_until(lambda n=attempts: len(scene.service.logged("full sync failed")) > n, "it broke")  # type: ignore[misc]
            assert scene.collection.count_documents({}) >= count - 45, "more is gone than the writer ever has"
        scene.wait_confirmed()

    assert recorder.checked_promises > 0
