"""What the sink remembers of its znodes: it may know, know that nothing is there, or know nothing."""

from __future__ import annotations

from hybridsync.model import ANY
from hybridsync.sinks.published import Published


def listed(**found: int) -> Published:
    published = Published()
    listing = published.listing_begins()
    published.listing_ended(listing, found, [])
    return published


def test_before_anything_was_listed_nothing_is_known() -> None:
    assert Published().of("a") == ANY


def test_after_a_listing_what_is_not_in_it_is_known_to_be_absent() -> None:
    published = listed(a=1)
    assert published.of("a") == 1
    assert published.of("b") is None


def test_a_key_is_in_doubt_from_the_sending_to_the_answer() -> None:
    published = listed(a=1)
    published.doubt(["a", "b"])
    assert (published.of("a"), published.of("b")) == (ANY, ANY)
    published.learn("a", 2)
    published.learn("b", None)
    assert (published.of("a"), published.of("b")) == (2, None)


def test_what_is_learnt_during_a_listing_is_newer_than_the_listing() -> None:
    published = listed(a=1, b=1, c=1)
    listing = published.listing_begins()
    published.learn("a", 2)
    published.learn("b", None)
    published.doubt(["c"])
    published.listing_ended(listing, {"a": 1, "b": 1, "c": 1, "d": 1}, [])
    assert [published.of(key) for key in "abcd"] == [2, None, ANY, 1]


def test_what_could_not_be_read_is_not_known_after_a_listing() -> None:
    published = listed(a=1)
    listing = published.listing_begins()
    published.listing_ended(listing, {}, ["a"])
    assert published.of("a") == ANY


def test_a_listing_in_which_everything_became_doubtful_tells_nothing() -> None:
    published = listed(a=1)
    listing = published.listing_begins()
    published.forget()
    published.listing_ended(listing, {"a": 1}, [])
    assert published.of("a") == ANY
    assert published.of("b") == ANY


def test_of_two_listings_at_once_each_gives_way_to_what_was_learnt_since_it_began() -> None:
    published = listed(a=1, b=1)
    first = published.listing_begins()
    published.learn("a", 2)
    second = published.listing_begins()
    published.learn("b", 2)
    published.listing_ended(first, {"a": 1, "b": 1}, [])
    assert (published.of("a"), published.of("b")) == (2, 2)
    published.listing_ended(second, {"a": 3, "b": 1}, [])
    assert (published.of("a"), published.of("b")) == (3, 2)
