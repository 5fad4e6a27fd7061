"""The stage of MongoDB → ZooKeeper: documents, and the znodes that they are published as."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from kazoo.client import KazooClient

from tests.administered_mongo import AdministeredMongo, role_of_publishing
from tests.faults.chaos.clock import Clock
from tests.faults.chaos.publishing.journal import KEY, SILENT, SWITCH
from tests.faults.chaos.publishing.scene import PATH, PublishingScene
from tests.faults.chaos.publishing.writer import PublishingWriter
from tests.faults.chaos.stage import BULK_RECORDS, SETTINGS, STATIC_RECORDS, Stage
from tests.faults.chaos.zookeeper.server import ChangeableZooKeeper
from tests.proxy import TcpProxy
from tests.publish_truth import differences

_FIRST_BULK = 100_000
_SESSION_OVER_SECONDS = 8.0
_HISTORY_LOST = 286


class PublishingStage(Stage):
    """See `Stage`."""

    pair = "publishing"
    scene: PublishingScene
    writer: PublishingWriter
    late_seconds = 0.5
    """See `Stage`. A session with ZooKeeper would not survive more."""

    def __init__(self, mongodb: AdministeredMongo, zookeeper: ChangeableZooKeeper, clock: Clock) -> None:
        super().__init__(PublishingScene(zookeeper.port, mongodb.port, "chaos", **SETTINGS), mongodb, clock)
        self.zookeeper = zookeeper

    @property
    def zk(self) -> KazooClient:
        """The client of the test, which may do everything."""
        return self.scene.zk

    @property
    def source_link(self) -> TcpProxy:
        """See `Stage`."""
        return self.scene.mongo_proxy

    @property
    def sink_link(self) -> TcpProxy:
        """See `Stage`."""
        return self.scene.other_proxy

    def _role(self) -> dict[str, Any]:
        return role_of_publishing(self.scene.database.name, self.scene.collection.name)

    def no_write_to_mongodb(self) -> AbstractContextManager[None]:
        """See `Stage`."""
        return self.writer.held()

    def _populated(self) -> PublishingWriter:
        self.scene.collection.create_index(KEY)
        self._insert(SILENT, STATIC_RECORDS)
        return PublishingWriter(self.scene.journal, 0)

    def _grow_bulk(self) -> None:
        with self.writer.held():
            self._insert(_FIRST_BULK, BULK_RECORDS)

    def _fell_bulk(self) -> None:
        with self.writer.held():
            numbers = range(_FIRST_BULK, _FIRST_BULK + BULK_RECORDS)
            self.scene.journal.delete_all([each for each in numbers if each in self.scene.journal.documents])

    def _insert(self, first: int, count: int) -> None:
        documents = {number: {KEY: f"{number}", SWITCH: True, "n": number} for number in range(first, first + count)}
        self.scene.journal.put_all(documents)

    def _calm_servers(self) -> None:
        assert self.zookeeper.running, "ZooKeeper is gone"
        self.scene.other_proxy.err(0)

    def lose_history(self) -> None:
        """See `Stage`. The change stream that is opened next is told that its history is gone."""
        lost = {"errorCode": _HISTORY_LOST, "failCommands": ["aggregate", "getMore"], "appName": "hybridsync"}
        self.scene.database.client.admin.command(
            {"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": lost}
        )

    def differences(self) -> list[str]:
        """See `Stage`."""
        journal = self.scene.journal
        kept = {one["_id"]: one for one in self.scene.collection.find({})}
        assert kept.keys() == journal.documents.keys(), "the journal does not know what is in the collection"
        return differences(journal.expected, self.zk, PATH)

    # -- for outsiders ----------------------------------------------------------------------------

    def some_published(self, seed: int, count: int) -> list[str]:
        """Some keys that are published now, half of them never written again. Chosen by `seed`."""
        chooser = random.Random(seed)
        written = sorted(self.scene.journal.held(self.scene.collection))
        lasting = [f"{number}" for number in range(SILENT, SILENT + STATIC_RECORDS)]
        return [
            *chooser.sample(lasting, min(len(lasting), count // 2)),
            *chooser.sample(written, min(len(written), count - count // 2)),
        ]

    # -- ZooKeeper --------------------------------------------------------------------------------

    @contextmanager
    def without_zookeeper(self, end: Callable[[], None]) -> Iterator[None]:
        """No ZooKeeper in the block; it is started again afterwards. The writer goes on."""
        end()
        self.scene.disconnect()
        yield
        self.zookeeper.start()
        self.scene.connect()

    @contextmanager
    def frozen_zookeeper(self) -> Iterator[None]:
        """ZooKeeper is frozen in the block."""
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
        """See `OnZooKeeper`: many large documents are changed while it is away."""
        with self.without_zookeeper(self.zookeeper.stop), self.writer.held():
            self.writer.change_large()

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """A copy is made; at the end of the block ZooKeeper holds what it held then, with its old zxids.

        What was published since is gone, and has to be noticed: at the latest when the session is found to be over.
        """
        with self.without_zookeeper(self.zookeeper.stop):
            self.zookeeper.copy()
        yield
        with self.without_zookeeper(self.zookeeper.kill):
            self.zookeeper.put_back()
            self.allowances.unnoticed()
        self.allowances.unnoticed()
