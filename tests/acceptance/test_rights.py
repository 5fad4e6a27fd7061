"""Subtrees that may not be read, credentials for them, a chroot, and credentials that MongoDB refuses."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.security import OPEN_ACL_UNSAFE, make_digest_acl

from tests.acceptance.command import hybridsync
from tests.acceptance.place import Place
from tests.mirror_truth import differences
from tests.servers import connected
from tests.service import Service, wait_until

SECRET = "sesame-seed-7"
CREDENTIALS = f"digest:keeper:{SECRET}"
TOKEN = "sesame-token-7"
PROTECTED = {"/closed", "/closed/a", "/closed/a/b"}
OPEN = {"", "/open", "/open/x"}


@pytest.fixture
def keeper(place: Place) -> Iterator[KazooClient]:
    """A tree with a subtree that only the keeper may read; this is the keeper's client."""
    only_keeper = [make_digest_acl("keeper", SECRET, all=True)]
    place.grow({path: b"1" for path in sorted(OPEN)})
    with connected(place.zookeeper, auth_data=[("digest", f"keeper:{SECRET}")]) as client:
        for path in sorted(PROTECTED):
            client.create(place.root + path, b"hidden", acl=only_keeper)
        yield client


def test_what_may_not_be_read_is_told_and_kept_as_the_mirror_has_it(place: Place, keeper: KazooClient) -> None:
    with_credentials = place.settings(ZOOKEEPER_AUTH=CREDENTIALS)
    with Service(with_credentials) as service:
        service.wait_in_sync()
        assert place.paths() == OPEN | PROTECTED
        assert "warnings" not in service.resource()["lastResult"]
        assert differences(keeper, place.root, place.mirror) == []
        keeper.set(f"{place.root}/closed/a", b"changed")
        wait_until(lambda: place.document("/closed/a")["value"] == "changed", "changes of it arrive")
        assert SECRET not in service.stderr
    before = [place.document(path) for path in sorted(PROTECTED)]

    with Service(place.settings()) as service:
        service.wait_confirmed()
        place.set("/open/x", b"2")
        keeper.set(f"{place.root}/closed/a", b"unseen")
        keeper.delete(f"{place.root}/closed/a/b")
        status, answer = service.post("/health/sync/trigger", {"wait": True})

        assert status == 200
        warnings = answer["results"]["services"]["warnings"]
        assert (warnings["unreadable"], warnings["unreadableRoots"]) == (1, [f"{place.root}/closed"])
        entry = service.resource()
        assert (entry["status"], entry["error"], entry["inSync"]) == ("completed", None, False)
        assert [one["key"] for one in entry["exceptions"]["first"]] == [f"{place.root}/closed"]
        assert entry["lastResult"]["warnings"] == warnings
        assert entry["lastResult"]["deleted"] == 0
        wait_until(lambda: place.document("/open/x")["value"] == "2", "the rest is followed")
        service.wait_confirmed()
    assert [place.document(path) for path in sorted(PROTECTED)] == before


def test_secrets_in_files_are_taken_without_the_line_end_that_editors_put_there(
    place: Place, keeper: KazooClient, tmp_path: Path
) -> None:
    secrets = {"MONGODB_URI": place.mongodb, "ZOOKEEPER_AUTH": CREDENTIALS, "CONTROL_TOKEN": TOKEN}
    settings = place.settings()
    del settings["MONGODB_URI"]
    for name, secret in secrets.items():
        (tmp_path / name).write_text(f"{secret}\n")
        settings[f"{name}_FILE"] = str(tmp_path / name)

    with Service(settings) as service:
        service.wait_in_sync()
        assert place.paths() == OPEN | PROTECTED
        assert differences(keeper, place.root, place.mirror) == []
        assert service.post("/health/sync/trigger", {})[0] == 401
        request = urllib.request.Request(f"{service.url}/health/sync/trigger", method="POST")
        request.add_header("Authorization", f"Bearer {TOKEN}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 202
        assert SECRET not in service.stderr
        assert TOKEN not in service.stderr
    shown = hybridsync("config", settings=settings)
    assert (shown.returncode, shown.stderr) == (0, "")
    for name in secrets:
        assert f"HYBRIDSYNC_{name}_FILE" in shown.stdout
    assert SECRET not in shown.stdout
    assert TOKEN not in shown.stdout


def test_credentials_with_a_line_end_are_refused_before_they_hide_the_half_of_a_tree(place: Place) -> None:
    for name, secret in (("ZOOKEEPER_AUTH", CREDENTIALS), ("CONTROL_TOKEN", TOKEN), ("MONGODB_URI", place.mongodb)):
        ended = hybridsync("sync", settings=place.settings(**{name: f"{secret}\n"}))

        assert ended.returncode == 2, ended.stderr
        (line,) = ended.stderr.splitlines()
        assert line.startswith(f"hybridsync: HYBRIDSYNC_{name}: ")
        assert SECRET not in line
        assert TOKEN not in line


def test_without_credentials_from_the_start_only_the_open_part_is_there(place: Place, keeper: KazooClient) -> None:
    with Service(place.settings()) as service:
        service.wait_confirmed()
        assert place.paths() == OPEN
        assert service.resource()["lastResult"]["warnings"]["unreadable"] == 1
        assert service.get("/health/ready")[0] == 200
        assert f"{place.root}/closed" in service.stderr

        keeper.set_acls(f"{place.root}/closed", OPEN_ACL_UNSAFE)
        keeper.set_acls(f"{place.root}/closed/a", OPEN_ACL_UNSAFE)
        wait_until(lambda: place.paths() == OPEN | PROTECTED - {"/closed/a/b"}, "it is noticed without anybody asking")
        answer = service.post("/health/sync/trigger", {"wait": True})[1]["results"]["services"]
        assert answer["warnings"]["unreadableRoots"] == [f"{place.root}/closed/a/b"]


def test_verify_and_sync_say_what_could_not_be_compared(place: Place, keeper: KazooClient) -> None:
    assert keeper.connected
    synced = hybridsync("sync", "--json", settings=place.settings())
    verified = hybridsync("verify", "--json", settings=place.settings())
    shown = hybridsync("sync", settings=place.settings())

    assert (synced.returncode, verified.returncode, shown.returncode) == (0, 0, 0)
    assert json.loads(synced.stdout)["results"]["services"]["warnings"]["unreadable"] == 1
    assert json.loads(verified.stdout)["results"]["services"]["unreadable"] == 1
    assert f"{place.root}/closed" in shown.stdout


def test_wrong_zookeeper_credentials_read_what_anybody_may_and_are_not_shown(place: Place, keeper: KazooClient) -> None:
    assert keeper.connected
    with Service(place.settings(ZOOKEEPER_AUTH=f"digest:keeper:{SECRET}-wrong", LOG_LEVEL="debug")) as service:
        service.wait_confirmed()
        assert place.paths() == OPEN
        assert SECRET not in service.stderr


def test_a_chroot_is_left_out_of_every_path(place: Place) -> None:
    place.grow({"": b"", "/inside": b"", "/inside/a": b"1", "/inside/a/b": b"2", "/outside": b""})
    chrooted = replace(place, root="/inside")
    settings = chrooted.settings(ZOOKEEPER_HOSTS=f"{place.zookeeper}{place.root}")
    with Service(settings) as service, connected(f"{place.zookeeper}{place.root}") as zk:
        service.wait_in_sync()
        assert chrooted.paths() == {"", "/a", "/a/b"}
        zk.create("/inside/new", b"")
        zk.delete("/inside/a", recursive=True)
        wait_until(lambda: chrooted.paths() == {"", "/new"}, "changes arrive under the client's paths")
        service.wait_in_sync()
        assert differences(zk, "/inside", place.mirror) == []


def test_the_root_of_a_chroot_can_be_mirrored(place: Place) -> None:
    place.grow({"": b"", "/a": b"1"})
    chrooted = replace(place, root="/")
    settings = chrooted.settings(ZOOKEEPER_HOSTS=f"{place.zookeeper}{place.root}")
    with Service(settings) as service, connected(f"{place.zookeeper}{place.root}") as zk:
        service.wait_in_sync()
        zk.create("/a/b", b"2")
        wait_until(lambda: place.mirror.find_one({"_id": "/a/b"}), "a change arrives")
        service.wait_in_sync()
        assert differences(zk, "/", place.mirror) == []


def test_a_password_that_mongodb_refuses_is_told_and_never_shown(place: Place) -> None:
    place.create()
    uri = place.mongodb.replace("mongodb://", f"mongodb://me:{SECRET}@")
    with Service(place.settings(MONGODB_URI=uri, LOG_LEVEL="debug")) as service:
        error = wait_until(lambda: service.resource()["error"], "the refusal is told")
        assert "uthentication failed" in error
        assert service.get("/health/live")[0] == 200
        status, ready = service.get("/health/ready")
        assert (status, ready["reason"]) == (503, "MongoDB cannot be reached")
        assert service.get("/health")[1]["status"] == "degraded"
        pages = [service.get(path)[1] for path in ("/health", "/health/sync", "/health/ready", "/metrics")]
        assert SECRET not in json.dumps(pages)
        assert service.terminate() == 0
        assert SECRET not in service.stderr
        assert "Traceback" not in service.stderr

    for command in ("plan", "sync", "verify"):
        ended = hybridsync(command, settings=place.settings(MONGODB_URI=uri))
        assert ended.returncode == 1, command
        assert "uthentication failed" in ended.stdout + ended.stderr
        assert SECRET not in ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
    shown = hybridsync("config", settings=place.settings(MONGODB_URI=uri, ZOOKEEPER_AUTH=CREDENTIALS))
    assert shown.returncode == 0
    assert SECRET not in shown.stdout + shown.stderr
