"""Places for a test alone and for all tests of a module that look at one running service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hybridsync.embedded import MongoServer, ZooKeeperServer
from tests.acceptance.place import Place, a_place
from tests.servers import GivenMongo, GivenZooKeeper


@pytest.fixture
def place(
    zookeeper_server: ZooKeeperServer | GivenZooKeeper, mongo_server: MongoServer | GivenMongo
) -> Iterator[Place]:
    """A place of this test's own on the shared servers."""
    with a_place(zookeeper_server.hosts, mongo_server.uri) as made:
        yield made


@pytest.fixture(scope="module")
def shared_place(
    zookeeper_server: ZooKeeperServer | GivenZooKeeper, mongo_server: MongoServer | GivenMongo
) -> Iterator[Place]:
    """A place that all tests of a module share."""
    with a_place(zookeeper_server.hosts, mongo_server.uri) as made:
        yield made


@pytest.fixture
def own_place(own_zookeeper: ZooKeeperServer, own_mongodb: MongoServer) -> Iterator[Place]:
    """A place on servers that this test may stop, freeze and kill."""
    with a_place(own_zookeeper.hosts, own_mongodb.uri, keep=True) as made:
        try:
            yield made
        finally:
            own_zookeeper.resume()
            own_mongodb.resume()
