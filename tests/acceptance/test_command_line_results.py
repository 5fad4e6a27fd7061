"""`plan`, `sync`, `verify`, `status` and `config` from outside: what they print and how they end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kazoo.client import KazooClient
from pymongo.database import Database

from hybridsync.embedded import ZooKeeperServer
from hybridsync.embedded.ports import free_port
from tests.acceptance.command import hybridsync, running, settings_for

Mirrors = Database[dict[str, Any]]


@pytest.fixture
def tree(zookeeper_server: ZooKeeperServer, mongo_uri: str, zk: KazooClient, zk_root: str) -> dict[str, str]:
    """Settings for a tree of four znodes."""
    zk.create(zk_root, b"")
    for name in ("a", "b", "c"):
        zk.create(f"{zk_root}/{name}", b'{"n": 1}')
    return settings_for(zookeeper_server.hosts, mongo_uri, zk_root)


@pytest.fixture
def without_mongodb(tree: dict[str, str]) -> dict[str, str]:
    """The same with nothing where MongoDB should be."""
    return tree | {"MONGODB_URI": f"mongodb://me:sesame-seed@127.0.0.1:{free_port()}/x?serverSelectionTimeoutMS=500"}


def json_of(*arguments: str, settings: dict[str, str], code: int = 0) -> Any:
    ended = hybridsync(*arguments, "--json", settings=settings)
    assert ended.returncode == code, ended.stderr
    return json.loads(ended.stdout)


def assert_one_line_and_1(*arguments: str, settings: dict[str, str]) -> None:
    ended = hybridsync(*arguments, settings=settings)
    assert (ended.returncode, ended.stdout) == (1, "")
    complaints = [line for line in ended.stderr.splitlines() if line.startswith("hybridsync: ")]
    assert len(complaints) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "sesame-seed" not in ended.stderr


def test_plan_says_what_start_up_would_do_and_writes_nothing(tree: dict[str, str], mongo_database: Mirrors) -> None:
    planned = json_of("plan", settings=tree)

    assert planned["plan"]["services"].keys() == {
        *("mode", "action", "reason", "blocking", "detail", "changes"),
    }
    assert planned["plan"]["services"]["changes"] == {"insert": 4, "update": 0, "delete": 0}
    assert (planned["plan"]["services"]["action"], planned["plan"]["services"]["reason"]) == ("sync", "no_state")
    assert mongo_database.list_collection_names() == []


def test_plan_after_a_sync_would_skip(tree: dict[str, str]) -> None:
    assert hybridsync("sync", settings=tree).returncode == 0

    ended = hybridsync("plan", settings=tree)

    assert ended.returncode == 0
    assert all(word in ended.stdout for word in ("services", "auto", "skip", "fresh"))


def test_plan_without_mongodb_is_one_line_and_1(without_mongodb: dict[str, str]) -> None:
    assert_one_line_and_1("plan", settings=without_mongodb)


def test_sync_writes_the_tree_once_and_nothing_the_second_time(tree: dict[str, str], mongo_database: Mirrors) -> None:
    first = json_of("sync", "services", settings=tree)["results"]["services"]
    second = json_of("sync", settings=tree)["results"]["services"]

    assert (first["read"], first["inserted"], first["unchanged"]) == (4, 4, 0)
    assert (second["read"], second["inserted"], second["unchanged"]) == (4, 0, 4)
    assert mongo_database["services"].count_documents({}) == 4


def test_sync_prints_a_table_and_no_progress_bar_into_a_pipe(tree: dict[str, str]) -> None:
    ended = hybridsync("sync", settings=tree)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "completed" in ended.stdout
    assert "\x1b" not in ended.stdout


def test_sync_of_an_unknown_name_is_2_and_names_the_known_ones(tree: dict[str, str], mongo_database: Mirrors) -> None:
    ended = hybridsync("sync", "servces", settings=tree)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines() == ["hybridsync: unknown resource 'servces'; known: services"]
    assert mongo_database.list_collection_names() == []


def test_a_sync_that_fails_says_why_and_is_1(tree: dict[str, str]) -> None:
    away = {"ZOOKEEPER_HOSTS": f"127.0.0.1:{free_port()}", "ZOOKEEPER_SESSION_TIMEOUT_SECONDS": "2"}
    result = json_of("sync", settings=tree | away, code=1)

    assert "ZooKeeper" in result["results"]["services"]["error"]


def test_sync_without_mongodb_is_1_without_a_traceback(without_mongodb: dict[str, str]) -> None:
    ended = hybridsync("sync", settings=without_mongodb)

    assert ended.returncode == 1
    assert "MongoDB" in ended.stdout + ended.stderr
    assert not [word for word in ("Traceback", "sesame-seed") if word in ended.stdout + ended.stderr]


def test_verify_finds_drift_of_every_kind_and_repairs_it(
    tree: dict[str, str], mongo_database: Mirrors, zk_root: str
) -> None:
    json_of("sync", settings=tree)
    assert json_of("verify", settings=tree)["results"]["services"]["compared"] == 4
    mirror = mongo_database["services"]
    document = mirror.find_one({"_id": f"{zk_root}/a"})
    assert document is not None
    mirror.delete_one({"_id": f"{zk_root}/a"})
    mirror.insert_one({**document, "_id": f"{zk_root}/extra", "name": "extra"})
    mirror.update_one({"_id": f"{zk_root}/b"}, {"$set": {"value": "tampered"}})

    found = json_of("verify", settings=tree, code=1)["results"]["services"]
    repaired = json_of("verify", "--repair", settings=tree)["results"]["services"]
    after = json_of("verify", settings=tree)["results"]["services"]

    assert found["samples"] == {
        "missing": [f"{zk_root}/a"],
        "extra": [f"{zk_root}/extra"],
        "different": [f"{zk_root}/b"],
    }
    assert (repaired["missing"], repaired["extra"], repaired["different"], repaired["repaired"]) == (1, 1, 1, 3)
    assert (after["missing"], after["extra"], after["different"]) == (0, 0, 0)


def test_verify_prints_what_differs(tree: dict[str, str], mongo_database: Mirrors, zk_root: str) -> None:
    json_of("sync", settings=tree)
    mongo_database["services"].delete_one({"_id": f"{zk_root}/c"})

    ended = hybridsync("verify", "services", settings=tree)

    assert ended.returncode == 1
    assert "drift" in ended.stdout
    assert f"services: missing: {zk_root}/c" in ended.stdout.splitlines()


def test_verify_of_an_unknown_name_is_2(tree: dict[str, str]) -> None:
    assert hybridsync("verify", "x", settings=tree).returncode == 2


def test_status_shows_a_running_service(tree: dict[str, str]) -> None:
    with running("run", settings=tree) as service:
        service.until_in_sync()
        port = service.url.rpartition(":")[2]

        by_url = hybridsync("status", "--url", service.url)
        by_settings = hybridsync("status", "--json", settings={"HTTP_PORT": port})

    assert by_url.returncode == 0, by_url.stderr
    assert all(word in by_url.stdout for word in ("ready", "services", "completed", "watching"))
    assert json.loads(by_settings.stdout)["sync"][0]["lastSyncCount"] == 4


def test_status_of_nobody_is_one_line_and_1() -> None:
    assert_one_line_and_1("status", settings={"HTTP_PORT": str(free_port())})


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://127.0.0.1", "http://127.0.0.1:99999"])
def test_status_of_something_that_is_no_address_is_one_line_and_1(url: str) -> None:
    assert_one_line_and_1("status", "--url", url, settings={})


def test_config_shows_every_value_its_origin_and_no_secret() -> None:
    settings = {
        "CONTROL_TOKEN": "sesame-seed",
        "MONGODB_URI": "mongodb://me:sesame-seed@db:27017/x",
        "ZOOKEEPER_AUTH": "digest:me:sesame-seed",
        "RESOURCES__SERVICES__SOURCE__PATH": "/services",
        "RESOURCES__SERVICES__SOURCE__TYPE": "zookeeper",
    }
    ended = hybridsync("config", settings=settings)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "sesame-seed" not in ended.stdout
    rows = {line.split()[0]: line.split()[1:] for line in ended.stdout.splitlines()}
    assert rows["HYBRIDSYNC_HTTP_PORT"] == ["3000", "default"]
    assert rows["HYBRIDSYNC_CONTROL_TOKEN"] == ["***", "environment"]
    assert rows["HYBRIDSYNC_RESOURCES__SERVICES__SOURCE__PATH"] == ["/services", "environment"]


def test_help_version_and_usage_errors() -> None:
    shown, version = hybridsync("--help"), hybridsync("--version")
    nothing, wrong = hybridsync(), hybridsync("synk")

    assert (shown.returncode, version.returncode, nothing.returncode, wrong.returncode) == (0, 0, 2, 2)
    assert version.stdout.startswith("hybridsync ")
    commands = ("run", "plan", "sync", "verify", "status", "config", "demo")
    assert all(f"\n  {command} " in shown.stdout for command in commands)
    assert "synk" in wrong.stderr
