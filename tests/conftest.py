"""Servers and clients for the tests.

One ZooKeeper and one MongoDB serve the whole run; a test that stops, freezes, kills or wipes takes
`own_zookeeper` or `own_mongodb`. `HYBRIDSYNC_TEST_ZOOKEEPER_HOSTS` and `HYBRIDSYNC_TEST_MONGODB_URI` name
servers to use for the shared ones instead. A server that cannot be had is an error, never a skip.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pymongo
import pytest
from kazoo.client import KazooClient
from pymongo.database import Database

from hybridsync.embedded import MongoServer, ZooKeeperServer
from tests.proxy import TcpProxy
from tests.servers import SUPER_PASSWORD, GivenMongo, GivenZooKeeper, connected, delete_tree, given, with_database

_UNPREFIXED = (
    "SYNC_ON_STARTUP",
    "AUTO_SYNC_ON_INFORMER_FAILURE",
    "PERIODIC_SYNC_INTERVAL_HOURS",
    "DATA_STALE_THRESHOLD_SECONDS",
)


# No test depends on being fast, and this machine is shared.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def pytest_configure() -> None:
    """Keeps settings of the machine away from the tests and from the processes that they start."""
    for name in list(os.environ):
        if name.startswith("HYBRIDSYNC_") or name in _UNPREFIXED:
            del os.environ[name]


@pytest.fixture(scope="session")
def zookeeper_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer | GivenZooKeeper]:
    """The ZooKeeper of the whole run: `.hosts`. Do not stop it."""
    hosts = given("HYBRIDSYNC_TEST_ZOOKEEPER_HOSTS")
    if hosts is not None:
        yield GivenZooKeeper(hosts)
        return
    with ZooKeeperServer(tmp_path_factory.mktemp("zookeeper"), super_password=SUPER_PASSWORD) as server:
        yield server


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer | GivenMongo]:
    """The MongoDB of the whole run: `.uri`. Do not stop it."""
    uri = given("HYBRIDSYNC_TEST_MONGODB_URI")
    if uri is not None:
        yield GivenMongo(uri)
        return
    with MongoServer(tmp_path_factory.mktemp("mongodb")) as server:
        yield server


@pytest.fixture(scope="session")
def _super_zk(zookeeper_server: ZooKeeperServer | GivenZooKeeper) -> Iterator[KazooClient]:
    with connected(zookeeper_server.hosts, auth_data=[("digest", f"super:{SUPER_PASSWORD}")]) as client:
        yield client


@pytest.fixture
def zk_root(_super_zk: KazooClient) -> Iterator[str]:
    """A path of this test's own, such as `/t-1a2b3c4d`. It does not exist yet; deleted afterwards."""
    root = f"/t-{uuid.uuid4().hex[:8]}"
    yield root
    delete_tree(_super_zk, root)


@pytest.fixture
def zk(zookeeper_server: ZooKeeperServer | GivenZooKeeper) -> Iterator[KazooClient]:
    """A started kazoo client that owes nothing to hybridsync, to write with."""
    with connected(zookeeper_server.hosts) as client:
        yield client


@pytest.fixture(scope="session")
def _mongo_client(mongo_server: MongoServer | GivenMongo) -> Iterator[pymongo.MongoClient[dict[str, Any]]]:
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(mongo_server.uri, tz_aware=True)
    with client:
        yield client


@pytest.fixture
def mongo_database(_mongo_client: pymongo.MongoClient[dict[str, Any]]) -> Iterator[Database[dict[str, Any]]]:
    """A database of this test's own, as a synchronous pymongo handle (times are aware); dropped afterwards."""
    name = f"t_{uuid.uuid4().hex[:8]}"
    yield _mongo_client[name]
    _mongo_client.drop_database(name)


@pytest.fixture
def mongo_uri(mongo_server: MongoServer | GivenMongo, mongo_database: Database[dict[str, Any]]) -> str:
    """The URI of `mongo_database`, with its name as the path."""
    return with_database(mongo_server.uri, mongo_database.name)


@pytest.fixture
def own_zookeeper(tmp_path: Path) -> Iterator[ZooKeeperServer]:
    """A running ZooKeeper that this test may stop, pause, kill and wipe."""
    with ZooKeeperServer(tmp_path / "zookeeper", super_password=SUPER_PASSWORD) as server:
        yield server


@pytest.fixture
def own_mongodb(tmp_path: Path) -> Iterator[MongoServer]:
    """A running MongoDB that this test may stop, pause, kill and wipe."""
    with MongoServer(tmp_path / "mongodb") as server:
        yield server


@pytest.fixture
def proxy_factory() -> Iterator[Callable[[str, int], TcpProxy]]:
    """`proxy_factory(target_host, target_port)` gives a started `TcpProxy`; all are closed afterwards."""
    with ExitStack() as proxies:
        yield lambda host, port: proxies.enter_context(TcpProxy(host, port))
