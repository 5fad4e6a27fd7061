"""Somebody takes the mirror away under a running service, or the user it writes as: it is told, and made good."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.database import Database

from hybridsync.embedded import MongoServer, ZooKeeperServer
from tests.acceptance.place import Place, a_place
from tests.acceptance.test_least_privilege import the_role_on_the_page
from tests.faults.conftest import NewScene
from tests.faults.scene import Scene, now
from tests.servers import GivenZooKeeper, GuardedMongo
from tests.service import Service, wait_until

Act = Callable[[Database[dict[str, Any]]], object]

TAKEN_AWAY: dict[str, Act] = {
    "dropped": lambda stored: stored["services"].drop(),
    "renamed": lambda stored: stored["services"].rename("elsewhere"),
    "database dropped": lambda stored: stored.client.drop_database(stored.name),
}


def database_of(scene: Scene) -> Database[dict[str, Any]]:
    return scene.collection.database


def made_again(scene: Scene) -> bool:
    """Whether a full sync has made the loss good."""
    result = scene.service.resource()["lastResult"]
    assert result["trigger"] != "startup", result
    assert result["inserted"] > 0, result
    return True


@pytest.mark.parametrize("act", TAKEN_AWAY.values(), ids=TAKEN_AWAY.keys())
def test_a_mirror_that_was_taken_away_is_made_again(new_scene: NewScene, act: Act) -> None:
    scene = new_scene()
    scene.populate(300)
    with scene.service:
        scene.wait_confirmed()
        act(database_of(scene))
        wait_until(lambda: made_again(scene), "it is made again")
        scene.assert_equal_at_rest()
        assert len(scene.service.logged("a mirror was taken away")) == 1
        assert "parent_1" in scene.collection.index_information()
        syncs = len(scene.service.logged("full sync completed"))
        scene.write(20)
        scene.assert_equal_at_rest()
        assert len(scene.service.logged("full sync completed")) == syncs == 2


def test_while_changes_go_on_it_is_made_again_too(new_scene: NewScene) -> None:
    scene = new_scene()
    scene.populate(300)
    with scene.service:
        with scene.churn(pause_seconds=0.01):
            scene.wait_confirmed()
            scene.collection.drop()
            wait_until(lambda: made_again(scene), "it is made again")
        scene.assert_equal_at_rest()


def test_a_mirror_that_became_a_view_is_named_until_it_is_none(new_scene: NewScene) -> None:
    scene = new_scene()
    scene.populate(50)
    with scene.service:
        scene.wait_confirmed()
        scene.collection.drop()
        database_of(scene).create_collection("services", viewOn="other", pipeline=[])

        def named() -> bool:
            entry = scene.service.resource()
            assert not entry["inSync"], entry
            assert entry["error"] is not None, entry
            assert "is a view" in entry["error"], entry
            return True

        wait_until(named, "the view is named")
        scene.collection.drop()
        scene.assert_equal_at_rest()


def test_an_index_that_deletes_documents_is_named_until_it_goes(new_scene: NewScene) -> None:
    scene = new_scene()
    scene.populate(50)
    with scene.service:
        scene.wait_confirmed()
        scene.collection.create_index("syncedAt", expireAfterSeconds=86_400, name="theirs")

        def named() -> bool:
            entry = scene.service.resource()
            assert not entry["inSync"], entry
            assert entry["error"] is not None, entry
            assert "deletes documents (theirs)" in entry["error"], entry
            return True

        wait_until(named, "the index is named")
        scene.collection.drop_index("theirs")
        scene.assert_equal_at_rest()


def test_from_the_start_without_mongodb_the_log_names_address_and_variable(
    own_mongodb: MongoServer, own_mongodb_scene: NewScene
) -> None:
    scene = own_mongodb_scene()
    scene.populate(10)
    scene.mongo_proxy.refuse()
    with scene.service:
        scene.wait_logged("MongoDB cannot be reached")
        (told, *_) = scene.service.logged("MongoDB cannot be reached")
        assert scene.mongo_proxy.address in told["error"]
        assert "HYBRIDSYNC_MONGODB_URI" in told["error"]
        scene.mongo_proxy.accept_again()
        scene.assert_equal_at_rest()


@pytest.fixture
def guarded_place(tmp_path: Path, zookeeper_server: ZooKeeperServer | GivenZooKeeper) -> Iterator[Place]:
    """A place whose `mongodb` is the URI of a user that its own handle can drop and make again."""
    with GuardedMongo(tmp_path / "mongodb") as guarded:
        with pymongo.MongoClient[Any](guarded.uri) as first:
            first.admin.command("createUser", "root", pwd="root-7", roles=["root"])
        as_root = guarded.uri.replace("mongodb://", "mongodb://root:root-7@") + "&authSource=admin"
        with a_place(zookeeper_server.hosts, as_root) as place:
            role = the_role_on_the_page(place.database.name)
            place.database.command("createRole", role["role"], privileges=role["privileges"], roles=[])
            create_user(place.database)
            uri = guarded.uri_for(place.database.name).replace("mongodb://", "mongodb://hybridsync:user-7@")
            yield replace(place, mongodb=uri)


def create_user(database: Database[Any]) -> None:
    database.command("createUser", "hybridsync", pwd="user-7", roles=["hybridsync"])


def test_a_user_dropped_and_made_again_needs_no_restart(guarded_place: Place) -> None:
    place = guarded_place
    place.grow({"": b"", "/a": b"1"})
    with Service(place.settings()) as service:
        service.wait_in_sync()
        place.database.command("dropUser", "hybridsync")
        place.create("/b", b"2")

        def told() -> bool:
            entry = service.resource()
            assert not entry["inSync"], entry
            assert entry["error"], entry
            assert "HYBRIDSYNC_MONGODB_URI" in entry["error"], entry
            return True

        wait_until(told, "the refusal is told")
        create_user(place.database)
        service.wait_in_sync(now())
        assert place.paths() == {"", "/a", "/b"}
        for line in service.stderr_lines:
            assert "lsid" not in line
            assert "full error" not in json.loads(line).get("error", "")
