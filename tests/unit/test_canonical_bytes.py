"""Equal objects have equal bytes, and the version of a record is that of its bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridsync.canonical import canonical_json, content_version

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
OBJECTS = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=10)


@given(st.dictionaries(TEXT, OBJECTS), st.randoms())
def test_the_order_of_fields_makes_no_difference(content: dict[str, Any], order: Any) -> None:
    shuffled = list(content.items())
    order.shuffle(shuffled)
    assert canonical_json(dict(shuffled)) == canonical_json(content)


@given(OBJECTS)
def test_the_bytes_say_everything(content: Any) -> None:
    assert json.loads(canonical_json(content)) == content


def test_bytes_are_without_blanks_and_escapes() -> None:
    assert (
        canonical_json({"b": [1, 2.5, None, True], "a": "zürich 😀"})
        == '{"a":"zürich 😀","b":[1,2.5,null,true]}'.encode()
    )


@pytest.mark.parametrize("content", [float("nan"), {"a": float("inf")}, ["\ud83d"]])
def test_what_json_cannot_hold_is_refused(content: Any) -> None:
    with pytest.raises(ValueError, match=r"not JSON compliant|surrogates not allowed"):
        canonical_json(content)


def test_the_version_of_given_bytes_stays_what_it_was_in_earlier_releases() -> None:
    assert content_version(b"{}") == 0x2AFB9B83F9314E5D029766197F539792
