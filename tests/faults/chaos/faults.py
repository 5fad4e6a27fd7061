"""What a fault does: one function each, a context manager that begins it and ends it again.

Here are those that every pair has: of connections, of MongoDB and of hybridsync. What a function waits for may
never come, because another fault is in its way: every wait has an end, and nothing here decides whether the
service is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias, TypeVar

from tests.faults.chaos.schedule import Kind, Step, Target, kind
from tests.faults.chaos.stage import Stage
from tests.proxy import TcpProxy

S = TypeVar("S", bound=Stage)
Faults: TypeAlias = Mapping[Kind, Callable[[S, Step], AbstractContextManager[None]]]
"""The deck of a pair, and what each card does for the length of a block."""

LONG_SECONDS = 8.0
"""The longest wait for something that a fault wants to meet."""

SYNC_DELAY_SECONDS = 0.15
"""Of MongoDB, so that a full sync is long enough to be met."""

LATE_SECONDS = 4.0
"""Of MongoDB, so that a dead service has writes under way. Some arrive when its successor has compared everything."""


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


def link_faults(name: str, link: Target, proxy: Callable[[Stage], TcpProxy]) -> Faults[Stage]:
    """Those of the connection to `name`."""
    return {
        kind(f"{name} connection cut", link): lambda stage, step: _cut(proxy(stage)),
        kind(f"{name} connection refused", link): lambda stage, step: _refused(proxy(stage)),
        kind(f"{name} connection stalled", link): lambda stage, step: _stalled(proxy(stage), step),
        kind(f"{name} connection cut after some bytes", link): lambda stage, step: _cut_in_stream(proxy(stage), step),
        kind(f"{name} connection slow", link): lambda stage, step: _slow(proxy(stage), step),
    }


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
def _killed_in_sweep(stage: Stage, step: Step) -> Iterator[None]:
    stage.grow_or_fell_bulk(fell=False)
    stage.until(lambda: stage.entry()["inSync"], LONG_SECONDS)
    with _killed_during(stage, fell=True, met=lambda: _progress(stage, "deleted")):
        yield


@contextmanager
def _killed_during(stage: Stage, *, fell: bool, met: Callable[[], object]) -> Iterator[None]:
    """Makes a full sync with much to do, slows it down, and kills the service when the moment is met."""
    scene = stage.scene
    scene.source_proxy.refuse()
    if not fell:
        stage.grow_or_fell_bulk(fell=True)
    stage.grow_or_fell_bulk(fell=fell)
    stage.lose_history()
    ended = len(scene.service.logged("full sync completed"))
    scene.mongo_proxy.delay(SYNC_DELAY_SECONDS)
    scene.source_proxy.accept_again()
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
    for _ in range(2):
        stage.trigger()
    yield


KILLED_IN_SWEEP = kind(
    "hybridsync killed in a sweep", Target.SERVICE, Target.MONGODB_LINK, Target.SOURCE, Target.SOURCE_LINK
)

MONGODB_AND_SERVICE_FAULTS: Faults[Stage] = {
    **link_faults("MongoDB", Target.MONGODB_LINK, lambda stage: stage.scene.mongo_proxy),
    kind("MongoDB paused", Target.MONGODB): _mongodb_frozen,
    kind("MongoDB killed and started", Target.MONGODB): _mongodb_killed,
    kind("hybridsync killed and started", Target.SERVICE): lambda stage, _: stage.without_service(stage.kill_service),
    kind("hybridsync killed in a full sync", *KILLED_IN_SWEEP.holds): lambda stage, _: _killed_during(
        stage, fell=False, met=lambda: _progress(stage, "inserted", "updated")
    ),
    KILLED_IN_SWEEP: _killed_in_sweep,
    kind("hybridsync killed with writes under way", Target.SERVICE, Target.MONGODB_LINK): _killed_while_slow,
    kind("hybridsync terminated and started", Target.SERVICE): lambda stage, _: stage.without_service(
        stage.terminate_service
    ),
    kind("full sync triggered", Target.SERVICE): _triggered,
}
