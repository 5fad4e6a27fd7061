"""What a fault does: one function each, a context manager that begins it and ends it again.

What a function waits for may never come, because another fault is in its way: every wait has an end,
and nothing here decides whether the service is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from kazoo.client import KazooClient

from tests.faults.chaos.schedule import Kind, Step
from tests.faults.chaos.sessions import sessions
from tests.faults.chaos.stage import Stage
from tests.proxy import TcpProxy

LONG_SECONDS = 8.0
"""The longest wait for something that a fault wants to meet."""

SYNC_DELAY_SECONDS = 0.15
"""Of MongoDB, so that a full sync is long enough to be met."""

LATE_SECONDS = 4.0
"""Of MongoDB, so that a dead service has writes under way. Some arrive when its successor has compared everything."""

Fault = Callable[[Stage, Step], AbstractContextManager[None]]


def begin(stage: Stage, step: Step) -> AbstractContextManager[None]:
    """The fault of a step, for the length of a block."""
    return _FAULTS[step.kind](stage, step)


# -- connections ----------------------------------------------------------------------------------


@contextmanager
def _cut(proxy: TcpProxy) -> Iterator[None]:
    proxy.cut()
    yield


@contextmanager
def _refused(proxy: TcpProxy) -> Iterator[None]:
    proxy.refuse()
    yield
    proxy.accept_again()


@contextmanager
def _stalled(proxy: TcpProxy, step: Step) -> Iterator[None]:
    proxy.stall(step.direction)
    yield
    proxy.resume()


@contextmanager
def _cut_in_stream(proxy: TcpProxy, step: Step) -> Iterator[None]:
    proxy.drop_after(step.count, step.direction)
    yield


@contextmanager
def _slow(proxy: TcpProxy, step: Step) -> Iterator[None]:
    proxy.delay(step.delay)
    yield
    proxy.delay(0.0)


# -- ZooKeeper ------------------------------------------------------------------------------------


@contextmanager
def _expired(stage: Stage, step: Step) -> Iterator[None]:
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
def _frozen(stage: Stage, step: Step) -> Iterator[None]:
    with stage.frozen_zookeeper():
        yield


@contextmanager
def _frozen_for_long(stage: Stage, step: Step) -> Iterator[None]:
    with stage.frozen_zookeeper():
        yield
        stage.until(lambda: stage.scene.service.logged("ZooKeeper session over"), LONG_SECONDS)


@contextmanager
def _zookeeper_stopped(stage: Stage, step: Step) -> Iterator[None]:
    with stage.without_zookeeper(stage.zookeeper.stop):
        yield


@contextmanager
def _zookeeper_killed(stage: Stage, step: Step) -> Iterator[None]:
    with stage.without_zookeeper(stage.zookeeper.kill):
        yield


# -- MongoDB --------------------------------------------------------------------------------------


@contextmanager
def _mongodb_frozen(stage: Stage, step: Step) -> Iterator[None]:
    stage.mongodb.pause()
    yield
    stage.mongodb.resume()


@contextmanager
def _mongodb_killed(stage: Stage, step: Step) -> Iterator[None]:
    stage.mongodb.kill()
    yield
    stage.mongodb.start()


# -- hybridsync -----------------------------------------------------------------------------------


@contextmanager
def _killed(stage: Stage, step: Step) -> Iterator[None]:
    with stage.without_service(stage.kill_service):
        yield


@contextmanager
def _terminated(stage: Stage, step: Step) -> Iterator[None]:
    with stage.without_service(stage.terminate_service):
        yield


@contextmanager
def _killed_in_sync(stage: Stage, step: Step) -> Iterator[None]:
    with _killed_during(stage, fell=False, met=lambda: _progress(stage, "inserted", "updated")):
        yield


@contextmanager
def _killed_in_sweep(stage: Stage, step: Step) -> Iterator[None]:
    stage.grow_or_fell_bulk(fell=False)
    stage.until(lambda: stage.entry()["inSync"], LONG_SECONDS)
    with _killed_during(stage, fell=True, met=lambda: _progress(stage, "deleted")):
        yield


@contextmanager
def _killed_during(stage: Stage, *, fell: bool, met: Callable[[], object]) -> Iterator[None]:
    """Makes a full sync with much to do, slows it down, and kills the service when the moment is met."""
    scene = stage.scene
    scene.zk_proxy.refuse()
    if not fell:
        stage.grow_or_fell_bulk(fell=True)
    stage.grow_or_fell_bulk(fell=fell)
    ended = len(scene.service.logged("full sync completed"))
    scene.mongo_proxy.delay(SYNC_DELAY_SECONDS)
    scene.zk_proxy.accept_again()
    stage.until(lambda: met() or len(scene.service.logged("full sync completed")) > ended, LONG_SECONDS)
    with stage.without_service(stage.kill_service):
        scene.mongo_proxy.delay(0.0)
        yield


def _progress(stage: Stage, *names: str) -> bool:
    progress = stage.entry()["progress"]
    return progress is not None and any(progress[name] for name in names)


@contextmanager
def _killed_while_slow(stage: Stage, step: Step) -> Iterator[None]:
    """What it has sent is still on its way when it dies."""
    proxy = stage.scene.mongo_proxy
    proxy.delay(LATE_SECONDS)
    stage.hold(step.seconds)
    with stage.without_service(stage.kill_service):
        proxy.delay(0.0)
        yield


@contextmanager
def _triggered(stage: Stage, step: Step) -> Iterator[None]:
    """Full syncs asked for in the middle of whatever goes on."""
    if stage.scene.service.running:
        for _ in range(2):
            status, body = stage.scene.service.post("/health/sync/trigger")
            if status != 202 or ["services"] not in body.values():
                stage.claims.append(f"a trigger was answered with {status}: {body}")
    yield


_FAULTS: dict[Kind, Fault] = {
    Kind.ZK_CUT: lambda stage, step: _cut(stage.scene.zk_proxy),
    Kind.ZK_REFUSED: lambda stage, step: _refused(stage.scene.zk_proxy),
    Kind.ZK_STALLED: lambda stage, step: _stalled(stage.scene.zk_proxy, step),
    Kind.ZK_CUT_IN_STREAM: lambda stage, step: _cut_in_stream(stage.scene.zk_proxy, step),
    Kind.ZK_SLOW: lambda stage, step: _slow(stage.scene.zk_proxy, step),
    Kind.ZK_EXPIRED: _expired,
    Kind.ZK_PAUSED: _frozen,
    Kind.ZK_PAUSED_LONG: _frozen_for_long,
    Kind.ZK_STOPPED: _zookeeper_stopped,
    Kind.ZK_KILLED: _zookeeper_killed,
    Kind.MONGO_CUT: lambda stage, step: _cut(stage.scene.mongo_proxy),
    Kind.MONGO_REFUSED: lambda stage, step: _refused(stage.scene.mongo_proxy),
    Kind.MONGO_STALLED: lambda stage, step: _stalled(stage.scene.mongo_proxy, step),
    Kind.MONGO_CUT_IN_STREAM: lambda stage, step: _cut_in_stream(stage.scene.mongo_proxy, step),
    Kind.MONGO_SLOW: lambda stage, step: _slow(stage.scene.mongo_proxy, step),
    Kind.MONGO_PAUSED: _mongodb_frozen,
    Kind.MONGO_KILLED: _mongodb_killed,
    Kind.KILLED: _killed,
    Kind.KILLED_IN_SYNC: _killed_in_sync,
    Kind.KILLED_IN_SWEEP: _killed_in_sweep,
    Kind.KILLED_WHILE_SLOW: _killed_while_slow,
    Kind.TERMINATED: _terminated,
    Kind.TRIGGERED: _triggered,
}
