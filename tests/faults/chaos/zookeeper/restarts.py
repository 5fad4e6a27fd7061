"""A ZooKeeper that a stage stops, freezes and restarts, as the source or as the sink."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from kazoo.client import KazooClient

from tests.faults.chaos.schedule import Kind, Step, Target, kind
from tests.faults.chaos.zookeeper.server import SMALL_BYTES, ChangeableZooKeeper
from tests.faults.chaos.zookeeper.sessions import sessions

LONG_SECONDS = 8.0


class OnZooKeeper(Protocol):
    """What is asked of a stage with a ZooKeeper."""

    zookeeper: ChangeableZooKeeper

    @property
    def zk(self) -> KazooClient:
        """The client of the test, which may do everything."""

    def without_zookeeper(self, end: Callable[[], None]) -> AbstractContextManager[None]:
        """No ZooKeeper in the block; it is started again afterwards."""

    def frozen_zookeeper(self) -> AbstractContextManager[None]:
        """ZooKeeper is frozen in the block."""

    def until_session_over(self) -> None:
        """Returns when the service says that its session ended, or after some seconds."""

    def take_replies(self, count: int) -> None:
        """The next so many replies of ZooKeeper to the service are errors."""

    def restart_with_much_to_send(self) -> None:
        """ZooKeeper is restarted; what the service would send then in one request is more than `SMALL_BYTES`."""

    def put_back(self) -> AbstractContextManager[None]:
        """A copy is made; at the end of the block ZooKeeper holds what it held then."""


Fault = Callable[[OnZooKeeper, Step], AbstractContextManager[None]]


@contextmanager
def _expired(stage: OnZooKeeper, step: Step) -> Iterator[None]:
    """A second connection takes the session over and closes it."""
    own = stage.zk.client_id
    for session in sessions(stage.zookeeper):
        if own is None or session[0] != own[0]:
            thief = KazooClient(hosts=stage.zookeeper.hosts, client_id=session, timeout=4.0)
            try:
                thief.start(timeout=LONG_SECONDS)
            finally:
                thief.stop()
                thief.close()
    yield


@contextmanager
def _frozen_for_long(stage: OnZooKeeper, step: Step) -> Iterator[None]:
    with stage.frozen_zookeeper():
        yield
        stage.until_session_over()


@contextmanager
def _erring(stage: OnZooKeeper, step: Step) -> Iterator[None]:
    stage.take_replies(1)
    yield
    stage.take_replies(1 + step.count % 4)


@contextmanager
def _small_limit(stage: OnZooKeeper, step: Step) -> Iterator[None]:
    """It is restarted with a small limit, and with the usual one again."""
    stage.zookeeper.largest_request = SMALL_BYTES
    stage.restart_with_much_to_send()
    yield
    stage.zookeeper.largest_request = 0
    with stage.without_zookeeper(stage.zookeeper.stop):
        pass


def zookeeper_faults(link: Target, server: Target) -> dict[Kind, Fault]:
    """Those of a ZooKeeper that is the source or the sink."""
    return {
        kind("ZooKeeper session expired from outside", server): _expired,
        kind("ZooKeeper paused for less than the session", server): lambda stage, _: stage.frozen_zookeeper(),
        kind("ZooKeeper paused for longer than the session", server): _frozen_for_long,
        kind("ZooKeeper stopped and started", server): lambda stage, _: stage.without_zookeeper(stage.zookeeper.stop),
        kind("ZooKeeper killed and started", server): lambda stage, _: stage.without_zookeeper(stage.zookeeper.kill),
        kind("ZooKeeper put back from a copy", server): lambda stage, _: stage.put_back(),
        kind("ZooKeeper takes small requests only", server): _small_limit,
        kind("replies of ZooKeeper become errors", server, link): _erring,
    }
