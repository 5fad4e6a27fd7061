"""The faults of ZooKeeper → MongoDB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kazoo.client import KazooClient

from tests.faults.chaos.faults import LONG_SECONDS, MONGODB_AND_SERVICE_FAULTS, Faults, link_faults
from tests.faults.chaos.schedule import Step, Target, kind
from tests.faults.chaos.zookeeper_sessions import sessions
from tests.faults.chaos.zookeeper_stage import ZooKeeperStage


@contextmanager
def _expired(stage: ZooKeeperStage, step: Step) -> Iterator[None]:
    """A second connection takes the session over and closes it."""
    for session in sessions(stage.zookeeper):
        if session[0] != stage.scene.zk.client_id[0]:
            thief = KazooClient(hosts=stage.zookeeper.hosts, client_id=session, timeout=4.0)
            try:
                thief.start(timeout=LONG_SECONDS)
            finally:
                thief.stop()
                thief.close()
    yield


@contextmanager
def _frozen_for_long(stage: ZooKeeperStage, step: Step) -> Iterator[None]:
    with stage.frozen_zookeeper():
        yield
        stage.until(lambda: stage.scene.service.logged("ZooKeeper session over"), LONG_SECONDS)


ZOOKEEPER_FAULTS: Faults[ZooKeeperStage] = {
    **link_faults("ZooKeeper", Target.SOURCE_LINK, lambda stage: stage.scene.source_proxy),
    kind("ZooKeeper session expired from outside", Target.SOURCE): _expired,
    kind("ZooKeeper paused for less than the session", Target.SOURCE): lambda stage, _: stage.frozen_zookeeper(),
    kind("ZooKeeper paused for longer than the session", Target.SOURCE): _frozen_for_long,
    kind("ZooKeeper stopped and started", Target.SOURCE): lambda stage, _: stage.without_zookeeper(
        stage.zookeeper.stop
    ),
    kind("ZooKeeper killed and started", Target.SOURCE): lambda stage, _: stage.without_zookeeper(stage.zookeeper.kill),
    **MONGODB_AND_SERVICE_FAULTS,
}
