"""Scenes on several servers: an ensemble with a proxy before each of its servers, and a replica set."""

from __future__ import annotations

import time
from collections.abc import Callable

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss, OperationTimeoutError, SessionExpiredError, SessionMovedError
from kazoo.retry import KazooRetry

from hybridsync.embedded.ports import LOOPBACK
from tests.ensemble import Ensemble, Peer
from tests.faults.journal import Journal
from tests.faults.scene import Scene
from tests.proxy import TcpProxy
from tests.replica_set import ReplicaSet
from tests.servers import connected
from tests.service import wait_until

_UNCERTAIN = (ConnectionLoss, OperationTimeoutError, SessionExpiredError, SessionMovedError)
_PATIENCE_SECONDS = 60.0


class PatientJournal(Journal):
    """Goes on writing while servers come and go.

    Of a write whose answer was lost nobody knows whether it was done. So it is looked up, in the same
    session: the leader takes no request from the server that the session has left.
    """

    def create(self, path: str, value: bytes) -> None:
        """See `Journal`. Returns also when it turned out that nothing was created."""
        self._patiently(lambda: Journal.create(self, path, value))

    def set(self, path: str, value: bytes) -> None:
        """See `Journal`. Returns also when it turned out that nothing was set."""
        self._patiently(lambda: Journal.set(self, path, value))

    def delete(self, path: str) -> None:
        """See `Journal`. Returns also when it turned out that nothing was deleted."""
        self._patiently(lambda: Journal.delete(self, path))

    def _patiently(self, write: Callable[[], None]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        try:
            write()
        except _UNCERTAIN:
            while not self._is_resolved():
                assert time.monotonic() < deadline, "the ensemble does not answer"
                time.sleep(0.05)

    def _is_resolved(self) -> bool:
        try:
            self.client.sync(self.root)
            self.resolve()
        except _UNCERTAIN:
            return False
        return True


class EnsembleScene(Scene):
    """The service reaches each server through a proxy in `proxies`; the test goes straight to all of them."""

    def __init__(self, ensemble: Ensemble, mongodb_port: int, database: str, root: str, **more: str) -> None:
        self.ensemble = ensemble
        self.proxies = {one.number: TcpProxy(LOOPBACK, one.port) for one in ensemble.servers}
        hosts = ",".join(proxy.address for proxy in self.proxies.values())
        super().__init__(ensemble.servers[0].port, mongodb_port, database, root, **{"ZOOKEEPER_HOSTS": hosts, **more})
        self.zookeeper_hosts = ensemble.hosts

    def __enter__(self) -> EnsembleScene:
        for proxy in self.proxies.values():
            self._exits.enter_context(proxy)
        super().__enter__()
        return self

    def connect(self) -> None:
        """See `Scene`; the connection comes back by itself, to whichever server is there."""
        self.disconnect()
        retry = KazooRetry(max_tries=-1, max_delay=0.5)
        self.zk: KazooClient = self._zk_exit.enter_context(connected(self.zookeeper_hosts, connection_retry=retry))
        if self._journal is None:
            self._journal = PatientJournal(self.zk, self.root)
        self._journal.client = self.zk

    def allow_only(self, *servers: Peer) -> None:
        """Ends the service's connections to all other servers; new ones are refused there."""
        for number, proxy in self.proxies.items():
            if number in [one.number for one in servers]:
                proxy.accept_again()
            else:
                proxy.refuse()

    def allow_all(self) -> None:
        """Ends `allow_only`; what is connected stays where it is."""
        self.allow_only(*self.ensemble.servers)

    def move_to(self, server: Peer) -> None:
        """Returns when the service watches from this server and has made good what it missed on the way."""
        self.allow_only(server)
        wait_until(lambda: self.proxies[server.number].open_connections > 0, f"it is on server {server.number}")
        self.wait_confirmed()
        self.allow_all()

    def assert_equal_at_rest(self) -> None:
        """See `Scene`; the server that the test reads from catches up first."""
        self.service.wait_in_sync()
        self.zk.sync(self.root)
        super().assert_equal_at_rest()


class ReplicaSetScene(Scene):
    """The service's URI names all members; the test reads what a majority of them holds."""

    def __init__(self, zookeeper_port: int, members: ReplicaSet, database: str, root: str, **more: str) -> None:
        self.members = members
        uri = members.uri(database)
        super().__init__(zookeeper_port, members.members[0].port, database, root, **{"MONGODB_URI": uri, **more})
        self._mongodb = f"{uri}&readConcernLevel=majority"
