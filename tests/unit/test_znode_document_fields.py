"""The fields around the value: ids, parents, stat."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions
from bson.int64 import Int64

from hybridsync.sinks.znode_document import encode_plain, parent_of, same_content
from tests.mirror_records import SYNCED_AT, SYNCED_MS, document_of, znode

AWARE: CodecOptions[Mapping[str, Any]] = CodecOptions(tz_aware=True, tzinfo=UTC)


def test_a_document_has_the_fields_of_the_contract_in_their_types() -> None:
    record = znode("/services/user/10.0.0.1:6000", b"hello", mzxid=1 << 40, czxid=5, ephemeral_owner=-(1 << 62))
    document = bson.decode(document_of(record, "/services"), AWARE)
    assert document == {
        "_id": "/services/user/10.0.0.1:6000",
        "parent": "/services/user",
        "name": "10.0.0.1:6000",
        "value": "hello",
        "encoding": "utf8",
        "version": 1 << 40,
        "stat": {
            "czxid": 5,
            "mzxid": 1 << 40,
            "ctime": datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC),
            "mtime": datetime(2023, 11, 14, 22, 13, 20, 456000, tzinfo=UTC),
            "version": 3,
            "ephemeralOwner": -(1 << 62),
            "dataLength": 5,
        },
        "syncedAt": SYNCED_AT,
    }
    stat = document["stat"]
    for number in (document["version"], stat["czxid"], stat["mzxid"], stat["ephemeralOwner"]):
        assert type(number) is Int64
    assert type(stat["version"]) is int
    assert type(stat["dataLength"]) is int


def test_the_bytes_are_those_that_bson_itself_would_write() -> None:
    raw = document_of(znode("/a/b", b'{"x": [1, 2.5, "y"]}'), "/a")
    assert bson.encode(bson.decode(raw, AWARE)) == raw


@pytest.mark.parametrize(
    ("key", "root", "parent"),
    [
        ("/services", "/services", None),
        ("/services/a", "/services", "/services"),
        ("/deep/services", "/deep/services", None),
        ("/", "/", None),
        ("/a", "/", "/"),
        ("/a/b", "/", "/a"),
    ],
)
def test_the_parent_is_null_on_the_mirrored_root_alone(key: str, root: str, parent: str | None) -> None:
    assert parent_of(key, root) == parent
    assert bson.decode(document_of(znode(key), root))["parent"] == parent


@pytest.mark.parametrize(
    ("key", "name"), [("/", "/"), ("/a", "a"), ("/a/.hidden", ".hidden"), ("/a/a b", "a b"), ("/a/ü€😀", "ü€😀")]
)
def test_odd_names_are_kept(key: str, name: str) -> None:
    document = bson.decode(document_of(znode(key), "/"))
    assert (document["_id"], document["name"]) == (key, name)


def test_only_the_time_of_the_sync_may_differ_between_equal_documents() -> None:
    record = znode("/a", b"[1]")
    stored = document_of(record, "/a")
    later = SYNCED_MS + 1_000_000
    assert same_content(stored, document_of(record, "/a", later))
    assert not same_content(stored, document_of(znode("/a", b"[2]"), "/a", later))
    assert not same_content(stored, document_of(znode("/a", b"[1]", mzxid=101), "/a", later))
    assert not same_content(stored, document_of(record, "/", later))
    assert not same_content(stored, encode_plain(record, "/a", later, "utf8"))
