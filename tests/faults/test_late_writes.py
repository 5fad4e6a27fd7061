"""What a killed service had sent reaches MongoDB when its successor has already compared everything."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pymongo.database import Database

from hybridsync.embedded import MongoServer
from tests.faults.conftest import NewScene
from tests.faults.scene import Scene, now
from tests.mirror_truth import wait_until_equal
from tests.servers import GivenMongo, with_database
from tests.service import wait_until

STUCK = timedelta(seconds=3)


def killed_with_writes_under_way(scene: Scene, *, replacing: bool) -> list[str]:
    """Paths whose inserts, or replacements, are stuck on the way from a service that is dead."""
    paths = [f"{scene.root}/late-{number}" for number in range(20)]
    if replacing:
        scene.journal.create_all(paths, b"before")
    with scene.service:
        scene.wait_confirmed()
        scene.mongo_proxy.stall("to_server")
        (scene.journal.set_all if replacing else scene.journal.create_all)(paths, b"x")
        changed = now()
        wait_until(lambda: now() - changed > STUCK and scene.service.resource()["informer"]["pending"], "stuck")
        scene.service.kill()
    return paths


def compare_before_they_arrive(scene: Scene, mongodb_uri: str) -> None:
    """Has a successor compare everything by another way to MongoDB, and again when the writes have come in."""
    with scene.another_service(MONGODB_URI=mongodb_uri) as successor:
        successor.wait_in_sync(now())
        scene.mongo_proxy.resume()
        wait_until(lambda: scene.mongo_proxy.open_connections == 0, "all that was stuck has arrived")
        successor.wait_in_sync(now())
        wait_until_equal(scene.zk, scene.root, scene.collection, seconds=0.0)


@pytest.fixture
def mongodb_uri(mongo_server: MongoServer | GivenMongo, mongo_database: Database[dict[str, object]]) -> str:
    """The mirror's database, without the proxy."""
    return with_database(mongo_server.uri, mongo_database.name)


@pytest.mark.parametrize("replacing", [False, True], ids=["inserts", "replacements"])
def test_late_writes_do_not_bring_back_what_was_removed(new_scene: NewScene, mongodb_uri: str, replacing: bool) -> None:
    scene = new_scene()
    scene.populate(50)
    for path in killed_with_writes_under_way(scene, replacing=replacing):
        scene.journal.delete(path)
    compare_before_they_arrive(scene, mongodb_uri)


@pytest.mark.parametrize("replacing", [False, True], ids=["inserts", "replacements"])
def test_late_writes_of_what_is_still_there_do_no_harm(new_scene: NewScene, mongodb_uri: str, replacing: bool) -> None:
    scene = new_scene()
    scene.populate(50)
    for path in killed_with_writes_under_way(scene, replacing=replacing)[::2]:
        scene.journal.set(path, b"newer")
    compare_before_they_arrive(scene, mongodb_uri)
