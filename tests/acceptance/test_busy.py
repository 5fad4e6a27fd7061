"""Probes while a large tree is synced and while servers are frozen: all answered, and all as they should be."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hybridsync.embedded import MongoServer, ZooKeeperServer
from tests.acceptance.place import Place
from tests.service import Service, wait_until

ZNODES = 20_000
PATHS = ("/health/live", "/health/ready", "/health/startup", "/health", "/health/sync", "/metrics")


class Prober(threading.Thread):
    """Asks every route in turn; `answers` are (path, status), `troubles` what was no answer."""

    def __init__(self, service: Service) -> None:
        super().__init__(daemon=True)
        self.answers: list[tuple[str, int]] = []
        self.troubles: list[str] = []
        self._service = service
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            for path in PATHS:
                try:
                    self.answers.append((path, self._service.get(path)[0]))
                except (OSError, ValueError) as error:
                    self.troubles.append(f"{path}: {error!r}")
            time.sleep(0.01)

    def end(self) -> None:
        self._over.set()
        self.join(60)

    def statuses(self, path: str) -> list[int]:
        return [status for asked, status in self.answers if asked == path]


@contextmanager
def probed(service: Service) -> Iterator[Prober]:
    prober = Prober(service)
    prober.start()
    try:
        yield prober
    finally:
        prober.end()


@pytest.fixture(scope="module")
def large(shared_place: Place) -> Place:
    parents = [f"/{number}" for number in range(100)]
    shared_place.grow({"": b""} | dict.fromkeys(parents, b""))
    leaves = ZNODES - len(parents) - 1
    shared_place.grow({f"{parents[number % 100]}/{number}": b"x" * 200 for number in range(leaves)})
    return shared_place


def test_probes_answer_during_a_sync_of_many_znodes(large: Place) -> None:
    with Service(large.settings()) as service, probed(service) as prober:
        service.wait_in_sync()
        assert service.resource()["lastSyncCount"] == ZNODES
        assert service.post("/health/sync/trigger", {"wait": True}, seconds=60)[0] == 200
        prober.end()

    assert prober.troubles == []
    for path in ("/health/live", "/health", "/health/sync", "/metrics"):
        assert set(prober.statuses(path)) == {200}, path
    for path in ("/health/ready", "/health/startup"):
        statuses = prober.statuses(path)
        assert statuses == sorted(statuses, reverse=True), "first not ready, then ready for good"
        assert statuses[-1] == 200
    assert large.mirror.count_documents({}) == ZNODES


def test_a_fresh_mirror_of_many_znodes_is_ready_before_its_listing_ends(large: Place) -> None:
    with Service(large.settings()) as service:
        service.wait_ready()
        ready_before = not service.logged("full sync completed")
        service.wait_in_sync()

    assert ready_before
    assert service.logged("full sync completed")[0]["unchanged"] == ZNODES


def test_frozen_servers_change_readiness_and_never_liveness(
    own_place: Place, own_mongodb: MongoServer, own_zookeeper: ZooKeeperServer
) -> None:
    own_place.grow({"": b"", "/a": b"1"})
    settings = own_place.settings(ZOOKEEPER_SESSION_TIMEOUT_SECONDS="3")
    with Service(settings) as service, probed(service) as prober:
        service.wait_in_sync()
        own_mongodb.pause()
        wait_until(lambda: service.get("/health/ready")[0] == 503, "not ready without MongoDB")
        assert service.get("/health/ready")[1]["reason"] == "MongoDB cannot be reached"
        assert service.get("/health")[1]["status"] == "degraded"
        own_mongodb.resume()
        wait_until(lambda: service.get("/health/ready")[0] == 200, "ready again with MongoDB")

        own_zookeeper.pause()
        wait_until(lambda: service.resource()["inSync"] is False, "not in sync without ZooKeeper")
        wait_until(lambda: service.resource()["gapSince"], "the gap is told")
        confirmed = service.resource()["confirmedAt"]
        assert service.get("/health/ready")[0] == 200
        own_zookeeper.resume()
        service.wait_in_sync()
        assert service.resource()["confirmedAt"] > confirmed
        prober.end()

    assert prober.troubles == []
    assert set(prober.statuses("/health/live")) == {200}
    startup = prober.statuses("/health/startup")
    assert startup == sorted(startup, reverse=True), "once started it is started for good"
