"""`Scene`: a tree, a mirror, and a real service process between them, with proxies in both ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from kazoo.client import KazooClient

from hybridsync.embedded.ports import LOOPBACK
from tests.faults.journal import Churn, Journal
from tests.faults.recorder import Recorder
from tests.faults.service_scene import ServiceScene, now
from tests.mirror_truth import tree_of, wait_until_equal
from tests.proxy import TcpProxy
from tests.servers import connected
from tests.service import Service, settings_for
from tests.znodes import create_many, delete_many

__all__ = ["FAST", "Scene", "now"]

FAST = {"CONFIRM_INTERVAL_SECONDS": "0.1", "ZOOKEEPER_SESSION_TIMEOUT_SECONDS": "2"}


class Scene(ServiceScene):
    """Use as `with`. The service is not started yet; `zk` and the journal reach ZooKeeper without a proxy.

    `more` are settings without the prefix, over those of `FAST`.
    """

    def __init__(self, zookeeper_port: int, mongodb_port: int, database: str, root: str, **more: str) -> None:
        self.root = root
        self.zookeeper_hosts = f"{LOOPBACK}:{zookeeper_port}"
        self._zk_exit = ExitStack()
        self._journal: Journal | None = None
        super().__init__(zookeeper_port, mongodb_port, database, "services", FAST | more)

    def __enter__(self) -> Self:
        super().__enter__()
        self._exits.callback(self._zk_exit.close)
        self.connect()
        return self

    @property
    def zk_proxy(self) -> TcpProxy:
        """Between the service and ZooKeeper."""
        return self.other_proxy

    def _service(self, mongodb_uri: str, more: Mapping[str, str]) -> Service:
        settings = settings_for(self.zk_proxy.address, mongodb_uri, self.root, **more)
        return Service(settings, environ=self.environ)

    # -- ZooKeeper --------------------------------------------------------------------------------

    def connect(self) -> None:
        """Opens a new session of the test's own."""
        self.disconnect()
        self.zk: KazooClient = self._zk_exit.enter_context(connected(self.zookeeper_hosts))
        if self._journal is None:
            self._journal = Journal(self.zk, self.root)
        self._journal.client = self.zk

    def disconnect(self) -> None:
        """Ends the session of the test."""
        self._zk_exit.close()

    @property
    def journal(self) -> Journal:
        """What the test wrote, in whatever session."""
        assert self._journal is not None, "the scene is not entered"
        return self._journal

    def populate(self, count: int, value: bytes = b'{"host": "10.0.0.1"}', *, group: str = "group") -> None:
        """Creates the root, where it is missing, and `count` znodes in groups of 100: `group-0/member-0` and so on."""
        self.zk.ensure_path(self.root)
        paths: list[str] = []
        for number in range(count):
            parent = f"{self.root}/{group}-{number // 100}"
            if number % 100 == 0:
                paths.append(parent)
            paths.append(f"{parent}/member-{number}")
        create_many(self.zk, paths, value)

    def delete_tree(self) -> None:
        """Deletes the root and everything below it, many znodes at once."""
        delete_many(self.zk, sorted(tree_of(self.zk, self.root), reverse=True))

    def churn(self, **options: Any) -> Churn:
        """A writer for the length of a block."""
        return Churn(self.journal, **options)

    def write(self, count: int, *, seed: int = 7) -> None:
        """Some random changes, and returns."""
        churn = Churn(self.journal, seed=seed)
        for _ in range(count):
            churn.write_one()

    # -- both sides -------------------------------------------------------------------------------

    @contextmanager
    def running(self, *, alone: bool = True, **churn: Any) -> Iterator[Recorder]:
        """Starts the service, and has a recorder and a writer run for the length of a block.

        At its end everything comes to rest, and mirror and tree are compared.
        """
        self.service.start()
        with self.recorder(alone=alone) as recorder:
            with self.churn(**churn):
                yield recorder
            self.assert_equal_at_rest()

    def assert_equal_at_rest(self) -> None:
        """Waits until the service says that it is in sync now; then it must be so."""
        self.service.wait_in_sync(now())
        wait_until_equal(self.zk, self.root, self.collection, seconds=0.0)
