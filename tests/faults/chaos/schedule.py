"""Which faults come when: drawn from a seed, pure data, the same for the same seed on every machine.

Kinds are dealt like cards: every kind comes once before any comes again, so that a short run meets all
of them. An episode has a few steps; a step is one fault, and sometimes a second one within it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Direction = Literal["both", "to_server", "to_client"]

EPISODE_STEPS = 3
_PAIRED = 0.6
_DIRECTIONS: tuple[Direction, ...] = ("both", "to_server", "to_client")


class Target(StrEnum):
    """What a fault takes hold of. Two faults at once never share a target."""

    ZOOKEEPER_LINK = "the connection to ZooKeeper"
    MONGODB_LINK = "the connection to MongoDB"
    ZOOKEEPER = "ZooKeeper"
    MONGODB = "MongoDB"
    SERVICE = "hybridsync"


class Kind(StrEnum):
    """Every fault there is; the words are those of the report."""

    ZK_CUT = "ZooKeeper connection cut"
    ZK_REFUSED = "ZooKeeper connection refused"
    ZK_STALLED = "ZooKeeper connection stalled"
    ZK_CUT_IN_STREAM = "ZooKeeper connection cut after some bytes"
    ZK_SLOW = "ZooKeeper connection slow"
    ZK_EXPIRED = "ZooKeeper session expired from outside"
    ZK_PAUSED = "ZooKeeper paused for less than the session"
    ZK_PAUSED_LONG = "ZooKeeper paused for longer than the session"
    ZK_STOPPED = "ZooKeeper stopped and started"
    ZK_KILLED = "ZooKeeper killed and started"
    MONGO_CUT = "MongoDB connection cut"
    MONGO_REFUSED = "MongoDB connection refused"
    MONGO_STALLED = "MongoDB connection stalled"
    MONGO_CUT_IN_STREAM = "MongoDB connection cut after some bytes"
    MONGO_SLOW = "MongoDB connection slow"
    MONGO_PAUSED = "MongoDB paused"
    MONGO_KILLED = "MongoDB killed and started"
    KILLED = "hybridsync killed and started"
    KILLED_IN_SYNC = "hybridsync killed in a full sync"
    KILLED_IN_SWEEP = "hybridsync killed in a sweep"
    KILLED_WHILE_SLOW = "hybridsync killed with writes under way"
    TERMINATED = "hybridsync terminated and started"
    TRIGGERED = "full sync triggered"


TARGETS = {
    Kind.ZK_CUT: Target.ZOOKEEPER_LINK,
    Kind.ZK_REFUSED: Target.ZOOKEEPER_LINK,
    Kind.ZK_STALLED: Target.ZOOKEEPER_LINK,
    Kind.ZK_CUT_IN_STREAM: Target.ZOOKEEPER_LINK,
    Kind.ZK_SLOW: Target.ZOOKEEPER_LINK,
    Kind.ZK_EXPIRED: Target.ZOOKEEPER,
    Kind.ZK_PAUSED: Target.ZOOKEEPER,
    Kind.ZK_PAUSED_LONG: Target.ZOOKEEPER,
    Kind.ZK_STOPPED: Target.ZOOKEEPER,
    Kind.ZK_KILLED: Target.ZOOKEEPER,
    Kind.MONGO_CUT: Target.MONGODB_LINK,
    Kind.MONGO_REFUSED: Target.MONGODB_LINK,
    Kind.MONGO_STALLED: Target.MONGODB_LINK,
    Kind.MONGO_CUT_IN_STREAM: Target.MONGODB_LINK,
    Kind.MONGO_SLOW: Target.MONGODB_LINK,
    Kind.MONGO_PAUSED: Target.MONGODB,
    Kind.MONGO_KILLED: Target.MONGODB,
    Kind.KILLED: Target.SERVICE,
    Kind.KILLED_IN_SYNC: Target.SERVICE,
    Kind.KILLED_IN_SWEEP: Target.SERVICE,
    Kind.KILLED_WHILE_SLOW: Target.SERVICE,
    Kind.TERMINATED: Target.SERVICE,
    Kind.TRIGGERED: Target.SERVICE,
}

_CHANGES_THE_TREE = (Kind.KILLED_IN_SYNC, Kind.KILLED_IN_SWEEP)
"""Need a ZooKeeper that answers."""

_SETS_MONGODB_LINK = (Kind.KILLED_IN_SYNC, Kind.KILLED_IN_SWEEP, Kind.KILLED_WHILE_SLOW)
"""Slow the connection to MongoDB down by themselves."""


@dataclass(frozen=True, slots=True)
class Step:
    """One fault. What of the rest matters depends on the kind.

    `rest`: seconds without a fault before it; `seconds`: how long it lasts; `delay`: of a slow connection,
    in seconds; `count`: bytes until a connection is cut. `within`: a second fault that begins and ends while
    this one lasts.
    """

    kind: Kind
    direction: Direction
    rest: float
    seconds: float
    delay: float
    count: int
    within: Step | None = None

    @property
    def kinds(self) -> list[Kind]:
        """Its own and that of the fault within."""
        return [self.kind, *(self.within.kinds if self.within is not None else [])]

    def __str__(self) -> str:
        timing = f"after {self.rest:g} s, for {self.seconds:g} s, delay {self.delay:g} s"
        own = f"{self.kind} ({self.direction}, {timing}, {self.count})"
        return own if self.within is None else f"{own} with {self.within}"


@dataclass(frozen=True, slots=True)
class Episode:
    """A few steps one after the other. `seed` is that of the writer."""

    number: int
    seed: int
    steps: list[Step] = field(default_factory=list)


def episodes(seed: int, steps: int = EPISODE_STEPS) -> Iterator[Episode]:
    """Episodes without end, all decided by `seed`."""
    chooser = random.Random(seed)
    deck: list[Kind] = []
    number = 0
    while True:
        number += 1
        episode = Episode(number, chooser.randrange(2**32))
        for _ in range(steps):
            outer = _deal(chooser, deck)
            inner: Step | None = None
            if chooser.random() < _PAIRED:
                partner = _partner(chooser, deck, outer)
                inner = _step(chooser, partner, None) if partner is not None else None
            episode.steps.append(_step(chooser, outer, inner))
        yield episode


def may_hold_both(outer: Kind, inner: Kind) -> bool:
    """Whether `inner` may begin and end while `outer` lasts."""
    targets = {TARGETS[outer], TARGETS[inner]}
    if len(targets) == 1:
        return False
    if outer in _CHANGES_THE_TREE or inner in _CHANGES_THE_TREE:
        return not targets & {Target.ZOOKEEPER, Target.ZOOKEEPER_LINK, Target.MONGODB_LINK}
    if outer in _SETS_MONGODB_LINK or inner in _SETS_MONGODB_LINK:
        return Target.MONGODB_LINK not in targets
    return True


def _deal(chooser: random.Random, deck: list[Kind]) -> Kind:
    if not deck:
        deck += list(Kind)
        chooser.shuffle(deck)
    return deck.pop()


def _partner(chooser: random.Random, deck: list[Kind], outer: Kind) -> Kind | None:
    """The next card that goes with `outer`; `None` when there is none left in the deck."""
    fitting = [kind for kind in deck if may_hold_both(outer, kind)]
    if not fitting:
        return None
    chosen = chooser.choice(fitting)
    deck.remove(chosen)
    return chosen


def _step(chooser: random.Random, kind: Kind, within: Step | None) -> Step:
    return Step(
        kind,
        chooser.choice(_DIRECTIONS),
        round(chooser.uniform(0.0, 2.0), 2),
        round(chooser.uniform(0.3, 2.5), 2),
        chooser.choice([0.02, 0.1, 0.3]),
        int(10 ** chooser.uniform(1.0, 5.0)),
        within,
    )
