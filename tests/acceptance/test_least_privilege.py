"""The MongoDB role of docs/operations.md: hybridsync can do all its work with it, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.errors import OperationFailure

from hybridsync.embedded import MongoServer, ZooKeeperServer
from tests.acceptance.command import hybridsync
from tests.acceptance.place import Place, a_place
from tests.servers import GivenZooKeeper, GuardedMongo
from tests.service import ROOT, Service, wait_until

PASSWORD = "least-privilege-7"


def the_role_on_the_page(database: str) -> dict[str, Any]:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    found = re.search(r"createRole\((\{.*?\n\})\)", page, re.DOTALL)
    assert found is not None
    role: dict[str, Any] = json.loads(found[1].replace("coordination", database))
    return role


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[MongoServer]:
    with GuardedMongo(tmp_path / "mongodb") as server:
        yield server


@pytest.fixture
def guarded_place(guarded: MongoServer, zookeeper_server: ZooKeeperServer | GivenZooKeeper) -> Iterator[Place]:
    """A place whose own handle may do everything, and whose `mongodb` is the URI of the user with the role."""
    # without any user, a client on loopback may make the first one
    with pymongo.MongoClient[Any](guarded.uri) as first:
        first.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
    as_root = guarded.uri.replace("mongodb://", f"mongodb://root:{PASSWORD}@") + "&authSource=admin"
    with a_place(zookeeper_server.hosts, as_root) as place:
        role = the_role_on_the_page(place.database.name)
        place.database.command("createRole", role["role"], privileges=role["privileges"], roles=role["roles"])
        place.database.command("createUser", "hybridsync", pwd=PASSWORD, roles=[role["role"]])
        uri = guarded.uri_for(place.database.name).replace("mongodb://", f"mongodb://hybridsync:{PASSWORD}@")
        yield replace(place, mongodb=uri)


@pytest.mark.timeout(240)
def test_what_a_killed_service_had_on_its_way_is_fenced_with_that_role_too(guarded_place: Place) -> None:
    place = guarded_place
    place.grow({"": b"", "/a": b"1"})
    with Service(place.settings()) as service:
        service.wait_in_sync()
        service.kill()
    left = {lane["_id"] for lane in place.database["sync_lanes"].find()}
    assert left
    with Service(place.settings()) as service:
        service.wait_in_sync()
        assert not left & {lane["_id"] for lane in place.database["sync_lanes"].find()}
        assert "not authorized" not in service.stderr


def test_a_role_without_rights_on_the_lanes_is_told_so_in_one_line(guarded_place: Place) -> None:
    place = guarded_place
    place.grow({"": b""})
    role = the_role_on_the_page(place.database.name)
    kept = [each for each in role["privileges"] if each["resource"]["collection"] != "sync_lanes"]
    place.database.command("updateRole", role["role"], privileges=kept)
    ended = hybridsync("sync", settings=place.settings())
    assert ended.returncode == 1, ended
    assert "needs find, insert, update and remove on the collections sync_lanes and services" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.timeout(240)
def test_with_the_documented_role_everything_works_and_nothing_else(guarded_place: Place) -> None:
    place = guarded_place
    place.grow({"": b"", "/a": b"1", "/b": b'{"x": 1}', "/c": b""})
    with Service(place.settings()) as service:
        service.wait_in_sync()
        place.create("/new", b"2")
        place.set("/a", b"3")
        place.zk.delete(f"{place.root}/c")
        wait_until(lambda: place.paths() == {"", "/a", "/b", "/new"}, "changes are followed")
        service.wait_in_sync()
        assert service.post("/health/sync/trigger", {"wait": True})[0] == 200
        assert place.state()["status"] == "completed"
        assert place.database["sync_lanes"].count_documents({"collection": "services"}) > 0
        assert service.terminate() == 0
        assert place.database["sync_lanes"].count_documents({}) == 0
        assert "not authorized" not in service.stderr
    place.mirror.update_one({"_id": f"{place.root}/a"}, {"$set": {"value": "somebody"}})
    for command in (("plan",), ("verify", "--repair"), ("verify",), ("sync",)):
        ended = hybridsync(*command, settings=place.settings())
        assert "not authorized" not in ended.stdout + ended.stderr
        assert ended.returncode == 0, ended
    assert place.document("/a")["value"] == "3"

    with pymongo.MongoClient[Any](place.mongodb) as client:
        database = client[place.database.name]
        with pytest.raises(OperationFailure, match="not authorized"):
            database["other"].insert_one({})
        with pytest.raises(OperationFailure, match="not authorized"):
            database["services"].drop()
        with pytest.raises(OperationFailure, match="not authorized"):
            database.command("createUser", "x", pwd="x", roles=[])
