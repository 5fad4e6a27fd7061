"""A first full sync of a small tree: the documents, the state, the probes and `/health/sync`, key for key."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from bson.int64 import Int64

from hybridsync.version import version
from tests.acceptance.place import Place
from tests.service import Service, moment, wait_until

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
PREFIXES = pytest.mark.parametrize("prefix", ["", "/api/v1"])
TREE = {"": b"", "/user": b"plain", "/user/10.0.0.1:6000": b'{"weight": 3}', "/user/10.0.0.2:6000": b"\xff\x00"}


@pytest.fixture(scope="module")
def service(shared_place: Place) -> Iterator[Service]:
    shared_place.grow(TREE)
    with Service(shared_place.settings(CONFIRM_INTERVAL_SECONDS="1")) as started:
        started.wait_in_sync()
        yield started


@pytest.fixture
def place(shared_place: Place, service: Service) -> Place:
    return shared_place


def answered(service: Service, path: str, method: str = "GET") -> http.client.HTTPResponse:
    address = urlsplit(service.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=15)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "parent", "name", "value", "encoding"),
    [
        ("", None, None, None, "empty"),
        ("/user", "", "user", "plain", "utf8"),
        ("/user/10.0.0.1:6000", "/user", "10.0.0.1:6000", {"weight": 3}, "json"),
        ("/user/10.0.0.2:6000", "/user", "10.0.0.2:6000", b"\xff\x00", "binary"),
    ],
)
def test_a_document_has_exactly_the_fields_of_the_contract(
    place: Place, path: str, parent: str | None, name: str | None, value: Any, encoding: str
) -> None:
    document = place.document(path)
    _, stat = place.zk.get(place.root + path)

    assert list(document) == ["_id", "parent", "name", "value", "encoding", "version", "stat", "syncedAt"]
    assert document["_id"] == place.root + path
    assert document["parent"] == (None if parent is None else place.root + parent)
    assert document["name"] == (name or place.root[1:])
    assert (document["value"], document["encoding"]) == (value, encoding)
    assert type(document["version"]) is Int64
    assert document["version"] == stat.mzxid
    assert document["stat"] == {
        "czxid": stat.czxid,
        "mzxid": stat.mzxid,
        "ctime": milliseconds(stat.ctime),
        "mtime": milliseconds(stat.mtime),
        "version": stat.version,
        "ephemeralOwner": 0,
        "dataLength": len(TREE[path]),
    }
    assert abs(document["syncedAt"] - datetime.now(UTC)) < timedelta(minutes=5)


def milliseconds(since_epoch: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=since_epoch)


def test_types_in_the_database_are_those_of_the_contract(place: Place) -> None:
    wanted = {
        "version": "long",
        "stat.czxid": "long",
        "stat.mzxid": "long",
        "stat.ctime": "date",
        "stat.mtime": "date",
        "syncedAt": "date",
    }
    for field, kind in wanted.items():
        assert place.mirror.count_documents({field: {"$type": kind}}) == len(TREE), field
    assert place.mirror.count_documents({"parent": {"$type": "null"}}) == 1


def test_the_mirror_holds_the_tree_and_nothing_else(place: Place) -> None:
    assert place.paths() == set(TREE)
    assert set(place.database.list_collection_names()) == {"services", "sync_states", "sync_lanes"}


def test_parent_is_indexed(place: Place) -> None:
    keys = [index["key"] for index in place.mirror.index_information().values()]

    assert keys == [[("_id", 1)], [("parent", 1)]]


def test_the_state_is_one_document_with_the_fields_of_the_contract(place: Place) -> None:
    (state,) = place.database["sync_states"].find()

    assert state["_id"] == state["resourceType"] == "services"
    assert state["status"] == "completed"
    assert state["error"] is None
    assert state["lastSyncCount"] == len(TREE)
    assert state["informerReconnectCount"] == 0
    assert abs(state["lastSyncTime"] - datetime.now(UTC)) < timedelta(minutes=5)
    assert isinstance(state["lastSyncDuration"], float)
    assert 0 < state["lastSyncDuration"] < 60
    assert re.fullmatch(r"\d+", state["resourceVersion"])


ADDED = ("lastVerify", "invalid")
"""What an entry shows beyond the contract's example."""


@PREFIXES
def test_status_has_exactly_the_keys_of_the_contract(service: Service, prefix: str) -> None:
    status, body = service.get(f"{prefix}/health/sync")

    assert status == 200
    assert list(body) == ["ready", "instance", "summary", "sync"]
    assert body["ready"] is True
    assert re.fullmatch(r".+-\d+", body["instance"])
    assert body["summary"] == {
        **{"total": 1, "completed": 1, "failed": 0, "inProgress": 0, "never": 0, "stale": 0},
    }
    (entry,) = body["sync"]
    assert list(entry) == [
        *("resourceType", "status", "lastSyncTime", "lastSyncDuration", "lastSyncCount", "resourceVersion", "error"),
        *("informerReconnectCount", "isStale", "ageSeconds", "inSync", "confirmedAt", "gapSince", "decision"),
        *("exceptions", "informer", "progress", "lastResult"),
        *ADDED,
    ]
    assert list(entry["decision"]) == ["mode", "action", "reason", "blocking", "detail"]
    assert entry["exceptions"] == {"unreadable": 0, "refused": 0, "invalid": 0, "first": []}
    assert list(entry["informer"]) == ["state", "since", "lastEventTime", "pending"]
    assert set(entry["lastResult"]) >= {"trigger", "read", "inserted", "updated", "deleted", "unchanged"}


def test_status_tells_what_happened(service: Service, place: Place) -> None:
    entry = service.resource()

    assert (entry["resourceType"], entry["status"], entry["error"]) == ("services", "completed", None)
    assert (entry["lastSyncCount"], entry["informerReconnectCount"]) == (len(TREE), 0)
    assert (entry["isStale"], entry["inSync"], entry["gapSince"], entry["progress"]) == (False, True, None, None)
    assert (entry["decision"]["mode"], entry["decision"]["action"]) == ("auto", "sync")
    assert entry["decision"]["reason"] == "no_state"
    assert (entry["informer"]["state"], entry["informer"]["pending"]) == ("watching", 0)
    result = entry["lastResult"]
    assert (result["trigger"], result["read"], result["inserted"]) == ("startup", len(TREE), len(TREE))
    assert (result["updated"], result["deleted"], result["unchanged"]) == (0, 0, 0)
    assert re.fullmatch(r"\d+", entry["resourceVersion"])
    assert int(entry["resourceVersion"]) >= place.document("/user")["version"]


def test_times_are_in_utc_with_milliseconds_and_durations_in_seconds(service: Service) -> None:
    entry = service.resource()

    for text in (entry["lastSyncTime"], entry["confirmedAt"], entry["informer"]["since"]):
        assert TIME.fullmatch(text), text
        assert abs(moment(text) - datetime.now(UTC)) < timedelta(minutes=5)
    assert isinstance(entry["lastSyncDuration"], float)
    assert 0 <= entry["ageSeconds"] < 300
    age = (datetime.now(UTC) - moment(entry["lastSyncTime"])).total_seconds()
    assert abs(age - entry["ageSeconds"]) < 10


def test_confirmed_at_moves_on_without_any_change(service: Service) -> None:
    first = moment(service.resource()["confirmedAt"])

    later = wait_until(lambda: max(first, moment(service.resource()["confirmedAt"])) > first, "confirmedAt moves on")

    assert later


@PREFIXES
def test_probes_say_yes(service: Service, prefix: str) -> None:
    assert service.get(f"{prefix}/health/ready") == (200, {"ready": True, "reason": None, "waitingFor": []})
    assert service.get(f"{prefix}/health/startup")[0] == 200
    assert service.get(f"{prefix}/health/live")[0] == 200
    status, health = service.get(f"{prefix}/health")
    assert (status, health["status"], health["version"]) == (200, "ok", version())
    assert health["uptimeSeconds"] > 0
    assert health["instance"] == service.get("/health/sync")[1]["instance"]
    status, metrics = service.get(f"{prefix}/metrics")
    assert status == 200
    assert "hybridsync_" in metrics


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/startup", "/health/ready", "/health/sync"])
def test_answers_are_json_and_nobody_may_keep_them(service: Service, path: str) -> None:
    response = answered(service, path)

    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Type"].startswith("application/json")
    assert answered(service, path, "HEAD").status == 200
    assert answered(service, path, "DELETE").status == 405


def test_other_paths_are_not_found_in_json(service: Service) -> None:
    status, body = service.get("/nothing/here")

    assert status == 404
    assert "error" in body


def test_a_change_a_delete_and_a_new_znode_arrive_and_are_told(service: Service, place: Place) -> None:
    place.create("/short", b"1")
    place.set("/user", b"changed")
    wait_until(lambda: place.document("/user")["value"] == "changed" and place.held("/short"), "both arrive")
    place.zk.delete(f"{place.root}/short")
    wait_until(lambda: place.held("/short") is None, "the delete arrives")
    place.set("/user", TREE["/user"])
    service.wait_in_sync()

    entry = service.resource()
    assert TIME.fullmatch(entry["informer"]["lastEventTime"])
    assert entry["lastSyncCount"] == len(TREE)
    assert place.document("/user")["value"] == "plain"


def test_before_the_first_sync_nothing_is_claimed(place: Place, proxy_factory: Any) -> None:
    port = int(place.zookeeper.rpartition(":")[2])
    proxy = proxy_factory("127.0.0.1", port)
    proxy.refuse()
    settings = place.settings(
        ZOOKEEPER_HOSTS=proxy.address, MONGODB_URI=place.mongodb.replace(place.database.name, f"{place.database.name}2")
    )
    try:
        with Service(settings) as service:
            wait_until(lambda: service.resource()["decision"], "it has decided")
            status, ready = service.get("/health/ready")
            assert (status, ready["ready"], ready["waitingFor"]) == (503, False, ["services"])
            assert ready["reason"]
            assert service.get("/health/startup")[0] == 503
            assert service.get("/health/live")[0] == 200
            body = service.get("/health/sync")[1]
            assert body["ready"] is False
            assert body["summary"] == {
                **{"total": 1, "completed": 0, "failed": 0, "inProgress": 0, "never": 1, "stale": 1}
            }
            entry = body["sync"][0]
            unknown = ("lastSyncTime", "lastSyncDuration", "lastSyncCount", "resourceVersion", "ageSeconds")
            assert [entry[key] for key in (*unknown, "confirmedAt", "progress", "lastResult")] == [None] * 8
            assert (entry["status"], entry["isStale"], entry["inSync"]) == ("never", True, False)
            assert entry["informer"]["state"] in ("connecting", "disconnected")
            assert entry["decision"]["reason"] == "no_state"

            proxy.accept_again()
            service.wait_ready()
            assert service.get("/health/startup")[0] == 200
            began = time.monotonic()
            proxy.refuse()
            wait_until(lambda: not service.resource()["inSync"], "the loss is seen")
            assert service.get("/health/startup")[0] == 200
            assert service.get("/health/live")[0] == 200
            assert service.get("/health/ready")[0] == 200, f"after {time.monotonic() - began:.1f} s"
    finally:
        place.database.client.drop_database(f"{place.database.name}2")
