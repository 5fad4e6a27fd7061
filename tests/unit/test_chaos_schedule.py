"""The schedule of a chaos run: decided by its seed alone, and every kind of fault comes."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.faults.chaos.schedule import TARGETS, Kind, Step, Target, episodes, may_hold_both


def steps_of(seed: int, count: int) -> list[Step]:
    return [step for episode in islice(episodes(seed), count) for step in episode.steps]


def test_the_same_seed_gives_the_same_faults() -> None:
    assert list(islice(episodes(7), 50)) == list(islice(episodes(7), 50))


def test_another_seed_gives_other_faults() -> None:
    assert steps_of(7, 5) != steps_of(8, 5)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_comes_once_before_any_comes_again(seed: int) -> None:
    dealt = [kind for step in steps_of(seed, 40) for kind in step.kinds]
    for start in range(0, len(dealt) - len(Kind), len(Kind)):
        assert set(dealt[start : start + len(Kind)]) == set(Kind)


def test_two_faults_at_once_never_hold_the_same_thing() -> None:
    pairs = [step.kinds for seed in range(20) for step in steps_of(seed, 40) if step.within is not None]
    assert pairs
    assert all(TARGETS[outer] is not TARGETS[inner] for outer, inner in pairs)


def test_a_fault_that_writes_to_the_tree_is_not_drawn_while_zookeeper_is_away() -> None:
    away = [kind for kind in Kind if TARGETS[kind] is Target.ZOOKEEPER]
    assert not any(may_hold_both(kind, Kind.KILLED_IN_SWEEP) for kind in away)
    assert may_hold_both(Kind.ZK_STALLED, Kind.MONGO_KILLED)
