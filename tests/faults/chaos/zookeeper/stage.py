"""The stage of ZooKeeper → MongoDB: a tree, and a ZooKeeper that can be frozen, stopped, killed and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kazoo.client import KazooClient

from tests.administered_mongo import AdministeredMongo
from tests.faults.chaos.clock import Clock
from tests.faults.chaos.mirror_stage import MirrorStage
from tests.faults.chaos.stage import BULK_RECORDS, SETTINGS, STATIC_RECORDS
from tests.faults.chaos.zookeeper.scene import OutsidersScene
from tests.faults.chaos.zookeeper.server import ChangeableZooKeeper
from tests.faults.chaos.zookeeper.writer import ZooKeeperWriter
from tests.mirror_truth import differences
from tests.znodes import create_many, delete_many

ROOT = "/services"
_BULK = [f"{ROOT}/bulk", *(f"{ROOT}/bulk/{number}" for number in range(BULK_RECORDS))]
_LONG = [f"{ROOT}/long", *(f"{ROOT}/long/{number}-{'n' * 200}" for number in range(800))]
_SESSION_OVER_SECONDS = 8.0


class ZooKeeperStage(MirrorStage):
    """See `Stage`."""

    pair = "zookeeper"
    scene: OutsidersScene
    writer: ZooKeeperWriter
    edit = {"$set": {"value": "by hand", "encoding": "utf8"}}  # noqa: RUF012 - never changed
    refusing = {"encoding": {"$ne": "binary"}}  # noqa: RUF012 - never changed

    def __init__(self, zookeeper: ChangeableZooKeeper, mongodb: AdministeredMongo, clock: Clock) -> None:
        super().__init__(OutsidersScene(zookeeper.port, mongodb.port, "chaos", ROOT, **SETTINGS), mongodb, clock)
        self.zookeeper = zookeeper

    @property
    def zk(self) -> KazooClient:
        """The client of the test, which may do everything."""
        return self.scene.zk

    def _populated(self) -> ZooKeeperWriter:
        self.scene.populate(STATIC_RECORDS)
        return ZooKeeperWriter(self.scene.journal, 0)

    def _grow_bulk(self) -> None:
        create_many(self.zk, _BULK, b'{"bulk": true}')

    def _fell_bulk(self) -> None:
        delete_many(self.zk, _BULK[::-1])

    def _calm_servers(self) -> None:
        assert self.zookeeper.running, "ZooKeeper is gone"
        self.scene.other_proxy.err(0)

    def lose_history(self) -> None:
        """See `Stage`. ZooKeeper tells nobody what he missed, so there is nothing to lose."""

    def differences(self) -> list[str]:
        """See `Stage`."""
        return differences(self.zk, ROOT, self.mirror) + self.index_differences()

    # -- for outsiders ----------------------------------------------------------------------------

    @property
    def lasting(self) -> list[str]:
        """See `MirrorStage`."""
        return [f"{ROOT}/group-{number // 100}/member-{number}" for number in range(STATIC_RECORDS)]

    def foreign(self, model: str) -> dict[str, Any]:
        """See `MirrorStage`."""
        document = self.mirror.find_one({"_id": model}) or {"value": "x"}
        return {**document, "_id": f"{ROOT}/by-hand", "parent": ROOT, "name": "by-hand"}

    def a_subtree(self, seed: int) -> str:
        """The top of one that the writer changes, or of one that nobody does, or of all; it exists."""
        tops = [ROOT, f"{ROOT}/group-{seed % 12}", *self.writer.trees[:12]]
        standing = [top for top in tops if self.zk.exists(top)]
        return standing[seed % len(standing)]

    # -- ZooKeeper --------------------------------------------------------------------------------

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

    def until_session_over(self) -> None:
        """Returns when the service says that its session ended, or after some seconds."""
        self.until(lambda: self.scene.service.logged("ZooKeeper session over"), _SESSION_OVER_SECONDS)

    def take_replies(self, count: int) -> None:
        """The next so many replies of ZooKeeper to the service are errors."""
        self.scene.other_proxy.err(count)

    def restart_with_much_to_send(self) -> None:
        """See `OnZooKeeper`: a full sync reads many znodes at once, whose names are long."""
        if not self.zk.exists(_LONG[0]):
            create_many(self.zk, _LONG, b"")
        with self.without_zookeeper(self.zookeeper.stop):
            pass

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """A copy is made; at the end of the block ZooKeeper holds what it held then, with its old zxids."""
        journal = self.scene.journal
        with self._restarted(self.zookeeper.stop):
            self.zookeeper.copy()
            remembered, bulk = journal.remembered(), self._bulk
        yield
        with self._restarted(self.zookeeper.kill):
            self.zookeeper.put_back()
            self._bulk = bulk
            journal.put_back(remembered)

    @contextmanager
    def _restarted(self, end: Callable[[], None]) -> Iterator[None]:
        """No ZooKeeper in the block, and the outcome of every write is known."""
        with self.writer.held():
            self.scene.journal.resolve()
            end()
            self.scene.disconnect()
            yield
            self.zookeeper.start()
            self.scene.connect()
