"""The stage of ZooKeeper → MongoDB: a tree, and a ZooKeeper that can be frozen, stopped and killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hybridsync.embedded import MongoServer, ZooKeeperServer
from tests.faults.chaos.stage import BULK_RECORDS, SETTINGS, STATIC_RECORDS, Stage
from tests.faults.chaos.zookeeper_writer import ZooKeeperWriter
from tests.faults.scene import Scene
from tests.mirror_truth import differences
from tests.znodes import create_many, delete_many

ROOT = "/services"
_BULK = [f"{ROOT}/bulk", *(f"{ROOT}/bulk/{number}" for number in range(BULK_RECORDS))]


class ZooKeeperStage(Stage):
    """See `Stage`."""

    pair = "zookeeper"
    scene: Scene

    def __init__(self, zookeeper: ZooKeeperServer, mongodb: MongoServer) -> None:
        super().__init__(Scene(zookeeper.port, mongodb.port, "chaos", ROOT, **SETTINGS), mongodb)
        self.zookeeper = zookeeper

    def _populated(self) -> ZooKeeperWriter:
        self.scene.populate(STATIC_RECORDS)
        return ZooKeeperWriter(self.scene.journal, 0)

    def _grow_bulk(self) -> None:
        create_many(self.scene.zk, _BULK, b'{"bulk": true}')

    def _fell_bulk(self) -> None:
        delete_many(self.scene.zk, _BULK[::-1])

    def _calm_source(self) -> None:
        assert self.zookeeper.running, "ZooKeeper is gone"

    def lose_history(self) -> None:
        """See `Stage`. ZooKeeper tells nobody what he missed, so there is nothing to lose."""

    def differences(self) -> list[str]:
        """See `Stage`."""
        return differences(self.scene.zk, ROOT, self.scene.collection)

    @contextmanager
    def without_zookeeper(self, end: Callable[[], None]) -> Iterator[None]:
        """No ZooKeeper in the block; it is started again afterwards, and the writer goes on.

        A write that is under way when it ends has an unknown outcome, which the journal finds out.
        """
        end()
        self.scene.disconnect()
        with self.writer.held():
            yield
            self.zookeeper.start()
            self.scene.connect()

    @contextmanager
    def frozen_zookeeper(self) -> Iterator[None]:
        """ZooKeeper is frozen in the block. No write is under way, as it could happen much later."""
        with self.writer.held():
            self.zookeeper.pause()
            try:
                yield
            finally:
                self.zookeeper.resume()
