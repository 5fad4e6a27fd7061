"""When the pages of a listing come to no end, and what it costs to know."""

from __future__ import annotations

from typing import Any

import pytest

from hybridsync.errors import ListingFailed
from hybridsync.sources.kube_progress import EMPTY_PAGES, SPARE_REPEATS, Progress


def items(first: int, count: int) -> list[dict[str, Any]]:
    return [{"metadata": {"namespace": "prod", "name": f"web-{number}"}} for number in range(first, first + count)]


def kept(progress: Progress) -> int:
    return len(progress._keys) + len(progress._tokens)


def test_a_listing_of_one_page_keeps_nothing() -> None:
    progress = Progress("it")
    progress.page(items(0, 500), "")
    assert kept(progress) == 0


@pytest.mark.parametrize("pages", [4, 40])
def test_a_longer_one_keeps_a_number_for_each_key_and_each_page(pages: int) -> None:
    progress = Progress("it")
    for page in range(pages):
        progress.page(items(page * 500, 500), f"token-{page}" if page + 1 < pages else "")
    assert kept(progress) == pages * 500 + pages - 1


def test_a_token_that_comes_twice_ends_it() -> None:
    progress = Progress("it")
    progress.page(items(0, 5), "a")
    progress.page(items(5, 5), "b")
    with pytest.raises(ListingFailed, match="it: the server gave a continue token twice"):
        progress.page(items(10, 5), "a")


def test_a_page_that_brings_nothing_new_ends_it_unless_it_is_the_last() -> None:
    progress = Progress("it")
    progress.page(items(0, 5), "a")
    progress.page(items(0, 5), "")
    progress = Progress("it")
    progress.page(items(0, 5), "a")
    with pytest.raises(ListingFailed, match="only what was there before"):
        progress.page(items(0, 5), "b")


def test_pages_that_bring_one_new_key_each_end_too_and_what_is_kept_has_a_bound() -> None:
    progress = Progress("it")
    pages = 0
    with pytest.raises(ListingFailed, match="bring nothing new any more"):  # noqa: PT012
        for pages in range(10_000):
            progress.page([*items(0, 499), *items(1000 + pages, 1)], f"token-{pages}")
    assert pages <= 5
    assert kept(progress) < 499 + SPARE_REPEATS


def test_objects_that_move_between_pages_of_several_moments_do_not_end_it() -> None:
    progress = Progress("it")
    for page in range(100):
        progress.page([*items(page * 450, 500)], f"token-{page}")


def test_empty_pages_end_in_time() -> None:
    progress = Progress("it")
    with pytest.raises(ListingFailed):  # noqa: PT012
        for number in range(2 * EMPTY_PAGES):
            progress.page(items(0, 1) if not number else [], f"{number}")


def test_tokens_that_are_too_old_at_once_end_in_time() -> None:
    progress = Progress("it")
    with pytest.raises(ListingFailed):  # noqa: PT012
        for number in range(2 * EMPTY_PAGES):
            progress.expired(f"{number}")
