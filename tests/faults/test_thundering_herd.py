"""Ten services lose one ensemble in the same moment: they come back apart, and each reads the tree once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import pymongo
import pytest
from kazoo.client import KazooClient

from hybridsync.embedded import MongoServer
from tests.ensemble import Ensemble
from tests.mirror_truth import wait_until_equal
from tests.servers import GivenMongo, connected, with_database
from tests.service import Service, moment, settings_for
from tests.znodes import create_many

INSTANCES = 10
ROOT = "/services"
MEASURED_SECONDS = 5.0
"""The time over which requests are counted; `steady` is the same without an outage."""

_PAUSE_SECONDS = 0.2


class Meter:
    """Counts what clients ask of an ensemble, for the length of a block, over restarts of its servers."""

    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble
        self._counts: list[tuple[float, int]] = []
        self._seen: dict[int, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE_SECONDS):
            self._counts.append((time.monotonic(), sum(self._more(number) for number in range(3))))

    def _more(self, number: int) -> int:
        """Requests since the last look; a server counts from 0 when it begins to serve anew."""
        try:
            count = self._ensemble.servers[number].count("zk_packets_received")
        except OSError:
            return 0
        before = self._seen.get(number, count)
        self._seen[number] = count
        return max(0, (count - before if count >= before else count) - 1)  # less this question itself

    def requests(self, start: float, end: float) -> int:
        """How many there were between two moments (monotonic seconds)."""
        return sum(count for at, count in list(self._counts) if start <= at < end)

    def most(self, start: float) -> int:
        """The most in any `MEASURED_SECONDS` that begin after a moment."""
        return max(self.requests(at, at + MEASURED_SECONDS) for at, _ in list(self._counts) if at >= start)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(60)


@pytest.fixture
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """A whole ensemble with a tree of 300 znodes."""
    with Ensemble(tmp_path_factory.mktemp("ensemble")) as ensemble, connected(ensemble.hosts) as client:
        client.ensure_path(ROOT)
        for group in range(3):
            top = f"{ROOT}/group-{group}"
            create_many(client, [top], b"{}")
            create_many(client, [f"{top}/member-{number}" for number in range(100)], b'{"host": "10.0.0.1"}')
        yield ensemble


@pytest.mark.timeout(300)
def test_ten_services_whose_leader_is_restarted_come_back_apart(
    ensemble: Ensemble, mongo_server: MongoServer | GivenMongo
) -> None:
    databases = [f"herd_{number}" for number in range(INSTANCES)]
    with ExitStack() as exits:
        services = [
            Service(settings_for(ensemble.hosts, with_database(mongo_server.uri, database), ROOT))
            for database in databases
        ]
        for service in services:
            exits.callback(service.kill)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(Service.start, services))
        all_in_sync(services)

        meter = exits.enter_context(Meter(ensemble))
        time.sleep(MEASURED_SECONDS + 1)  # the measurement itself: what ten services ask when all is well
        restarted = time.monotonic()
        steady = meter.requests(restarted - MEASURED_SECONDS, restarted)
        ensemble.wait_leader().restart()
        all_in_sync(services)
        time.sleep(MEASURED_SECONDS)
        starts = [resyncs(service) for service in services]
        most = meter.most(restarted)

        with (
            connected(ensemble.hosts) as client,
            pymongo.MongoClient[dict[str, Any]](mongo_server.uri, tz_aware=True) as mongo,
        ):
            assert_mirrors(client, mongo, databases)

    assert steady > 0
    assert most <= 3 * steady, f"{most} requests in {MEASURED_SECONDS:g} s, {steady} when all is well"
    assert {len(each) for each in starts} == {1}, f"each compares the tree once: {starts}"
    first, last = min(min(starts)), max(max(starts))
    assert (last - first).total_seconds() >= 1.0, f"all at once: {sorted(starts)}"


def all_in_sync(services: list[Service]) -> None:
    """Returns when every service has confirmed what is true now."""
    since = datetime.now().astimezone()
    for service in services:
        service.wait_in_sync(since)


def resyncs(service: Service) -> list[datetime]:
    """When the service began to compare the whole tree, the first time left out."""
    return [moment(entry["timestamp"]) for entry in service.logged("full sync begins")][1:]


def assert_mirrors(client: KazooClient, mongo: pymongo.MongoClient[dict[str, Any]], databases: list[str]) -> None:
    """Every mirror is equal to the tree; the databases are dropped."""
    client.sync(ROOT)
    for database in databases:
        wait_until_equal(client, ROOT, mongo[database]["services"], seconds=0.0)
        mongo.drop_database(database)
