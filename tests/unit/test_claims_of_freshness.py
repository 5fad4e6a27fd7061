"""What may be said of a mirror: `confirmedAt` and `gapSince` follow proof and nothing else."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from hybridsync.clock import Instant
from hybridsync.dirty import DirtySet
from hybridsync.freshness import Freshness
from tests.unit.engine import NOON


def at(second: float) -> Instant:
    return Instant(second, second, NOON + timedelta(seconds=second))


def level(moment: float = 0) -> Freshness:
    """No gap, and proven up to `moment`."""
    freshness = Freshness(at(moment))
    freshness.close_gap(at(moment))
    return freshness


def test_at_the_start_nothing_is_confirmed_and_the_gap_is_what_was_known_to_be_missed() -> None:
    freshness = Freshness(at(-100))

    assert freshness.confirmed is None
    assert freshness.gap_since == at(-100)


def test_a_full_sync_confirms_the_moment_its_listing_began() -> None:
    freshness = Freshness(at(0))
    freshness.close_gap(at(5))

    assert (freshness.confirmed, freshness.gap_since) == (at(5), None)


def test_an_answer_confirms_the_moment_of_asking_once_all_before_it_is_written() -> None:
    freshness, dirty = level(), DirtySet()
    dirty.mark("a")
    freshness.answered(at(1), dirty.marker())
    dirty.mark("b")

    freshness.settle(dirty)
    assert freshness.confirmed == at(0)
    dirty.take(1)
    freshness.settle(dirty)
    assert freshness.confirmed == at(0)
    dirty.acknowledge()
    freshness.settle(dirty)
    assert freshness.confirmed == at(1)


def test_an_answer_that_waits_is_not_pushed_away_by_later_ones_under_a_steady_stream() -> None:
    freshness, dirty = level(), DirtySet()
    dirty.mark("a")
    freshness.answered(at(1), dirty.marker())
    dirty.take(1)
    dirty.mark("b")
    freshness.answered(at(2), dirty.marker())
    dirty.acknowledge()
    freshness.settle(dirty)

    assert freshness.confirmed == at(1)


def test_no_answer_confirms_anything_while_a_gap_is_open() -> None:
    freshness, dirty = Freshness(at(0)), DirtySet()
    freshness.answered(at(1), dirty.marker())
    freshness.settle(dirty)

    assert freshness.confirmed is None


def test_a_proof_asked_for_before_a_gap_never_confirms_after_it() -> None:
    freshness, dirty = level(0), DirtySet()
    dirty.mark("a")
    freshness.answered(at(9), dirty.marker())
    freshness.open_gap(at(10))
    dirty.clear()
    freshness.settle(dirty)
    assert freshness.confirmed == at(0)
    freshness.close_gap(at(5))
    freshness.settle(dirty)

    assert freshness.confirmed == at(5)


def test_a_gap_reaches_back_to_the_last_proof() -> None:
    freshness = level(3)
    freshness.open_gap(at(60))

    assert freshness.gap_since == at(3)


def test_a_gap_in_the_gap_does_not_move_its_beginning() -> None:
    freshness = level(3)
    freshness.open_gap(at(60))
    freshness.open_gap(at(90))

    assert freshness.gap_since == at(3)


def test_a_mirror_that_may_be_another_holds_nothing_that_is_known() -> None:
    freshness = level(10)
    freshness.position = "7"
    freshness.withdraw(at(20))

    assert freshness.confirmed is None
    assert freshness.gap_since == at(10)
    assert not freshness.position
    freshness.close_gap(at(15))
    assert freshness.confirmed == at(15)


def test_a_full_sync_that_began_before_the_last_proof_takes_nothing_back() -> None:
    freshness = level(10)
    freshness.close_gap(at(4))

    assert freshness.confirmed == at(10)


acts = st.sampled_from(["ask", "answer", "mark", "take", "write", "gap", "sync"])


@given(st.lists(acts, max_size=80))
def test_confirmed_never_moves_back_and_never_past_an_open_gap_or_an_unwritten_change(story: list[str]) -> None:
    freshness, dirty = Freshness(at(-1)), DirtySet()
    asked: Instant | None = None
    unwritten: list[float] = []
    taken = 0
    before = freshness.confirmed
    for second, act in enumerate(story):
        if act == "ask":
            asked = at(second)
        elif act == "answer" and asked is not None:
            freshness.answered(asked, dirty.marker())
            asked = None
        elif act == "mark":
            unwritten.append(second)
            dirty.mark(f"k{second}")
        elif act == "take" and not taken:
            taken = len(dirty.take(2))
        elif act == "write":
            dirty.acknowledge()
            unwritten, taken = unwritten[taken:], 0
        elif act == "gap":
            freshness.open_gap(at(second))
            asked = None  # the connection is gone, and the question with it
        elif act == "sync":
            freshness.close_gap(at(second))
        freshness.settle(dirty)
        now = freshness.confirmed
        assert before is None or (now is not None and now >= before)
        if freshness.gap_since is not None:
            assert now == before
            assert freshness.gap_since <= at(second)
        elif now is not None and now != before and act != "sync":
            assert all(at(change) >= now for change in unwritten)
        before = now
