"""Changed keys wait, coalesce, leave in order and come back: what a `DirtySet` owes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hybridsync.dirty import DirtySet
from hybridsync.model import Dirty


def keys(taken: list[Dirty]) -> list[str]:
    return [key for key, _ in taken]


def marked(*names: str, limit: int = 100) -> DirtySet:
    dirty = DirtySet(limit)
    for name in names:
        dirty.mark(name)
    return dirty


def test_a_key_that_changes_a_hundred_times_is_one_entry_in_its_first_place() -> None:
    dirty = marked("a", "b", *["a"] * 100, "c")

    assert len(dirty) == 3
    assert keys(dirty.take(10)) == ["a", "b", "c"]


def test_the_newest_hint_wins() -> None:
    dirty = DirtySet()
    dirty.mark("a", "old")
    dirty.mark("a", "new")

    assert dirty.take(1) == [Dirty("a", "new")]


def test_what_is_taken_is_still_owed_until_it_is_acknowledged() -> None:
    dirty = marked("a", "b", "c")

    assert keys(dirty.take(2)) == ["a", "b"]
    assert (len(dirty), dirty.waiting) == (3, 1)
    dirty.acknowledge()
    assert (len(dirty), dirty.waiting) == (1, 1)


def test_a_key_that_changes_while_it_is_being_written_is_written_again() -> None:
    dirty = marked("a")
    dirty.take(1)
    dirty.mark("a", "again")
    dirty.acknowledge()

    assert dirty.take(1) == [Dirty("a", "again")]


def test_what_comes_back_keeps_its_place_and_takes_the_newest_hint() -> None:
    dirty = DirtySet()
    for key in ("a", "b", "c"):
        dirty.mark(key, "old")
    dirty.take(2)
    dirty.mark("d", "old")
    dirty.mark("b", "new")
    dirty.give_back()

    assert dirty.take(10) == [Dirty("a", "old"), Dirty("b", "new"), Dirty("c", "old"), Dirty("d", "old")]


def test_a_marker_is_settled_once_all_before_it_is_acknowledged_and_not_later_ones() -> None:
    dirty = marked("a", "b")
    marker = dirty.marker()
    dirty.mark("c")

    dirty.take(1)
    assert not dirty.is_settled(marker)
    dirty.acknowledge()
    assert not dirty.is_settled(marker), "b is still waiting"
    dirty.take(1)
    assert not dirty.is_settled(marker), "b is taken but not written"
    dirty.acknowledge()
    assert dirty.is_settled(marker), "only c came later"


def test_a_key_that_came_back_unsettles_what_it_was_part_of() -> None:
    dirty = marked("a")
    marker = dirty.marker()
    dirty.take(1)
    dirty.mark("a")
    dirty.give_back()

    assert not dirty.is_settled(marker)


def test_a_change_of_a_waiting_key_after_the_marker_does_not_hold_the_marker_up_for_ever() -> None:
    dirty = marked("a")
    marker = dirty.marker()
    dirty.take(1)
    dirty.mark("a")
    dirty.acknowledge()

    assert dirty.is_settled(marker)
    assert not dirty.is_settled(dirty.marker())


def test_past_the_limit_everything_becomes_one_flag_and_nothing_is_settled() -> None:
    dirty = marked("a", "b", "c", limit=2)

    assert dirty.overflowed
    assert dirty.waiting == 0
    assert not dirty.is_settled(0)
    dirty.mark("d")
    assert dirty.take(10) == []


def test_a_known_key_does_not_overflow_a_full_set() -> None:
    assert not marked("a", "b", "a", "b", limit=2).overflowed


def test_after_clear_it_starts_anew() -> None:
    dirty = marked("a", "b", "c", limit=2)
    dirty.clear()
    assert dirty.is_settled(dirty.marker())
    dirty.mark("d")

    assert not dirty.overflowed
    assert keys(dirty.take(10)) == ["d"]


def test_it_wakes_for_what_is_new_and_for_what_came_back_only() -> None:
    woken: list[str] = []
    dirty = DirtySet(2, lambda: woken.append("!"))
    dirty.mark("a")
    dirty.mark("a")
    assert len(woken) == 1
    dirty.take(1)
    dirty.give_back()
    assert len(woken) == 2
    dirty.mark("b")
    dirty.mark("c")
    assert len(woken) == 4, "the overflow itself is news"
    dirty.mark("d")
    assert len(woken) == 4


steps = st.lists(
    st.one_of(
        st.tuples(st.just("mark"), st.sampled_from("abcdef")),
        st.tuples(st.just("take"), st.integers(1, 4)),
        st.tuples(st.sampled_from(["written", "failed", "clear", "marker"]), st.none()),
    ),
    max_size=60,
)


@given(steps=steps, limit=st.integers(1, 8))
def test_nothing_is_forgotten_and_no_marker_settles_early(steps: list[tuple[str, object]], limit: int) -> None:
    """Against a model that numbers every single mark and remembers which of them the sink has seen."""
    dirty = DirtySet(limit)
    marks = 0
    unwritten: dict[str, list[int]] = {}
    taken: list[str] = []
    at_take = 0
    markers: list[tuple[int, int]] = []
    for step, value in steps:
        if step == "mark":
            assert isinstance(value, str)
            unwritten.setdefault(value, []).append(marks)
            marks += 1
            dirty.mark(value, marks)
        elif step == "take" and not taken:
            assert isinstance(value, int)
            taken, at_take = keys(dirty.take(value)), marks
        elif step == "written":
            dirty.acknowledge()
            for key in taken:
                unwritten[key] = [mark for mark in unwritten[key] if mark >= at_take]
            taken = []
        elif step == "failed":
            dirty.give_back()
            taken = []
        elif step == "clear":
            dirty.clear()
            unwritten, taken, markers = {}, [], []
        elif step == "marker":
            markers.append((marks, dirty.marker()))
        owed = {key for key, when in unwritten.items() if when}
        if not dirty.overflowed:
            assert len(dirty) >= len(owed)
            assert dirty.waiting <= limit + 4
        for when, marker in markers:
            outstanding = any(mark < when for each in unwritten.values() for mark in each)
            if outstanding:
                assert not dirty.is_settled(marker)
            elif not dirty.overflowed:
                assert dirty.is_settled(marker)
    if not dirty.overflowed:
        dirty.give_back()
        rest = dirty.take(100)
        assert set(keys(rest)) == {key for key, when in unwritten.items() if when}
        assert all(hint == unwritten[key][-1] + 1 for key, hint in rest)
