"""The primary of a replica set steps down, dies, or loses its majority: what is rolled back never counted as done."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime

import pymongo
import pytest

from hybridsync.embedded import ZooKeeperServer
from tests.faults.cluster_scene import ReplicaSetScene
from tests.faults.recorder import Answer, Recorder
from tests.faults.scene import now
from tests.replica_set import Member, ReplicaSet, step_down
from tests.servers import GivenZooKeeper
from tests.service import moment, wait_until

NewScene = Callable[..., ReplicaSetScene]
END_PRIMARY = pytest.mark.parametrize("end", [step_down, Member.kill], ids=["stepped-down", "killed"])


@pytest.fixture(scope="module")
def _members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with ReplicaSet(tmp_path_factory.mktemp("replica-set")) as members:
        yield members


@pytest.fixture
def new_scene(
    _members: ReplicaSet, zookeeper_server: ZooKeeperServer | GivenZooKeeper, zk_root: str
) -> Iterator[NewScene]:
    """`new_scene(**settings)`: a scene on a whole replica set, in a database of its own."""
    _members.make_whole()
    with ExitStack() as exits:
        yield lambda **more: exits.enter_context(
            ReplicaSetScene(zookeeper_server.port, _members, f"d_{uuid.uuid4().hex[:6]}", zk_root, **more)
        )


@END_PRIMARY
def test_changes_go_on_over_an_election(new_scene: NewScene, end: Callable[[Member], None]) -> None:
    scene = new_scene()
    scene.populate(200)
    with scene.running(pause_seconds=0.02) as recorder:
        scene.wait_confirmed()
        primary = scene.members.wait_primary()
        end(primary)
        next_primary = scene.members.wait_primary([one for one in scene.members.members if one is not primary])
        scene.wait_for_writes(60)
        scene.wait_readiness(200)
        scene.wait_confirmed()
        assert scene.service.resource()["lastResult"]["trigger"] == "startup", "no full sync was needed"
        scene.members.make_whole()

    assert next_primary is not primary
    assert recorder.checked_promises > 0


@END_PRIMARY
def test_the_first_full_sync_is_made_whole_over_an_election(new_scene: NewScene, end: Callable[[Member], None]) -> None:
    scene = new_scene(ZOOKEEPER_SESSION_TIMEOUT_SECONDS="20")
    scene.populate(2_500)
    scene.zk_proxy.delay(0.15)  # the listing takes some seconds, and what it has read is written meanwhile
    with scene.service, scene.recorder() as recorder:
        wait_until(lambda: scene.collection.estimated_document_count() > 0, "some of it is written")
        primary = scene.members.wait_primary()
        written = scene.collection.count_documents({})  # asked before it ends: afterwards that waits for the next one
        assert scene.service.get("/health/ready")[0] == 503
        end(primary)
        scene.zk_proxy.delay(0.0)
        scene.service.wait_ready()
        scene.assert_equal_at_rest()
    scene.delete_tree()

    assert written < 2_500, "the election was not in the middle"
    assert recorder.last.sync["error"] is None
    assert scene.states.find_one({"_id": "services"})["status"] == "completed"  # type: ignore[index]


def test_writes_that_no_majority_has_are_not_done_and_what_is_rolled_back_is_written_again(
    new_scene: NewScene,
) -> None:
    scene = new_scene()
    scene.populate(200)
    with scene.service, scene.recorder() as recorder:
        scene.wait_confirmed()
        lonely, others = isolate_primary(scene)
        isolated = now()
        scene.write(60)
        wait_until(lambda: newest_at(lonely, scene) > isolated, "it has written to the lonely primary")
        lonely.pause()
        for one in others:
            one.start()
        scene.members.wait_primary(others)
        lonely.resume()
        scene.wait_confirmed()
        scene.wait_readiness(200)
        wait_until(
            lambda: '"newState":"ROLLBACK"' in lonely.log.read_text(errors="replace"), "it rolls back", seconds=20
        )
        scene.members.make_whole()
        scene.assert_equal_at_rest()

    assert recorder.checked_promises > 0


def test_a_full_sync_that_no_majority_has_is_not_completed(new_scene: NewScene) -> None:
    scene = new_scene()
    scene.populate(200)
    with scene.service, scene.recorder() as recorder:
        scene.wait_confirmed()
        before = scene.states.find_one({"_id": "services"})
        lonely, others = isolate_primary(scene)
        scene.write(1, seed=3)
        isolated = now()
        scene.write(60)
        assert scene.service.post("/health/sync/trigger")[0] == 202
        wait_until(lambda: scene.service.get("/health/ready")[0] == 503, "readiness follows")
        assert scene.service.get("/health/ready")[1]["reason"] == "MongoDB cannot be reached"
        recorder.wait_asked(now())
        assert_nothing_is_claimed(recorder, isolated)
        lonely.kill()
        for one in others:
            one.start()
        scene.members.wait_primary(others)
        scene.wait_readiness(200)
        scene.wait_confirmed()
        scene.assert_equal_at_rest()

    state = scene.states.find_one({"_id": "services"})
    assert before is not None
    assert state is not None
    assert state["status"] == "completed"
    assert state["lastSyncTime"] > before["lastSyncTime"]


def test_a_service_killed_while_its_writes_had_no_majority_starts_with_a_mirror_it_mends(
    new_scene: NewScene,
) -> None:
    scene = new_scene()
    scene.populate(200)
    with scene.service:
        scene.wait_confirmed()
        lonely, others = isolate_primary(scene)
        isolated = now()
        scene.write(60)
        wait_until(lambda: newest_at(lonely, scene) > isolated, "it has written to the lonely primary")
        scene.service.kill()
        lonely.kill()
        for one in others:
            one.start()
        scene.members.wait_primary(others)
    scene.restart_service()
    with scene.recorder() as recorder:
        scene.service.wait_ready()
        scene.wait_confirmed()
        scene.members.make_whole()
        scene.assert_equal_at_rest()

    assert recorder.checked_promises > 0


def isolate_primary(scene: ReplicaSetScene) -> tuple[Member, list[Member]]:
    """Kills both secondaries: the primary takes writes, and steps down some seconds later.

    Frozen ones would not do: what was sent to them meanwhile waits in their sockets, and is not lost.
    """
    others = scene.members.secondaries()
    lonely = scene.members.wait_primary()
    for one in others:
        one.kill()
    return lonely, others


def newest_at(member: Member, scene: ReplicaSetScene) -> datetime:
    """When the newest document of the mirror was written that this very member holds, majority or not."""
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(
        member.uri, tz_aware=True, serverSelectionTimeoutMS=5_000, readPreference="primaryPreferred"
    )
    with client:
        found = client[scene.collection.database.name]["services"].find_one(sort=[("syncedAt", -1)])
    assert found is not None
    newest = found["syncedAt"]
    assert isinstance(newest, datetime)
    return newest


def assert_nothing_is_claimed(recorder: Recorder, since: datetime) -> None:
    """Whatever was answered since then, nothing after that moment is confirmed or in sync for it."""

    def claims(answer: Answer) -> bool:
        return answer.confirmed_at is not None and answer.confirmed_at > since

    assert [answer.sync for answer in recorder.since(since) if claims(answer)] == []
    assert moment(recorder.last.sync["confirmedAt"]) <= since
