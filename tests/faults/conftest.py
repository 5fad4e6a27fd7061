"""Scenes on the shared servers, and on servers of a test's own that it may stop, freeze, kill and wipe."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pymongo.database import Database

from hybridsync.embedded import MongoServer, ZooKeeperServer
from tests.administered_mongo import AdministeredMongo
from tests.faults.chaos.clock import Clock
from tests.faults.chaos.zookeeper.server import ChangeableZooKeeper
from tests.faults.scene import Scene
from tests.servers import GivenMongo, GivenZooKeeper

NewScene = Callable[..., Scene]


@pytest.fixture
def _exits() -> Iterator[ExitStack]:
    with ExitStack() as exits:
        yield exits


@pytest.fixture
def new_scene(
    zookeeper_server: ZooKeeperServer | GivenZooKeeper,
    mongo_server: MongoServer | GivenMongo,
    mongo_database: Database[dict[str, object]],
    zk_root: str,
    _exits: ExitStack,
) -> NewScene:
    """`new_scene(**settings)`: a scene on the shared servers."""
    return lambda **more: _exits.enter_context(
        Scene(zookeeper_server.port, mongo_server.port, mongo_database.name, zk_root, **more)
    )


@pytest.fixture
def own_zookeeper_scene(
    own_zookeeper: ZooKeeperServer,
    mongo_server: MongoServer | GivenMongo,
    mongo_database: Database[dict[str, object]],
    _exits: ExitStack,
) -> NewScene:
    """`own_zookeeper_scene(**settings)`: a scene on `own_zookeeper` and the shared MongoDB."""
    return lambda **more: _exits.enter_context(
        Scene(own_zookeeper.port, mongo_server.port, mongo_database.name, "/services", **more)
    )


@pytest.fixture
def own_mongodb_scene(
    own_mongodb: MongoServer, zookeeper_server: ZooKeeperServer | GivenZooKeeper, zk_root: str, _exits: ExitStack
) -> NewScene:
    """`own_mongodb_scene(**settings)`: a scene on the shared ZooKeeper and `own_mongodb`."""
    return lambda **more: _exits.enter_context(
        Scene(zookeeper_server.port, own_mongodb.port, f"own_{uuid.uuid4().hex[:6]}", zk_root, **more)
    )


@pytest.fixture
def own_clock(tmp_path: Path) -> Clock:
    """The clock of this test's services, which it may set."""
    return Clock(tmp_path)


@pytest.fixture
def administered_mongodb(tmp_path: Path) -> Iterator[AdministeredMongo]:
    """A running MongoDB that asks for credentials, and that this test may stop, pause, kill and wipe."""
    with AdministeredMongo(tmp_path / "guarded") as server:
        yield server


@pytest.fixture
def changeable_zookeeper(tmp_path: Path) -> Iterator[ChangeableZooKeeper]:
    """A running ZooKeeper that this test may do anything with."""
    with ChangeableZooKeeper(tmp_path / "changeable") as server:
        yield server
