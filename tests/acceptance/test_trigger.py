"""`POST /health/sync/trigger` from outside: every row of the contract's table, at both prefixes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.acceptance.place import Place
from tests.proxy import TcpProxy
from tests.service import Service, wait_until

TOKEN = "open-sesame-42"
PATHS = ["/health/sync/trigger", "/api/v1/health/sync/trigger"]
AT_BOTH = pytest.mark.parametrize("path", PATHS)
LARGEST = 64 * 1024


class Answer(NamedTuple):
    status: int
    body: Any
    headers: http.client.HTTPMessage


def send(
    service: Service,
    body: bytes | Iterator[bytes] | None = None,
    *,
    path: str = PATHS[0],
    method: str = "POST",
    host: str | None = None,
    seconds: float = 30.0,
    **headers: str,
) -> Answer:
    """One request; an iterator goes out chunked."""
    address = urlsplit(service.url)
    connection = http.client.HTTPConnection(host or str(address.hostname), address.port, timeout=seconds)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named, encode_chunked=body is not None and not isinstance(body, bytes))
        response = connection.getresponse()
        text = response.read()
        return Answer(response.status, json.loads(text), response.headers)
    finally:
        connection.close()


def two_resources(place: Place) -> str:
    paths = {name: f"{place.root}/{name}" for name in ("one", "two")}
    return json.dumps({name: {"source": {"type": "zookeeper", "path": path}} for name, path in paths.items()})


@pytest.fixture(scope="module")
def service(shared_place: Place) -> Iterator[Service]:
    """Two resources, no token, listening on every address."""
    shared_place.grow({"": b"", "/one": b"", "/one/a": b"", "/two": b""})
    settings = shared_place.settings(RESOURCES=two_resources(shared_place), HTTP_HOST="0.0.0.0")
    with Service(settings) as started:
        started.wait_in_sync()
        yield started


@pytest.fixture(scope="module")
def guarded(shared_place: Place, service: Service) -> Iterator[Service]:
    """The same tree with a token."""
    assert service.running
    with Service(shared_place.settings(CONTROL_TOKEN=TOKEN, SYNC_ON_STARTUP="never")) as started:
        started.wait_ready()
        wait_until(lambda: started.resource()["informer"]["state"] == "watching", "it watches")
        yield started


def runs(service: Service) -> int:
    return len(service.logged("full sync begins"))


@AT_BOTH
@pytest.mark.parametrize("body", [None, b"", b"  \n", b"{}", b'{"wait": false}', b'{"resources": ["one", "two"]}'])
def test_all_are_accepted(service: Service, path: str, body: bytes | None) -> None:
    service.wait_in_sync()
    answer = send(service, body, path=path)

    assert answer.status == 202
    assert set(answer.body) == {"accepted", "alreadyRunning"}
    assert sorted(answer.body["accepted"] + answer.body["alreadyRunning"]) == ["one", "two"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"].startswith("application/json")


def test_one_is_accepted_and_only_that_one_syncs(service: Service) -> None:
    service.wait_in_sync()
    before = {name: service.resource(name)["lastSyncTime"] for name in ("one", "two")}

    answer = send(service, b'{"resources": ["one", "one"]}')

    assert (answer.status, answer.body) == (202, {"accepted": ["one"], "alreadyRunning": []})
    wait_until(lambda: service.resource("one")["lastSyncTime"] != before["one"], "it synced")
    assert service.resource("one")["lastResult"]["trigger"] == "manual"
    assert service.resource("two")["lastSyncTime"] == before["two"]


@AT_BOTH
def test_who_waits_gets_the_results(service: Service, path: str) -> None:
    answer = send(service, b'{"wait": true}', path=path)

    assert answer.status == 200
    assert set(answer.body) == {"results"}
    assert set(answer.body["results"]) == {"one", "two"}
    for name, read in (("one", 2), ("two", 1)):
        result = answer.body["results"][name]
        assert (result["read"], result["unchanged"], result["inserted"]) == (read, read, 0)
        assert result == service.resource(name)["lastResult"]


@AT_BOTH
def test_an_unknown_resource_is_404_and_nothing_starts(service: Service, path: str) -> None:
    service.wait_in_sync()
    before = runs(service)

    answer = send(service, b'{"resources": ["one", "three", "four"], "wait": true}', path=path)

    assert (answer.status, answer.body["unknown"]) == (404, ["three", "four"])
    assert set(answer.body) == {"error", "unknown"}
    assert runs(service) == before


@AT_BOTH
@pytest.mark.parametrize(
    "body",
    [
        *(b"{", b"nonsense", b"[]", b'"one"', b"1", b"null", b"true", b"\xff\xfe", b"{} {}", b"NaN"),
        *(b'{"resources": "one"}', b'{"resources": [1]}', b'{"resources": {}}', b'{"resources": null}'),
        *(b'{"wait": "yes"}', b'{"wait": 1}', b'{"wait": null}', b'{"force": true}', b'{"Resources": ["one"]}'),
        *(b'{"wait": true, "wait": false}', b"[" * 30_000, b'{"wait": ' + b"9" * 10_000 + b"}"),
    ],
    ids=lambda body: body[:20].decode(errors="replace"),
)
def test_what_is_not_asked_properly_is_400_and_nothing_starts(service: Service, path: str, body: bytes) -> None:
    service.wait_in_sync()
    before = runs(service)

    answer = send(service, body, path=path)

    assert answer.status == 400
    assert set(answer.body) == {"error"}
    assert "\n" not in answer.body["error"]
    assert runs(service) == before


@AT_BOTH
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_64_kib_is_413(service: Service, path: str, chunked: bool) -> None:
    too_large = b'{"wait": false}' + b" " * LARGEST
    at_most = b'{"wait": false}' + b" " * (LARGEST - 15)

    def pieces(body: bytes) -> bytes | Iterator[bytes]:
        return (body[at : at + 4096] for at in range(0, len(body), 4096)) if chunked else body

    refused = send(service, pieces(too_large), path=path)
    taken = send(service, pieces(at_most), path=path)

    assert (refused.status, set(refused.body)) == (413, {"error"})
    assert taken.status == 202


def test_a_body_without_end_is_413_and_not_read_to_the_end(service: Service) -> None:
    address = urlsplit(service.url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=30) as connection:
        connection.sendall(b"POST /health/sync/trigger HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 413")


@AT_BOTH
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_405(service: Service, path: str, method: str) -> None:
    answer = send(service, path=path, method=method)

    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@AT_BOTH
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"]
)
def test_a_missing_or_wrong_token_is_401(guarded: Service, path: str, authorization: str | None) -> None:
    if authorization is None:
        answer = send(guarded, b"{}", path=path)
    else:
        answer = send(guarded, b"{}", path=path, Authorization=authorization)

    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert TOKEN not in json.dumps(answer.body)
    assert runs(guarded) == 0


def test_who_has_no_token_learns_nothing_about_resources(guarded: Service) -> None:
    assert send(guarded, b'{"resources": ["three"]}').status == 401
    assert send(guarded, b"x" * (LARGEST + 1)).status == 401


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/health/sync", "/metrics"])
def test_looking_needs_no_token(guarded: Service, path: str) -> None:
    assert guarded.get(path)[0] == 200


@pytest.fixture(scope="module")
def elsewhere() -> str:
    """An address of this machine that is not on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it only asks the routing table
        address = str(probe.getsockname()[0])
    assert not address.startswith("127.")
    return address


@AT_BOTH
def test_without_a_token_a_caller_from_elsewhere_is_403(service: Service, elsewhere: str, path: str) -> None:
    before = runs(service)

    answer = send(service, b"{}", path=path, host=elsewhere, X_Forwarded_For="127.0.0.1")

    assert answer.status == 403
    assert "HYBRIDSYNC_CONTROL_TOKEN" in answer.body["error"]
    assert runs(service) == before


def test_the_right_token_is_accepted(guarded: Service, service: Service) -> None:
    assert service.running
    first = send(guarded, b'{"wait": true}', Authorization=f"Bearer {TOKEN}")
    second = send(guarded, path=PATHS[1], Authorization=f"bearer {TOKEN}")

    assert (first.status, second.status) == (200, 202)
    assert TOKEN not in guarded.stderr


@pytest.fixture
def slow(place: Place, proxy_factory: Callable[[str, int], TcpProxy]) -> Iterator[tuple[Service, TcpProxy]]:
    """A service in sync, and the proxy between it and ZooKeeper, to make a sync last as long as a test wants."""
    place.grow({"": b"", "/a": b""})
    proxy = proxy_factory("127.0.0.1", int(place.zookeeper.rpartition(":")[2]))
    with Service(place.settings(ZOOKEEPER_HOSTS=proxy.address)) as service:
        service.wait_in_sync()
        yield service, proxy


def test_a_sync_that_runs_is_joined_and_not_started_twice(slow: tuple[Service, TcpProxy]) -> None:
    service, proxy = slow
    before = runs(service)
    proxy.stall("to_client")
    assert send(service).body == {"accepted": ["services"], "alreadyRunning": []}
    wait_until(lambda: service.resource()["status"] == "in_progress", "it runs")

    assert send(service).body == {"accepted": [], "alreadyRunning": ["services"]}
    assert send(service, b'{"resources": ["services"]}').status == 202
    proxy.resume()
    joined = send(service, b'{"wait": true}')

    assert joined.status == 200
    service.wait_in_sync()
    assert runs(service) - before in (1, 2)


def test_who_waits_for_a_sync_that_fails_gets_500(place: Place, proxy_factory: Callable[[str, int], TcpProxy]) -> None:
    place.grow({"": b"", "/a": b""})
    proxy = proxy_factory("127.0.0.1", int(place.zookeeper.rpartition(":")[2]))
    with Service(place.settings(ZOOKEEPER_HOSTS=proxy.address, SYNC_TIMEOUT_SECONDS="0.5")) as service:
        service.wait_in_sync()
        proxy.stall("to_client")

        answer = send(service, b'{"wait": true}')

        assert answer.status == 500
        assert set(answer.body["results"]["services"]) == {"error"}
        assert "no progress" in answer.body["results"]["services"]["error"]
        assert service.resource()["status"] == "failed"
        assert service.get("/health/sync")[1]["summary"]["failed"] == 1
        proxy.resume()
        wait_until(lambda: service.resource()["status"] == "completed", "it is tried again by itself")
        service.wait_in_sync()
        assert service.resource()["error"] is None


def test_who_hangs_up_does_not_stop_the_sync(slow: tuple[Service, TcpProxy]) -> None:
    service, proxy = slow
    proxy.stall("to_client")
    address = urlsplit(service.url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=30) as connection:
        body = b'{"wait": true}'
        head = f"POST {PATHS[0]} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        wait_until(lambda: service.resource()["status"] == "in_progress", "it runs")
    proxy.resume()

    wait_until(lambda: service.resource()["status"] == "completed", "the sync ends well")
    assert service.resource()["lastResult"]["trigger"] == "manual"
    service.wait_in_sync()
    assert "Traceback" not in service.stderr


def test_while_it_stops_nothing_new_starts(slow: tuple[Service, TcpProxy]) -> None:
    service, proxy = slow
    proxy.stall("to_client")
    assert send(service).status == 202
    wait_until(lambda: service.resource()["status"] == "in_progress", "it runs")
    before = runs(service)
    os.kill(service.pid, signal.SIGTERM)

    wait_until(lambda: "stopping" in (service.get("/health/ready")[1]["reason"] or ""), "it stops")
    refused = send(service, b"not even json")

    assert (refused.status, set(refused.body)) == (503, {"error"})
    assert service.get("/health/live")[0] == 200
    wait_until(lambda: not service.running, "it ends")
    assert runs(service) == before
