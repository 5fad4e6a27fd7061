"""The schedule of a chaos run: decided by its seed alone, and every kind of fault comes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import pytest

from tests.faults.chaos.faults import KILLED_IN_SWEEP
from tests.faults.chaos.kubernetes.faults import KUBERNETES_FAULTS
from tests.faults.chaos.kubernetes.namespaces import NAMESPACES_FAULTS
from tests.faults.chaos.publishing.faults import PUBLISHING_FAULTS
from tests.faults.chaos.schedule import Kind, Step, Target, episodes, kind, may_hold_both
from tests.faults.chaos.zookeeper.faults import ZOOKEEPER_FAULTS

DECKS = {
    "zookeeper": list(ZOOKEEPER_FAULTS),
    "kubernetes": list(KUBERNETES_FAULTS),
    "namespaces": list(NAMESPACES_FAULTS),
    "publishing": list(PUBLISHING_FAULTS),
}

decks = pytest.mark.parametrize("kinds", DECKS.values(), ids=DECKS.keys())


def steps_of(seed: int, kinds: Sequence[Kind], count: int) -> list[Step]:
    return [step for episode in islice(episodes(seed, kinds), count) for step in episode.steps]


@decks
def test_the_same_seed_gives_the_same_faults(kinds: Sequence[Kind]) -> None:
    assert list(islice(episodes(7, kinds), 50)) == list(islice(episodes(7, kinds), 50))


@decks
def test_another_seed_gives_other_faults(kinds: Sequence[Kind]) -> None:
    assert steps_of(7, kinds, 5) != steps_of(8, kinds, 5)


@decks
@pytest.mark.parametrize("seed", range(20))
def test_every_kind_comes_once_before_any_comes_again(seed: int, kinds: Sequence[Kind]) -> None:
    dealt = [kind for step in steps_of(seed, kinds, 40) for kind in step.kinds]
    for start in range(0, len(dealt) - len(kinds), len(kinds)):
        assert set(dealt[start : start + len(kinds)]) == set(kinds)


@decks
def test_two_faults_at_once_never_hold_the_same_thing(kinds: Sequence[Kind]) -> None:
    pairs = [step.kinds for seed in range(20) for step in steps_of(seed, kinds, 40) if step.within is not None]
    assert pairs
    assert not any(outer.holds & inner.holds for outer, inner in pairs)


@decks
def test_every_kind_holds_something_and_has_words_of_its_own(kinds: Sequence[Kind]) -> None:
    assert all(kind.holds for kind in kinds)
    assert len({str(kind) for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("target", [Target.SOURCE, Target.SOURCE_LINK, Target.SINK_LINK, Target.SERVICE])
def test_a_fault_that_changes_the_source_is_not_drawn_while_that_is_away(target: Target) -> None:
    assert not may_hold_both(kind("away", target), KILLED_IN_SWEEP)


def test_two_faults_of_different_things_may_come_at_once() -> None:
    assert may_hold_both(kind("stalled", Target.SOURCE_LINK), kind("killed", Target.SINK))
    assert may_hold_both(kind("killed", Target.SINK), KILLED_IN_SWEEP)
