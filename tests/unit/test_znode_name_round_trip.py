"""Any key has a legal znode name of its own, and the name leads back to the key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridsync.sinks.znode_name import decode, encode, is_legal

TRICKY = st.sampled_from(
    ["%", "/", ".", "..", "%2E", "%2F", "\0", "\x1f", "\x7f", "\x9f", "é", "日", "\ue000", "\ufff0"]
)
KEYS = st.one_of(
    st.text(),
    st.text(st.characters()),  # also halves of surrogate pairs
    st.lists(st.one_of(TRICKY, st.text(max_size=2))).map("".join),
    st.sampled_from(["", "zookeeper", "%", "%%", "%7Aookeeper", "%2e"]),
)


def accepted_by_zookeeper(name: str) -> bool:
    """The rules of `PathUtils.validatePath` of ZooKeeper 3.8, for one component, over UTF-16 units."""
    raw = name.encode("utf-16-be", "surrogatepass")
    units = [int.from_bytes(raw[at : at + 2]) for at in range(0, len(raw), 2)]
    refused = any(
        unit <= 0x1F or 0x7F <= unit <= 0x9F or 0xD800 <= unit <= 0xF8FF or unit >= 0xFFF0 or unit == ord("/")
        for unit in units
    )
    return bool(units) and not refused and name not in (".", "..")


@given(KEYS, st.booleans())
def test_the_name_of_a_key_is_legal_and_leads_back_to_it(key: str, at_root: bool) -> None:
    name = encode(key, at_root=at_root)
    assert accepted_by_zookeeper(name)
    assert is_legal(name)
    assert not at_root or name != "zookeeper"
    assert decode(name, at_root=at_root) == key


@given(KEYS, KEYS, st.booleans())
def test_two_keys_never_share_a_name(one: str, other: str, at_root: bool) -> None:
    assert (encode(one, at_root=at_root) == encode(other, at_root=at_root)) == (one == other)


@given(KEYS, st.booleans())
def test_whatever_has_a_key_is_the_name_of_that_key(name: str, at_root: bool) -> None:
    key = decode(name, at_root=at_root)
    assert key is None or encode(key, at_root=at_root) == name


@given(KEYS)
def test_a_legal_name_is_what_zookeeper_accepts(name: str) -> None:
    assert is_legal(name) == accepted_by_zookeeper(name)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("channel-1", "channel-1"),
        ("eu/berlin", "eu%2Fberlin"),
        ("100%", "100%25"),
        ("", "%"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("...", "..."),
        ("a\nb", "a%0Ab"),
        ("zürich 日本", "zürich 日本"),
        ("\U0001f600", "%F0%9F%98%80"),
        ("\ud83d", "%ED%A0%BD"),
        ("zookeeper", "zookeeper"),
    ],
)
def test_names_as_the_manual_shows_them(key: str, name: str) -> None:
    assert encode(key) == name
    assert decode(name) == key


@pytest.mark.parametrize("name", ["%2f", "a%", "%zz", "%41", "", ".", "..", "%FF", "%25%", "a/b", "%7Aookeeper"])
def test_a_name_that_no_key_has_is_foreign(name: str) -> None:
    assert decode(name) is None


def test_the_znode_of_zookeeper_itself_is_never_a_keys() -> None:
    assert decode("zookeeper", at_root=True) is None
    assert encode("zookeeper", at_root=True) == "%7Aookeeper"
