"""What is remembered of many znodes costs as much as it holds, no more: looks at keys are counted at two sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hybridsync.sinks.published import Published
from hybridsync.sources.hidden import LOOK_AT, Hidden


class Key(str):
    """Counts how often a key is looked up or compared."""

    looks = 0

    def __hash__(self) -> int:
        Key.looks += 1
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        Key.looks += 1
        return str.__eq__(self, other)


def keys(count: int) -> list[str]:
    return [Key(f"/tree/{number}") for number in range(count)]


def listed(count: int) -> None:
    hidden = Hidden()
    for _ in range(3):
        hidden.listing_begins()
        for root in keys(count):
            hidden.note(root, "no READ", again=True)
        hidden.listing_ended(keys(count), "no READ", {})
    assert len(hidden.live) == count


def opened_one_by_one(count: int) -> None:
    hidden = Hidden()
    hidden.listing_begins()
    hidden.listing_ended(keys(count), "no READ", {})
    for root in keys(count):
        assert hidden.seen(root)
        hidden.next_turn() if int(root[6:]) % LOOK_AT == 0 else None
    assert not hidden.live


def published(count: int) -> None:
    memory = Published()
    for _ in range(3):
        listing = memory.listing_begins()
        memory.doubt(keys(count))
        for key in keys(count):
            memory.learn(key, 1)
        memory.listing_ended(listing, dict.fromkeys(keys(count), 2), keys(count))
        memory.listing_dropped(listing)


@pytest.mark.parametrize("work", [listed, opened_one_by_one, published])
def test_four_times_as_many_keys_are_four_times_the_work(work: Callable[[int], None]) -> None:
    cost: list[int] = []
    for count in (2_000, 8_000):
        Key.looks = 0
        work(count)
        cost.append(Key.looks)
    assert 0 < cost[1] < 6 * cost[0]


def test_a_look_takes_a_bounded_number_of_roots_and_all_have_their_turn() -> None:
    hidden = Hidden()
    roots = [f"/{number}" for number in range(2 * LOOK_AT + 1)]
    hidden.listing_begins()
    hidden.listing_ended(roots, "no READ", {"/long": "too long"})
    seen: set[str] = set()
    for _ in range(3):
        turn = hidden.next_turn()
        assert len(turn) <= LOOK_AT
        seen.update(turn)
    assert seen == set(roots), "what is too long does not change by itself"


def test_what_was_read_while_a_listing_was_under_way_is_newer_than_the_listing() -> None:
    hidden = Hidden()
    hidden.listing_begins()
    hidden.note("/closed", "no READ", again=True)
    hidden.seen("/opened")
    hidden.listing_ended(["/opened", "/other"], "no READ", {})
    assert set(hidden.live) == {"/closed", "/other"}
