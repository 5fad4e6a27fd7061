"""Trees of every shape: odd names, many children, great depth, the root of all, exclusions, roots that come and go."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest

from hybridsync.embedded import MongoServer, ZooKeeperServer
from tests.acceptance.place import Place
from tests.mirror_truth import differences
from tests.servers import connected
from tests.service import Service, moment, settings_for, wait_until

NAMES = [
    *("a b", ".hidden", "$x", "x.y", "!early", "-dash", "0", "~late", "ünï", "日本語", "a,b;c=d", "%2F", "'q'"),
    *('"q"', "back\\slash", "{}", "[x]", "*", "?", "..x", "...", "x" * 200, "tab\u00a0space", "#", "+", "e\u0301"),
]


@pytest.fixture(scope="module")
def odd(shared_place: Place) -> Iterator[Place]:
    """Odd names as parents and children, 5,000 children in one parent, and 200 levels."""
    tree = {"": b"", "/wide": b"", "/deep": b"", "/names": b""}
    for name in NAMES:
        tree[f"/names/{name}"] = b"value of " + name.encode()
        tree[f"/names/{name}/{name}"] = b"{}"
    tree |= {f"/names{name}": b"sibling that sorts next to the parent" for name in (" ", "!", "-", ".", "0", "~")}
    tree |= {f"/wide/child-{number:04}": b"" for number in range(5_000)}
    tree |= {"/deep" + "/d" * level: b"" for level in range(1, 200)}
    shared_place.grow(tree)
    with Service(shared_place.settings()) as service:
        service.wait_in_sync()
        assert service.resource()["lastSyncCount"] == len(tree)
        assert shared_place.paths() == set(tree)
        assert differences(shared_place.zk, shared_place.root, shared_place.mirror) == []
        yield shared_place


@pytest.mark.parametrize("name", NAMES)
def test_an_odd_name_is_stored_as_it_is(odd: Place, name: str) -> None:
    parent, child = odd.document(f"/names/{name}"), odd.document(f"/names/{name}/{name}")

    assert (parent["name"], parent["parent"], parent["value"]) == (name, f"{odd.root}/names", f"value of {name}")
    assert (child["name"], child["parent"], child["value"]) == (name, f"{odd.root}/names/{name}", {})


def test_children_are_found_by_their_parent(odd: Place) -> None:
    plan = odd.mirror.find({"parent": f"{odd.root}/wide"}).explain()["queryPlanner"]["winningPlan"]

    assert odd.mirror.count_documents({"parent": f"{odd.root}/wide"}) == 5_000
    assert plan["inputStage"]["stage"] == "IXSCAN"


def test_a_subtree_goes_without_its_neighbours(odd: Place) -> None:
    before = odd.paths()
    odd.zk.delete(f"{odd.root}/names", recursive=True)

    gone = {path for path in before if path == "/names" or path.startswith("/names/")}
    assert len(gone) == 1 + 2 * len(NAMES)
    wait_until(lambda: odd.paths() == before - gone, "exactly the subtree is gone")


def test_a_deep_and_a_wide_subtree_go_and_come_back(odd: Place) -> None:
    before = odd.paths()
    odd.zk.delete(f"{odd.root}/deep", recursive=True)
    odd.zk.delete(f"{odd.root}/wide", recursive=True)
    kept = {path for path in before if not path.startswith(("/deep", "/wide"))}
    wait_until(lambda: odd.paths() == kept, "both are gone")

    odd.grow({"/deep" + "/d" * level: b"new" for level in range(200)})

    wait_until(lambda: len(odd.paths()) == len(kept) + 200, "all levels are back")
    assert odd.document("/deep" + "/d" * 199)["value"] == "new"


def test_a_root_that_is_not_there_yet_appears_goes_and_appears_again(place: Place) -> None:
    with Service(place.settings()) as service:
        service.wait_in_sync()
        entry = service.resource()
        assert (entry["status"], entry["lastSyncCount"], entry["lastResult"]["read"]) == ("completed", 0, 0)
        assert place.paths() == set()

        for value in (b"first", b"second"):
            place.grow({"": value, "/a": value, "/a/b": value})
            wait_until(lambda: place.paths() == {"", "/a", "/a/b"}, "the tree is seen")
            document = place.document()
            assert (document["parent"], document["value"]) == (None, value.decode())
            place.zk.delete(place.root, recursive=True)
            wait_until(lambda: place.paths() == set(), "all of it is gone")
        service.wait_in_sync()


def test_a_change_of_children_alone_rewrites_nothing(place: Place) -> None:
    place.grow({"": b"", "/parent": b"x", "/parent/a": b""})
    with Service(place.settings()) as service:
        service.wait_in_sync()
        before = [place.document(path) for path in ("", "/parent", "/parent/a")]

        place.create("/parent/b")
        place.zk.delete(f"{place.root}/parent/b")
        place.create("/parent/c")
        wait_until(lambda: place.paths() == {"", "/parent", "/parent/a", "/parent/c"}, "the children are right")
        assert service.post("/health/sync/trigger", {"wait": True})[1]["results"]["services"]["updated"] == 0

        assert [place.document(path) for path in ("", "/parent", "/parent/a")] == before


def test_a_write_of_the_same_bytes_is_a_change(place: Place) -> None:
    place.grow({"": b"", "/a": b"same"})
    with Service(place.settings()) as service:
        service.wait_in_sync()
        before = place.document("/a")

        place.set("/a", b"same")

        wait_until(lambda: place.document("/a")["stat"]["version"] == 1, "the new version arrives")
        assert place.document("/a")["version"] > before["version"]
        assert place.document("/a")["syncedAt"] >= before["syncedAt"]


def test_a_znode_deleted_and_created_again_is_the_new_one(place: Place) -> None:
    place.grow({"": b"", "/a": b"old"})
    place.set("/a", b"older")
    with Service(place.settings()) as service:
        service.wait_in_sync()
        for _ in range(20):
            place.zk.delete(f"{place.root}/a")
            place.create("/a", b"same")
        service.wait_in_sync()

        _, stat = place.zk.get(f"{place.root}/a")
        document = place.document("/a")
        assert (document["stat"]["czxid"], document["stat"]["version"]) == (stat.czxid, 0)


def test_an_ephemeral_znode_names_its_session_and_goes_with_it(place: Place) -> None:
    place.grow({"": b"", "/members": b""})
    with Service(place.settings()) as service:
        with connected(place.zookeeper) as member:
            member.create(f"{place.root}/members/me-", b"{}", ephemeral=True, sequence=True)
            wait_until(lambda: len(place.paths()) == 3, "it is there")
            owner = place.document("/members/me-0000000000")["stat"]["ephemeralOwner"]
            assert owner == member.client_id[0]
            assert place.mirror.count_documents({"stat.ephemeralOwner": {"$type": "long"}}) == 3
        wait_until(lambda: place.paths() == {"", "/members"}, "it is gone")
        service.wait_in_sync()


def test_excluded_znodes_are_never_in_the_mirror(place: Place) -> None:
    kept = {"": b"", "/tmp": b"", "/a": b"", "/a/keep": b"", "/a/deep": b"", "/a/deep/keep": b""}
    left_out = {"/tmp/x": b"", "/tmp/x/y": b"", "/a/drop-1": b"", "/a/drop-1/below": b"", "/a/deep/cache": b""}
    place.grow(kept | left_out)
    resources = place.excluding("/tmp/**", "/*/drop-*", "/**/cache")
    with Service(place.settings(RESOURCES=resources)) as service:
        service.wait_in_sync()
        assert place.paths() == set(kept)
        assert service.resource()["lastSyncCount"] == len(kept)

        place.set("/tmp/x", b"changed")
        place.grow({"/tmp/new": b"", "/a/drop-2": b"", "/b": b"", "/b/cache": b"", "/b/kept": b""})
        wait_until(lambda: place.paths() == {*kept, "/b", "/b/kept"}, "only what is not excluded arrives")
        service.wait_in_sync()
        assert place.paths() == {*kept, "/b", "/b/kept"}


def test_the_root_of_all_can_be_mirrored(own_zookeeper: ZooKeeperServer, own_mongodb: MongoServer) -> None:
    settings = settings_for(own_zookeeper.hosts, own_mongodb.uri_for("all"), "/")
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(own_mongodb.uri)
    with client, connected(own_zookeeper.hosts) as zk, Service(settings) as service:
        mirror = client["all"]["services"]
        service.wait_in_sync()
        zk.create("/a")
        zk.create("/a/b", b"1")
        zk.set("/", b"root")
        wait_until(lambda: mirror.count_documents({"_id": {"$in": ["/a", "/a/b"]}}) == 2, "new znodes arrive")
        wait_until(lambda: (mirror.find_one({"_id": "/"}) or {}).get("value") == "root", "the root's value arrives")

        parents = {each["_id"]: (each["parent"], each["name"]) for each in mirror.find()}
        assert parents["/"] == (None, "/")
        assert parents["/a"] == ("/", "a")
        assert parents["/a/b"] == ("/a", "b")
        assert {"/zookeeper", "/zookeeper/config", "/zookeeper/quota"} <= parents.keys()
        result = service.post("/health/sync/trigger", {"wait": True})[1]["results"]["services"]
        assert (result["read"], result["unchanged"]) == (len(parents), len(parents))

        zk.delete("/a", recursive=True)
        wait_until(lambda: mirror.count_documents({}) == len(parents) - 2, "the subtree is gone, and only that")


def test_two_resources_have_their_own_mirrors_states_and_decisions(place: Place) -> None:
    place.grow({"": b"", "/one": b"1", "/one/x": b"", "/two": b"2"})
    resources = {
        "one": {"source": {"type": "zookeeper", "path": f"{place.root}/one"}},
        "two": {
            "source": {"type": "zookeeper", "path": f"{place.root}/two"},
            "sink": {"type": "mongodb", "collection": "other"},
        },
    }
    with Service(place.settings(RESOURCES=json.dumps(resources))) as service:
        service.wait_in_sync()

        body = service.get("/health/sync")[1]
        assert (body["summary"]["total"], body["summary"]["completed"]) == (2, 2)
        assert [(each["resourceType"], each["lastSyncCount"]) for each in body["sync"]] == [("one", 2), ("two", 1)]
        assert {each["_id"] for each in place.database["one"].find()} == {f"{place.root}/one", f"{place.root}/one/x"}
        assert [each["_id"] for each in place.database["other"].find()] == [f"{place.root}/two"]
        assert {each["_id"] for each in place.database["sync_states"].find()} == {"one", "two"}


def test_a_change_is_in_the_mirror_soon(place: Place) -> None:
    place.grow({"": b"", "/a": b"0"})
    with Service(place.settings()) as service:
        service.wait_in_sync()
        began = time.monotonic()
        place.set("/a", b"1")
        wait_until(lambda: place.document("/a")["value"] == "1", "the change arrives", seconds=5)

        assert time.monotonic() - began < 5
        entry = service.resource()
        assert moment(entry["informer"]["lastEventTime"]) > moment(entry["informer"]["since"])
