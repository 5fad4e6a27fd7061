"""What a fault does: one function each, a context manager that begins it and ends it again.

Here are those that every pair has: of connections, MongoDB, hybridsync and its clock. What a function waits for may
never come, because another fault is in its way: every wait has an end, and nothing here decides whether the
service is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import TypeAlias, TypeVar

from tests.faults.chaos.clock import stepped
from tests.faults.chaos.rights import ALL, WRITING
from tests.faults.chaos.schedule import Kind, Step, Target, kind
from tests.faults.chaos.stage import Stage
from tests.proxy import TcpProxy

S = TypeVar("S", bound=Stage)
Faults: TypeAlias = Mapping[Kind, Callable[[S, Step], AbstractContextManager[None]]]
"""The deck of a pair, and what each card does for the length of a block."""

LONG_SECONDS = 8.0
"""The longest wait for something that a fault wants to meet."""

SYNC_DELAY_SECONDS = 0.15
"""Of the sink, so that a full sync is long enough to be met."""

_QUESTION_SECONDS = 1.0
"""Several times the interval of proofs."""

STEPS_OF_THE_CLOCK = (timedelta(seconds=3), timedelta(minutes=7), timedelta(hours=30))
"""The last is longer than a mirror stays fresh."""


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
    with stage.no_write_to_mongodb():
        stage.mongodb.pause()
        yield
        stage.mongodb.resume()


@contextmanager
def _mongodb_killed(stage: Stage, step: Step) -> Iterator[None]:
    with stage.no_write_to_mongodb():
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
    stage.source_link.refuse()
    if not fell:
        stage.grow_or_fell_bulk(fell=True)
    stage.grow_or_fell_bulk(fell=fell)
    stage.lose_history()
    ended = len(scene.service.logged("full sync completed"))
    stage.sink_link.delay(SYNC_DELAY_SECONDS)
    stage.source_link.accept_again()
    stage.until(lambda: met() or len(scene.service.logged("full sync completed")) > ended, LONG_SECONDS)
    with stage.without_service(stage.kill_service):
        stage.sink_link.delay(0.0)
        yield


def _progress(stage: Stage, *names: str) -> bool:
    progress = stage.entry()["progress"]
    return progress is not None and any(progress[name] for name in names)


@contextmanager
def _killed_while_slow(stage: Stage, step: Step) -> Iterator[None]:
    """What it has sent is still on its way when it dies."""
    proxy = stage.sink_link
    proxy.delay(stage.late_seconds)
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


def _size(step: Step) -> timedelta:
    return STEPS_OF_THE_CLOCK[step.count % len(STEPS_OF_THE_CLOCK)]


@contextmanager
def _stepped_while_asking(stage: Stage, step: Step) -> Iterator[None]:
    """The question is on its way, its answer is held back; the clock is set, and the answer comes."""
    link = stage.source_link
    link.stall("to_client")
    stage.hold(_QUESTION_SECONDS)
    with stepped(stage.clock, -_size(step)):
        link.resume()
        yield


KILLED_IN_SWEEP = kind(
    "hybridsync killed in a sweep", Target.SERVICE, Target.SINK_LINK, Target.SOURCE, Target.SOURCE_LINK
)


def mongodb_faults(link: Target, server: Target) -> Faults[Stage]:
    """Those of MongoDB and of the connection to it, and what is done to its user; it is the source or the sink."""
    return {
        **link_faults("MongoDB", link, lambda stage: stage.scene.mongo_proxy),
        kind("MongoDB paused", server): _mongodb_frozen,
        kind("MongoDB killed and started", server): _mongodb_killed,
        kind("MongoDB: rights to write withdrawn", server): lambda stage, _: stage.rights.withdrawn(WRITING),
        kind("MongoDB: all rights withdrawn", server): lambda stage, _: stage.rights.withdrawn(ALL),
        kind("MongoDB: user dropped and made again", server): lambda stage, _: stage.rights.no_user(),
    }


SERVICE_FAULTS: Faults[Stage] = {
    kind("hybridsync killed and started", Target.SERVICE): lambda stage, _: stage.without_service(stage.kill_service),
    kind("hybridsync killed in a full sync", *KILLED_IN_SWEEP.holds): lambda stage, _: _killed_during(
        stage, fell=False, met=lambda: _progress(stage, "inserted", "updated")
    ),
    KILLED_IN_SWEEP: _killed_in_sweep,
    kind("hybridsync killed with writes under way", Target.SERVICE, Target.SINK_LINK): _killed_while_slow,
    kind("hybridsync terminated and started", Target.SERVICE): lambda stage, _: stage.without_service(
        stage.terminate_service
    ),
    kind("full sync triggered", Target.SERVICE): _triggered,
    kind("clock stepped back", Target.CLOCK): lambda stage, step: stepped(stage.clock, -_size(step)),
    kind("clock stepped forward", Target.CLOCK): lambda stage, step: stepped(stage.clock, _size(step)),
    kind("clock stepped back while a proof is waited for", Target.CLOCK, Target.SOURCE_LINK): _stepped_while_asking,
}
