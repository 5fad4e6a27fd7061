"""Which faults come when: drawn from a seed, pure data, the same for the same seed on every machine.

Kinds are dealt like cards: every kind comes once before any comes again, so that a short run meets all
of them. An episode has a few steps; a step is one fault, and sometimes a second one within it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Direction = Literal["both", "to_server", "to_client"]

EPISODE_STEPS = 3
_PAIRED = 0.6
_DIRECTIONS: tuple[Direction, ...] = ("both", "to_server", "to_client")


class Target(StrEnum):
    """What a fault takes hold of. Two faults at once never share a target."""

    SOURCE_LINK = "the connection to the source"
    SINK_LINK = "the connection to the sink"
    SOURCE = "the source"
    SINK = "the sink"
    SERVICE = "hybridsync"
    CLOCK = "the clock of hybridsync"


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault that may come. `words`: those of the report; `holds`: what it takes hold of, or needs undisturbed."""

    words: str
    holds: frozenset[Target]

    def __str__(self) -> str:
        return self.words


def kind(words: str, *holds: Target) -> Kind:
    """A kind of fault."""
    return Kind(words, frozenset(holds))


EVERYTHING = tuple(Target)
"""For a fault that is judged by what the service notices: nothing else may keep it from that."""


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


def episodes(seed: int, kinds: Sequence[Kind], steps: int = EPISODE_STEPS) -> Iterator[Episode]:
    """Episodes without end, all decided by `seed`; `kinds` are the cards of one deck."""
    chooser = random.Random(seed)
    deck: list[Kind] = []
    number = 0
    while True:
        number += 1
        episode = Episode(number, chooser.randrange(2**32))
        for _ in range(steps):
            outer = _deal(chooser, deck, kinds)
            inner: Step | None = None
            if chooser.random() < _PAIRED:
                partner = _partner(chooser, deck, outer)
                inner = _step(chooser, partner, None) if partner is not None else None
            episode.steps.append(_step(chooser, outer, inner))
        yield episode


def may_hold_both(outer: Kind, inner: Kind) -> bool:
    """Whether `inner` may begin and end while `outer` lasts."""
    return not outer.holds & inner.holds


def _deal(chooser: random.Random, deck: list[Kind], kinds: Sequence[Kind]) -> Kind:
    if not deck:
        deck += kinds
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
