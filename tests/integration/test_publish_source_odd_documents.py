"""Whatever a document holds, it stops no other: each BSON type as `_id`, as key and as content, on a real MongoDB."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Int64
from bson.codec_options import CodecOptions
from bson.datetime_ms import DatetimeMS
from pymongo.collection import Collection
from pymongo.database import Database

from tests.odd_documents import EVERY_TYPE, NO_IDS, ON, element, insert, key, of_id
from tests.publish_source import a_source, following

Docs = Collection[dict[str, Any]]

MODES: dict[str, dict[str, Any]] = {"change-stream": {}, "polling": {"poll_seconds": 0.05}}

IDS = [name for name in EVERY_TYPE if name not in NO_IDS]
NO_JSON = {
    "not a number",
    "text that is no UTF-8",
    "surrogate",
    "document with a name twice",
    "old binary of a wrong length",
    "regex",
    "regex that Python refuses",
    "DBPointer",
    "code",
    "code with scope",
    "timestamp",
    "max key",
    "min key",
}
SPOILT = ["document with a name twice", "old binary of a wrong length", "surrogate", "text that is no UTF-8"]
"""As an `_id`, too: a document is published only if all of it can be decoded."""

TEXTS = {"text": "plain", "text with NUL": "a\0b", "symbol": "sym"}


@pytest.fixture
def docs(mongo_database: Database[dict[str, Any]]) -> Docs:
    return mongo_database["channels"]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    return MODES[request.param]


async def test_documents_with_any_id_are_listed_followed_changed_and_deleted(
    docs: Docs, mongo_uri: str, mode: dict[str, Any]
) -> None:
    for name in IDS[::2]:
        insert(docs, element("_id", EVERY_TYPE[name]), key(name), ON)
    async with a_source(mongo_uri, **mode) as source, following(source) as seen:
        assert set(seen.held) == set(IDS[::2]) - set(SPOILT)
        for name in IDS[1::2]:
            insert(docs, element("_id", EVERY_TYPE[name]), key(name), ON)
        await seen.settle()
        assert set(seen.held) == set(IDS) - set(SPOILT)
        assert sorted(source.invalid) == SPOILT

        docs.update_many({}, {"$set": {"v": 1}})
        await seen.settle()
        assert seen.held == {name: b'{"key":"%s","v":1}' % name.encode() for name in set(IDS) - set(SPOILT)}
        assert sorted(source.invalid) == SPOILT

        for name in IDS:
            assert docs.delete_one(of_id(EVERY_TYPE[name])).deleted_count == 1
        await seen.settle()
        assert seen.held == {}
        assert dict(source.invalid) == {}


async def test_documents_with_any_id_and_no_key_are_all_named_until_they_are_put_right(
    docs: Docs, mongo_uri: str, mode: dict[str, Any]
) -> None:
    for name in IDS[::2]:
        insert(docs, element("_id", EVERY_TYPE[name]), ON)
    async with a_source(mongo_uri, **mode) as source, following(source) as seen:
        assert len(source.invalid) == len(set(source.invalid)) == len(IDS[::2])
        for name in IDS[1::2]:
            insert(docs, element("_id", EVERY_TYPE[name]), ON)
        insert(docs, key("fine"), ON)
        await seen.settle()
        assert len(source.invalid) == len(set(source.invalid)) == len(IDS)
        assert set(seen.held) == {"fine"}

        for number, name in enumerate(IDS):
            if number % 3 == 0 or name in SPOILT:
                docs.delete_one(of_id(EVERY_TYPE[name]))
            else:
                docs.update_one(of_id(EVERY_TYPE[name]), {"$set": {"on": False} if number % 3 == 1 else {"key": name}})
        await seen.settle()
        assert dict(source.invalid) == {}
        assert set(seen.held) == {"fine", *IDS[2::3]} - set(SPOILT)


async def test_any_value_as_the_key_makes_at_most_its_own_document_invalid(
    docs: Docs, mongo_uri: str, mode: dict[str, Any]
) -> None:
    odd = [name for name in EVERY_TYPE if name not in TEXTS]
    async with a_source(mongo_uri, **mode) as source, following(source) as seen:
        for number, name in enumerate(EVERY_TYPE):
            insert(docs, element("_id", (0x10, number.to_bytes(4, "little"))), element("key", EVERY_TYPE[name]), ON)
        docs.insert_one({"key": "fine", "on": True})
        await seen.settle()
        assert set(seen.held) == {"fine", *TEXTS.values()}
        assert len(source.invalid) == len(odd)
        await seen.sync()
        assert set(seen.held) == {"fine", *TEXTS.values()}
        assert len(source.invalid) == len(odd)

        docs.delete_many({"key": {"$ne": "fine"}})
        await seen.settle()
        await seen.sync()
        assert dict(source.invalid) == {}
        assert set(seen.held) == {"fine"}


async def test_any_value_in_the_switch_makes_at_most_its_own_document_invalid(
    docs: Docs, mongo_uri: str, mode: dict[str, Any]
) -> None:
    async with a_source(mongo_uri, **mode) as source, following(source) as seen:
        for name, value in EVERY_TYPE.items():
            insert(docs, key(name), element("on", value))
        docs.insert_one({"key": "fine", "on": True})
        await seen.settle()
        by_events, invalid = set(seen.held), dict(source.invalid)
        await seen.sync()
        assert set(seen.held) == by_events
        assert dict(source.invalid) == invalid
        assert by_events >= {"fine", "boolean", "double", "decimal", "32-bit integer", "64-bit integer"}
        assert not by_events & {"null", "undefined", "array"}
        assert not invalid.keys() & {"null", "undefined", "array"}


async def test_any_value_as_content_is_published_or_its_document_is_invalid(
    docs: Docs, mongo_uri: str, mode: dict[str, Any]
) -> None:
    async with a_source(mongo_uri, **mode) as source, following(source) as seen:
        for name, value in EVERY_TYPE.items():
            insert(docs, key(name), ON, element("v", value))
        await seen.settle()
        for _ in range(2):
            assert set(source.invalid) == NO_JSON
            assert set(seen.held) == EVERY_TYPE.keys() - NO_JSON
            await seen.sync()
        docs.update_many({}, {"$set": {"v": 1}})
        await seen.settle()
        assert dict(source.invalid) == {}
        assert set(seen.held) == EVERY_TYPE.keys()


async def test_a_field_that_is_there_twice_makes_a_document_invalid_and_not_ambiguous(
    docs: Docs, mongo_uri: str, mode: dict[str, Any]
) -> None:
    async with a_source(mongo_uri, **mode) as source, following(source) as seen:
        insert(docs, key("one"), ON, element("v", (0x10, b"\1\0\0\0")), element("v", (0x10, b"\2\0\0\0")))
        await seen.settle()
        assert dict(source.invalid) == {"one": "v: is there twice"}
        assert seen.held == {}


async def test_several_documents_with_one_key_are_told_whatever_their_ids(
    docs: Docs, mongo_uri: str, mode: dict[str, Any]
) -> None:
    odd: Docs = docs.with_options(CodecOptions())
    odd.insert_many([{"_id": DatetimeMS(2**60 + number), "key": "one", "on": True} for number in range(3)])
    insert(docs, element("_id", EVERY_TYPE["text that is no UTF-8"]), key("one"), ON)
    docs.insert_one({"key": "fine", "on": True})
    async with a_source(mongo_uri, **mode) as source, following(source) as seen:
        assert set(seen.held) == {"fine"}
        assert source.invalid["one"].startswith("4 documents have this key: ")
        odd.update_one({"_id": DatetimeMS(2**60)}, {"$set": {"v": Int64(1)}})
        await seen.settle()
        assert source.invalid["one"].startswith("4 documents have this key: ")


async def test_a_key_of_five_megabytes_is_in_no_reason_and_in_no_line_of_the_log(
    docs: Docs, mongo_uri: str, mode: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    async with a_source(mongo_uri, **mode) as source, following(source) as seen:
        docs.insert_one({"_id": "y" * 1_000_000, "on": True})
        docs.insert_one({"_id": 1, "key": "x" * 5_000_000, "on": True})
        docs.insert_one({"_id": 2, "key": "z" * 10_000, "on": True, "v": float("nan")})
        docs.insert_one({"key": "fine", "on": True})
        await seen.settle()
        await seen.sync()
        docs.delete_one({"_id": 2})
        await seen.settle()
        assert set(seen.held) == {"fine"}
        names = set(source.invalid)
        assert len(names) == 2
        assert source.invalid["_id 1"] == "key: the key must have at most 1048576 characters"
        assert all(len(name) < 300 and len(why) < 300 for name, why in source.invalid.items())
    told = capfd.readouterr()
    assert len(told.out) + len(told.err) < 10_000
