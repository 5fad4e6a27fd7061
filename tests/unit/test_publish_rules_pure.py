"""What is published for a document, and what is said about one that cannot be: pure, on any document."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from hybridsync.sources.key_map import identity
from hybridsync.sources.publish_judge import by_key, judge
from hybridsync.sources.publish_rules import Invalid, PublishRules, Switch
from hybridsync.sources.publish_schema import PublishSchema
from hybridsync.sources.publish_values import NoJsonForm, to_json
from hybridsync.sources.raw_documents import any_of
from tests.service import ROOT

CHANNEL = PublishSchema((ROOT / "config/schemas/channel.schema.json").read_text())
RULES = PublishRules("channel_id", "is_enabled", {"account": "upstream_account"}, CHANNEL)
SECRET = "hunter2hunter2"

GOOD = {
    "channel_id": "one",
    "is_enabled": True,
    "path": "/live",
    "upstream_account": "operator",
    "password": SECRET,
    "port": 8080,
    "rate_limit": 10,
    "max_connection": 5,
    "default_encoding": 0,
}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner, max_size=3)
    ),
    max_leaves=8,
)
documents = st.dictionaries(
    st.sampled_from(sorted({*GOOD, "other", "account"})), values | st.sampled_from(list(GOOD.values())), max_size=9
)


@given(documents)
def test_a_document_is_published_exactly_when_nothing_is_said_against_it(document: dict[str, Any]) -> None:
    violations = RULES.violations(document)
    if violations:
        with pytest.raises(Invalid) as caught:
            RULES.publish(document)
        assert caught.value.problems == violations
    else:
        published = json.loads(RULES.publish(document))
        assert set(published) == set(CHANNEL.names)
        assert published["account"] == document["upstream_account"]


@given(
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=12, max_size=20),
    st.sampled_from(sorted(GOOD)),
)
def test_no_message_holds_a_value(value: str, field: str) -> None:
    for wrong in (value, [value], {"in": value}, Binary(value.encode())):
        assert value not in "; ".join(RULES.violations({**GOOD, field: wrong}))


@given(values)
def test_what_goes_through_mongodb_has_one_form_and_that_is_json(value: Any) -> None:
    stored = bson.decode(bson.encode({"value": value}))["value"]
    form = to_json(stored)
    assert json.loads(json.dumps(form)) == form
    assert to_json(form) == form, "published once more it is the same"


def test_each_type_that_json_has_not_has_its_form() -> None:
    moment = datetime(2026, 11, 20, 21, 0, 0, 5000, tzinfo=UTC)
    some_id = ObjectId()
    assert to_json(
        [moment, some_id, Int64(2**60), Decimal128("1.50"), b"\0\1", Binary(bytes(range(16)), 4), 8080.0, -0.0, 2.0**60]
    ) == [
        "2026-11-20T21:00:00.005Z",
        str(some_id),
        2**60,
        "1.50",
        "AAE=",
        "00010203-0405-0607-0809-0a0b0c0d0e0f",
        8080,
        0,
        2.0**60,
    ]
    assert type(to_json(8080.0)) is int


@pytest.mark.parametrize("value", [math.nan, math.inf, Regex("a"), Code("x"), MaxKey(), Timestamp(1, 1)])
def test_what_has_no_form_in_json_is_named_by_place_and_type(value: object) -> None:
    with pytest.raises(NoJsonForm, match=r"^a\.b\[1\]: "):
        to_json({"a": {"b": [1, value]}})


@pytest.mark.parametrize(
    ("value", "switch"),
    [
        *[(value, Switch.ON) for value in (True, 1, Int64(2), 0.5, Decimal128("1"))],
        *[(value, Switch.OFF) for value in (False, None, 0, 0.0, Int64(0), Decimal128("0.0"), [], [True])],
        *[(value, Switch.UNCLEAR) for value in ("true", "false", "", {}, {"on": True}, ObjectId())],
    ],
)
def test_only_true_and_numbers_switch_a_document_on(value: object, switch: Switch) -> None:
    assert RULES.switch(value) is switch


def test_without_a_switch_every_document_is_on() -> None:
    assert PublishRules("k").switch(None) is Switch.ON


def test_without_a_schema_a_renamed_field_is_published_under_its_new_name_only() -> None:
    rules = PublishRules("k", "on", {"a": "b", "id": "_id"})
    document = {"_id": 5, "k": "x", "on": True, "a": "hidden by b", "b": 1, "c": 2}
    assert json.loads(rules.publish(document)) == {"k": "x", "a": 1, "c": 2, "id": 5}


def test_the_bytes_are_canonical() -> None:
    first, second = dict(GOOD), dict(reversed(GOOD.items()))
    assert RULES.publish(first) == RULES.publish(second)
    assert RULES.publish({**GOOD, "port": 8080.0}) == RULES.publish(GOOD)
    assert b" " not in RULES.publish(GOOD)


def test_one_document_that_cannot_be_decoded_holds_up_no_other() -> None:
    broken = bson.encode({"_id": 1, **GOOD, "path": "XXXX"}).replace(b"XXXX", b"\xff\xfeab")
    piece = broken + bson.encode({"_id": 2, **GOOD, "channel_id": "two"})
    bad, good = judge(piece, RULES)
    assert (bad.key, bad.record) == ("one", None)
    assert "not UTF-8" in str(bad.problem)
    assert good.record is not None
    assert good.record.key == "two"


def test_of_several_documents_with_one_key_only_those_that_are_on_count() -> None:
    piece = b"".join(
        bson.encode({**GOOD, "_id": number, "channel_id": key, "is_enabled": enabled})
        for number, (key, enabled) in enumerate([("a", True), ("a", False), ("b", True), ("b", True), ("c", False)])
    )
    verdicts = {verdict.key: verdict for verdict in by_key(judge(piece, RULES))}
    assert set(verdicts) == {"a", "b"}
    assert verdicts["a"].record is not None
    assert verdicts["b"].problem == "2 documents have this key: _id 2, _id 3"


@given(scalars | st.dictionaries(st.sampled_from("abc"), scalars) | st.binary() | st.just(ObjectId()))
def test_any_id_can_be_remembered_and_asked_for_again(value: Any) -> None:
    asked = bson.decode(any_of([identity(value), identity(1)]).raw)["$in"]
    assert [identity(one) for one in asked] == [identity(value), identity(1)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "no properties"),
        ('{"properties": {}}', "no properties"),
        ('{"properties": {"a": {"type": "whole"}}}', "not a JSON Schema"),
        ('{"properties": {"a": {"pattern": "("}}}', "not a JSON Schema"),
        ('{"properties": {"a": {"$ref": "#/$defs/b"}}}', "not a JSON Schema"),
        ('{"properties": {"a": {"$ref": "http://example.com/x.json"}}}', "another document"),
        ('{"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"a": true}}', "not Draft 2020-12"),
    ],
)
def test_a_schema_that_cannot_be_used_is_explained(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        PublishSchema(text)


def test_a_rule_without_words_is_told_by_its_name_and_a_nested_place_by_its_path() -> None:
    schema = PublishSchema('{"properties": {"a": {"items": {"oneOf": [{"type": "string"}, {"minLength": 1}]}}}}')
    assert schema.violations({"a": [5, "x"]}) == ["a[1]: breaks the rule oneOf"]


def test_fields_and_schema_have_to_fit() -> None:
    with pytest.raises(ValueError, match="'user' is no property of the schema"):
        PublishRules("k", None, {"user": "u"}, CHANNEL)
    dotted = PublishSchema('{"properties": {"a.b": true}}')
    with pytest.raises(ValueError, match=r"'a\.b' cannot be a field"):
        PublishRules("k", None, {}, dotted)
    assert PublishRules("k", None, {"a.b": "ab"}, dotted).projection() == {"ab": 1, "k": 1}


@pytest.mark.parametrize("spoilt", ["\ud800", ["\udfff"], {"\ud800": 1}], ids=["text", "in a list", "name"])
def test_a_text_that_is_half_a_character_breaks_a_rule(spoilt: Any) -> None:
    assert PublishRules("key").violations({"key": "one", "v": spoilt}) == ["a text in it cannot be written as UTF-8"]


def test_a_problem_is_one_line_whatever_the_fields_are_called() -> None:
    with pytest.raises(Invalid) as told:
        PublishRules("key").publish({"key": "one", "a\nb" * 1000: math.nan})
    assert "\n" not in str(told.value)
    assert len(str(told.value)) <= 500


def test_a_text_of_another_type_is_no_key() -> None:
    assert PublishRules("key").violations({"key": Code("one")}) != []
    assert PublishRules("key").violations({"key": "x" * 2**20}) == []
    assert PublishRules("key").violations({"key": "x" * (2**20 + 1)}) == [
        "key: the key must have at most 1048576 characters"
    ]
