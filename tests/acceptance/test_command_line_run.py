"""`hybridsync run` from outside: probes, signals in every state, and what cannot begin."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from kazoo.client import KazooClient

from hybridsync.embedded import MongoServer, ZooKeeperServer
from hybridsync.embedded.ports import free_port
from tests.acceptance.command import STOP_SECONDS, Running, hybridsync, running, settings_for, until
from tests.servers import connected

BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@pytest.fixture
def shared(zookeeper_server: ZooKeeperServer, mongo_uri: str, zk: KazooClient, zk_root: str) -> dict[str, str]:
    """Settings for a small tree on the shared servers."""
    zk.create(zk_root, b"")
    for number in range(5):
        zk.create(f"{zk_root}/{number}", b'{"n": 1}')
    return settings_for(zookeeper_server.hosts, mongo_uri, zk_root)


@pytest.fixture
def own(own_zookeeper: ZooKeeperServer, own_mongodb: MongoServer) -> dict[str, str]:
    """Settings for an empty tree on servers that may be frozen."""
    return settings_for(own_zookeeper.hosts, own_mongodb.uri_for("own"), "/services")


@pytest.fixture
def nowhere() -> dict[str, str]:
    """Settings that point at servers that are not there."""
    return settings_for(f"127.0.0.1:{free_port()}", f"mongodb://127.0.0.1:{free_port()}/x", "/services")


def assert_orderly(outcome: tuple[int, float], service: Running) -> None:
    code, seconds = outcome
    assert code == 0, "".join(service.err)
    assert seconds < STOP_SECONDS
    assert "Traceback" not in "".join(service.err)


@BOTH
def test_it_becomes_ready_in_sync_and_ends_with_0(shared: dict[str, str], number: signal.Signals) -> None:
    with running("run", settings=shared) as service:
        service.until_in_sync()
        entry = service.resource()
        assert (entry["status"], entry["lastSyncCount"], entry["decision"]["reason"]) == ("completed", 6, "no_state")
        assert [service.ask(path)[0] for path in ("/health", "/health/live", "/health/startup")] == [200, 200, 200]
        assert service.ask("/health/sync/trigger", "POST", b'{"wait": true}')[0] == 200

        assert_orderly(service.stop(number), service)
        assert service.out == []


def test_without_any_server_it_lives_is_not_ready_and_ends_with_0(nowhere: dict[str, str]) -> None:
    with running("run", settings=nowhere) as service:
        assert service.ask("/health/live") == (200, {"live": True})
        assert service.ask("/health/startup")[0] == 503
        assert service.ask("/health/ready")[0] == 503
        assert until(lambda: service.ask("/health")[1]["status"] == "degraded", "degraded")

        assert_orderly(service.stop(), service)


@BOTH
def test_a_signal_right_after_the_start_ends_with_0(nowhere: dict[str, str], number: signal.Signals) -> None:
    with running("run", settings=nowhere) as service:
        until(lambda: _takes(service.process.pid, number), "the process takes signals")

        assert_orderly(service.stop(number), service)


def _takes(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for the signal; SIGINT has one in every Python."""
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("frozen", ["mongodb", "zookeeper", "both"])
def test_frozen_servers_do_not_hold_the_exit(
    own: dict[str, str], own_zookeeper: ZooKeeperServer, own_mongodb: MongoServer, frozen: str
) -> None:
    with running("run", settings=own) as service:
        service.until_in_sync()
        for name, server in (("mongodb", own_mongodb), ("zookeeper", own_zookeeper)):
            if frozen in (name, "both"):
                server.pause()
        try:
            assert_orderly(service.stop(), service)
        finally:
            _resume(own_zookeeper, own_mongodb)


@pytest.mark.parametrize("frozen", ["mongodb", "zookeeper", "both"])
def test_servers_that_are_frozen_from_the_start_do_not_hold_the_exit(
    own: dict[str, str], own_zookeeper: ZooKeeperServer, own_mongodb: MongoServer, frozen: str
) -> None:
    for name, server in (("mongodb", own_mongodb), ("zookeeper", own_zookeeper)):
        if frozen in (name, "both"):
            server.pause()
    try:
        with running("run", settings=own) as service:
            until(lambda: service.ask("/health")[1]["uptimeSeconds"] > 1, "it tries for a while")
            assert service.ask("/health/live")[0] == 200
            assert service.ask("/health/ready")[0] == 503

            assert_orderly(service.stop(), service)
    finally:
        _resume(own_zookeeper, own_mongodb)


def test_a_full_sync_that_is_under_way_does_not_hold_the_exit(
    own: dict[str, str], own_zookeeper: ZooKeeperServer, own_mongodb: MongoServer
) -> None:
    with running("run", settings=own) as service:
        service.until_in_sync()
        own_zookeeper.pause()
        try:
            assert service.ask("/health/sync/trigger", "POST")[0] == 202
            until(lambda: service.resource()["status"] == "in_progress", "the sync is under way")
            assert service.ask("/health/sync/trigger", "POST")[1] == {"accepted": [], "alreadyRunning": ["services"]}

            assert_orderly(service.stop(), service)
        finally:
            _resume(own_zookeeper, own_mongodb)


def test_while_pending_changes_are_flushed_probes_answer_and_it_is_not_ready(
    own: dict[str, str], own_mongodb: MongoServer, frozen_with_a_change: Running
) -> None:
    service = frozen_with_a_change
    service.process.send_signal(signal.SIGTERM)
    began = time.monotonic()

    status, body = until(lambda: _not_ready_because_stopping(service), "the probe says that it stops")
    live = service.ask("/health/live")[0]
    refused = service.ask("/health/sync/trigger", "POST")[0]
    own_mongodb.resume()

    assert (status, body["ready"], live, refused) == (503, False, 200, 503)
    assert_orderly((service.process.wait(60), time.monotonic() - began), service)
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(own_mongodb.uri)
    with client:
        assert client["own"]["services"].find_one({"_id": "/services/late"})


def test_a_second_signal_ends_it_at_once(own: dict[str, str], frozen_with_a_change: Running) -> None:
    service = frozen_with_a_change
    service.process.send_signal(signal.SIGTERM)
    until(lambda: _not_ready_because_stopping(service), "the probe says that it stops")

    code, seconds = service.stop()

    assert (code, seconds < 2) == (128 + signal.SIGTERM, True)


@pytest.fixture
def frozen_with_a_change(
    own: dict[str, str], own_zookeeper: ZooKeeperServer, own_mongodb: MongoServer
) -> Iterator[Running]:
    """A service that knows of a change which the frozen MongoDB does not take."""
    with running("run", settings=own) as service, connected(own_zookeeper.hosts) as client:
        service.until_in_sync()
        own_mongodb.pause()
        try:
            client.create("/services/late", b"1", makepath=True)
            until(lambda: service.resource()["informer"]["pending"] > 0, "the change is pending")
            yield service
        finally:
            _resume(own_zookeeper, own_mongodb)


def _not_ready_because_stopping(service: Running) -> tuple[int, Any] | None:
    status, body = service.ask("/health/ready")
    return (status, body) if "stopping" in (body["reason"] or "") else None


def _resume(*servers: ZooKeeperServer | MongoServer) -> None:
    for server in servers:
        server.resume()


def test_a_port_that_is_taken_is_one_line_and_nothing_is_started(shared: dict[str, str], mongo_database: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = hybridsync("run", settings={**shared, "HTTP_PORT": str(port)})

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"hybridsync: cannot listen on 127.0.0.1:{port}: ")
    assert "HYBRIDSYNC_HTTP_PORT" in line
    assert mongo_database.list_collection_names() == []


@pytest.mark.parametrize("host", ["192.0.2.1", "host.invalid"])
def test_an_address_that_is_not_ours_is_one_line(nowhere: dict[str, str], host: str) -> None:
    ended = hybridsync("run", settings={**nowhere, "HTTP_HOST": host})

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"hybridsync: cannot listen on {host}:0: ")


@pytest.mark.parametrize("host", ["::1", "localhost"])
def test_it_listens_where_it_is_told(nowhere: dict[str, str], host: str) -> None:
    with running("run", settings={**nowhere, "HTTP_HOST": host}) as service:
        assert service.ask("/api/v1/health/live")[0] == 200
        assert_orderly(service.stop(), service)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"HTTP_PORT": "70000"}, "HYBRIDSYNC_HTTP_PORT"),
        ({"MONGODB_URI": "http://x:sesame-seed@y"}, "HYBRIDSYNC_MONGODB_URI"),
        ({"RESOURCES": "{}"}, "no resource"),
        ({"HTTP_PROT": "1"}, "HYBRIDSYNC_HTTP_PORT"),
        ({"ZOOKEEPER_TLS_CA": "missing.pem"}, "HYBRIDSYNC_ZOOKEEPER_TLS_CA"),
    ],
)
def test_wrong_configuration_is_a_line_each_and_2(nowhere: dict[str, str], wrong: dict[str, str], named: str) -> None:
    ended = hybridsync("run", settings=nowhere | wrong)

    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("hybridsync: ")
    assert named in line
    assert "sesame-seed" not in line
