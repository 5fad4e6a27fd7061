"""SIGTERM and SIGINT in every state: not ready at once, exit code 0 within ten seconds, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hybridsync.embedded import MongoServer, ZooKeeperServer
from hybridsync.embedded.ports import free_port
from tests.acceptance.command import Running, running, until
from tests.acceptance.place import Place
from tests.mirror_truth import differences
from tests.proxy import TcpProxy

Proxies = Callable[[str, int], TcpProxy]

LIMIT_SECONDS = 12.0
"""The contract's ten, and two for a busy machine."""

BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@contextmanager
def service(settings: dict[str, str]) -> Iterator[Running]:
    """A service that listens."""
    with running("run", settings={"HTTP_PORT": "0", "LOG_FORMAT": "json", **settings}) as started:
        assert started.url
        yield started


def assert_ends_well(stopping: Running, number: signal.Signals = signal.SIGTERM) -> None:
    """Sends the signal, and asks the readiness probe until the process is gone."""
    url, children = stopping.url, children_of(stopping.process.pid)
    began = time.monotonic()
    stopping.process.send_signal(number)
    while stopping.process.poll() is None:
        asked = time.monotonic() - began
        assert asked < LIMIT_SECONDS, "".join(stopping.err)
        answer = readiness(url)
        # at once: a second is for a signal that waits for its turn on a busy machine
        assert asked < 1 or answer in (None, (503, "the service is stopping")), (asked, answer)
        time.sleep(0.02)
    assert stopping.process.returncode == 0, "".join(stopping.err)
    assert "Traceback" not in "".join(stopping.err)
    assert children == []


def readiness(url: str) -> tuple[int, str | None] | None:
    """Status and reason; `None` when nobody listens any more."""
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=5) as answer:
            return answer.status, json.load(answer)["reason"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["reason"]
    except OSError:
        return None


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()


def sessions(server: ZooKeeperServer) -> int:
    """Sessions that the server knows of, ours for asking not included."""
    return int(next(line.split("\t")[1] for line in server.ask("mntr").splitlines() if "global_sessions" in line))


@BOTH
def test_with_both_servers_away(number: signal.Signals, place: Place) -> None:
    away = place.settings(
        ZOOKEEPER_HOSTS=f"127.0.0.1:{free_port()}", MONGODB_URI=f"mongodb://127.0.0.1:{free_port()}/x"
    )
    with service(away) as started:
        until(lambda: started.ask("/health")[1]["status"] == "degraded", "it knows that MongoDB is away")
        assert_ends_well(started, number)


@BOTH
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_while_it_connects_to_zookeeper(place: Place, proxy_factory: Proxies, how: str, number: signal.Signals) -> None:
    proxy = proxy_factory("127.0.0.1", int(place.zookeeper.rpartition(":")[2]))
    if how == "refused":
        proxy.refuse()
    else:
        proxy.stall()
    with service(place.settings(ZOOKEEPER_HOSTS=proxy.address)) as started:
        until(lambda: started.resource()["informer"]["state"] == "connecting", "it connects")
        assert_ends_well(started, number)
    assert place.database["sync_states"].count_documents({"status": "completed"}) == 0


@BOTH
def test_in_the_middle_of_the_first_sync(place: Place, proxy_factory: Proxies, number: signal.Signals) -> None:
    place.grow({"": b""} | {f"/{number}": b"x" * 300 for number in range(1_500)})
    proxy = proxy_factory("127.0.0.1", int(place.zookeeper.rpartition(":")[2]))
    proxy.delay(0.1)
    settings = place.settings(ZOOKEEPER_HOSTS=proxy.address)
    with service(settings) as started:
        until(lambda: (started.resource()["progress"] or {}).get("read"), "it is in the middle")
        assert started.ask("/health/ready")[0] == 503
        assert_ends_well(started, number)
    assert place.state()["status"] == "in_progress"
    proxy.delay(0)

    with service(settings) as again:
        again.until_in_sync()
        assert again.resource()["decision"]["reason"] == "incomplete"
        assert differences(place.zk, place.root, place.mirror) == []


@BOTH
def test_in_sync_pending_changes_are_flushed_and_the_session_is_closed(
    own_place: Place, own_zookeeper: ZooKeeperServer, number: signal.Signals
) -> None:
    own_place.grow({"": b""} | {f"/{number}": b"0" for number in range(500)})
    before = sessions(own_zookeeper)
    with service(own_place.settings()) as started:
        started.until_in_sync()
        assert sessions(own_zookeeper) == before + 1
        changes = [own_place.zk.set_async(f"{own_place.root}/{each}", b"1") for each in range(500)]
        for change in changes:
            change.get(timeout=30)
        until(lambda: own_place.document("/499")["value"] == "1" or started.resource()["informer"]["pending"], "seen")
        assert_ends_well(started, number)

    assert own_place.mirror.count_documents({"value": "1"}) == 500
    assert own_place.state()["status"] == "completed"
    assert sessions(own_zookeeper) == before


def test_with_changes_pending_and_mongodb_frozen(own_place: Place, own_mongodb: MongoServer) -> None:
    own_place.grow({"": b"", "/a": b"0"})
    with service(own_place.settings()) as started:
        started.until_in_sync()
        own_mongodb.pause()
        own_place.set("/a", b"1")
        until(lambda: started.resource()["informer"]["pending"], "the change is pending")
        assert_ends_well(started)
        own_mongodb.resume()

    with service(own_place.settings()) as again:
        again.until_in_sync()
        assert again.resource()["decision"]["reason"] == "fresh"
        assert own_place.document("/a")["value"] == "1"


def test_in_the_middle_of_a_sync_with_both_servers_frozen(
    own_place: Place, own_zookeeper: ZooKeeperServer, own_mongodb: MongoServer, proxy_factory: Proxies
) -> None:
    own_place.grow({"": b""} | {f"/{number}": b"x" * 300 for number in range(1_500)})
    proxy = proxy_factory("127.0.0.1", own_zookeeper.port)
    proxy.delay(0.1)
    with service(own_place.settings(ZOOKEEPER_HOSTS=proxy.address)) as started:
        until(lambda: (started.resource()["progress"] or {}).get("read"), "it is in the middle")
        own_zookeeper.pause()
        own_mongodb.pause()
        assert_ends_well(started)
        own_zookeeper.resume()
        own_mongodb.resume()


@BOTH
def test_parked_because_it_may_not_resync_by_itself(
    place: Place, proxy_factory: Proxies, number: signal.Signals
) -> None:
    place.grow({"": b"", "/a": b"0"})
    proxy = proxy_factory("127.0.0.1", int(place.zookeeper.rpartition(":")[2]))
    settings = place.settings(
        ZOOKEEPER_HOSTS=proxy.address, AUTO_SYNC_ON_INFORMER_FAILURE="false", ZOOKEEPER_SESSION_TIMEOUT_SECONDS="1"
    )
    with service(settings) as started:
        started.until_in_sync()
        proxy.refuse()
        until(lambda: "trigger a sync" in str(started.ask("/health")[1]), "it waits for a person")
        assert started.ask("/health")[1]["status"] == "degraded"
        proxy.accept_again()
        place.set("/a", b"1")
        entry = started.resource()
        assert (entry["informer"]["state"], entry["inSync"]) == ("disconnected", False)
        assert entry["gapSince"]
        assert started.ask("/health/live")[0] == 200
        if number == signal.SIGINT:  # once: a person triggers
            status, answer = started.ask("/health/sync/trigger", "POST", b'{"wait": true}')
            assert (status, answer["results"]["services"]["updated"]) == (200, 1)
            started.until_in_sync()
            assert started.ask("/health")[1]["status"] == "ok"
        assert_ends_well(started, number)


def test_what_it_answers_last_is_that_it_stops(own_place: Place, own_mongodb: MongoServer) -> None:
    own_place.grow({"": b"", "/a": b"0"})
    with service(own_place.settings()) as started:
        started.until_in_sync()
        own_mongodb.pause()
        own_place.set("/a", b"1")
        until(lambda: started.resource()["informer"]["pending"], "there is something to flush")
        os.kill(started.process.pid, signal.SIGTERM)

        until(lambda: "stopping" in str(started.ask("/health/ready")[1]["reason"]), "not ready at once", seconds=2)
        status, body = started.ask("/health/ready")
        assert (status, body["ready"], body["reason"]) == (503, False, "the service is stopping")
        assert started.ask("/health/live")[0] == 200
        assert started.ask("/health/startup")[0] == 200
        assert started.ask("/health/sync")[1]["ready"] is False
        own_mongodb.resume()
        assert started.process.wait(LIMIT_SECONDS) == 0
    assert own_place.document("/a")["value"] == "1"
