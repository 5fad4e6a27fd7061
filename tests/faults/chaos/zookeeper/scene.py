"""`Scene` for what outsiders do: its own client is stopped by no access list, and the proxy can answer itself."""

from __future__ import annotations

from hybridsync.embedded.ports import LOOPBACK
from tests.faults.chaos.zookeeper.replies import ErringProxy
from tests.faults.chaos.zookeeper.server import as_super
from tests.faults.journal import Journal
from tests.faults.scene import Scene
from tests.servers import connected


class OutsidersScene(Scene):
    """See `Scene`."""

    other_proxy: ErringProxy

    def _proxy(self, port: int) -> ErringProxy:
        return ErringProxy(LOOPBACK, port)

    def connect(self) -> None:
        """See `Scene`."""
        self.disconnect()
        self.zk = self._zk_exit.enter_context(connected(self.zookeeper_hosts, auth_data=as_super()))
        if self._journal is None:
            self._journal = Journal(self.zk, self.root)
        self._journal.client = self.zk
