"""`PublishingScene`: a collection, a path it is published at, and a real service between them, with two proxies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Self

from kazoo.client import KazooClient

from hybridsync.embedded.ports import LOOPBACK
from tests.faults.chaos.publishing.journal import KEY, SWITCH, PublishingJournal
from tests.faults.chaos.zookeeper.replies import ErringProxy
from tests.faults.chaos.zookeeper.server import as_super
from tests.faults.scene import FAST
from tests.faults.service_scene import ServiceScene
from tests.servers import connected
from tests.service import Service

PATH = "/published/items"
_RESOURCE = "items"


class PublishingScene(ServiceScene):
    """Use as `with`. The test reaches both servers without a proxy, as somebody who may do everything."""

    other_proxy: ErringProxy

    def __init__(self, zookeeper_port: int, mongodb_port: int, database: str, **more: str) -> None:
        self.zookeeper_hosts = f"{LOOPBACK}:{zookeeper_port}"
        self._zk_exit = ExitStack()
        self._journal = PublishingJournal(PATH)
        super().__init__(zookeeper_port, mongodb_port, database, _RESOURCE, FAST | more)

    def __enter__(self) -> Self:
        super().__enter__()
        self._exits.callback(self._zk_exit.close)
        self._journal.collection = self.collection
        self.connect()
        return self

    def _proxy(self, port: int) -> ErringProxy:
        return ErringProxy(LOOPBACK, port)

    @property
    def journal(self) -> PublishingJournal:
        """What the test wrote."""
        return self._journal

    def _service(self, mongodb_uri: str, more: Mapping[str, str]) -> Service:
        resource = {
            "source": {"type": "mongodb", "collection": _RESOURCE, "key": KEY, "when": SWITCH},
            "sink": {"type": "zookeeper", "path": PATH},
        }
        settings = {
            "ZOOKEEPER_HOSTS": self.other_proxy.address,
            "MONGODB_URI": mongodb_uri,
            "RESOURCES": json.dumps({_RESOURCE: resource}),
            **more,
        }
        return Service(settings, environ=self.environ)

    def connect(self) -> None:
        """Opens new sessions of the test's own: one for outsiders, and one that reads what is published."""
        self.disconnect()
        self.zk: KazooClient = self._zk_exit.enter_context(connected(self.zookeeper_hosts, auth_data=as_super()))
        self._journal.reader = self._zk_exit.enter_context(connected(self.zookeeper_hosts, auth_data=as_super()))

    def disconnect(self) -> None:
        """Ends the sessions of the test."""
        self._zk_exit.close()
