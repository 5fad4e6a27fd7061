"""What may overwrite or remove what: newer states win, in whichever order writes arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from bson.int64 import Int64
from pymongo.collection import Collection
from pymongo.database import Database

from hybridsync.model import ANY, Applied, Put, Remove
from hybridsync.sinks.codec import MALFORMED
from hybridsync.sinks.mongodb import MongoMirror
from tests.mirror_records import mirror, whole_index, znode


@pytest.fixture
async def sink(mongo_uri: str) -> AsyncIterator[MongoMirror]:
    async with mirror(mongo_uri) as sink:
        yield sink


@pytest.fixture
def stored(mongo_database: Database[dict[str, Any]]) -> Collection[dict[str, Any]]:
    return mongo_database["mirror"]


def values(stored: Collection[dict[str, Any]]) -> dict[str, Any]:
    return {document["_id"]: document["value"] for document in stored.find()}


MALFORMED_DOCUMENTS: list[dict[str, Any]] = [
    {},
    {"version": None},
    {"version": 5},
    {"version": 1e300},
    {"version": "newest"},
    {"version": [Int64(999_999)]},
    {"version": Int64(999_999)},
    {"version": Int64(999_999), "stat": 1},
    {"version": Int64(999_999), "stat": {"czxid": 5}},
    {"version": Int64(999_999), "stat": {"czxid": [Int64(5)]}},
    {"version": Int64(999_999), "stat": [{"czxid": Int64(5)}]},
]


async def test_an_empty_call_does_nothing(sink: MongoMirror) -> None:
    assert await sink.apply([]) == Applied()


async def test_a_new_record_is_inserted(sink: MongoMirror, stored: Collection[dict[str, Any]]) -> None:
    assert await sink.apply([Put(znode("/a/x"), None)]) == Applied(inserted=1)
    assert await sink.apply([Put(znode("/a/y"), ANY)]) == Applied(inserted=1)
    assert await sink.apply([Put(znode("/a/z"), znode("/a/z", mzxid=50).version)]) == Applied(inserted=1)
    assert values(stored) == {"/a/x": "text", "/a/y": "text", "/a/z": "text"}


@pytest.mark.parametrize("replaces", [None, ANY, znode("/a/x", mzxid=100).version, MALFORMED])
async def test_a_newer_state_replaces_an_older_one(
    sink: MongoMirror, stored: Collection[dict[str, Any]], replaces: int | None
) -> None:
    await sink.apply([Put(znode("/a/x", b"old"))])
    assert await sink.apply([Put(znode("/a/x", b"new", mzxid=101), replaces)]) == Applied(updated=1)
    assert values(stored) == {"/a/x": "new"}


@pytest.mark.parametrize("replaces", [None, ANY, znode("/a/x", mzxid=50).version, MALFORMED])
async def test_a_late_write_leaves_the_newer_state(
    sink: MongoMirror, stored: Collection[dict[str, Any]], replaces: int | None
) -> None:
    await sink.apply([Put(znode("/a/x", b"new", mzxid=100))])
    assert await sink.apply([Put(znode("/a/x", b"late", mzxid=99), replaces)]) == Applied(unchanged=1)
    assert values(stored) == {"/a/x": "new"}


async def test_a_restored_source_replaces_exactly_the_state_that_was_seen(
    sink: MongoMirror, stored: Collection[dict[str, Any]]
) -> None:
    seen = znode("/a/x", b"before", mzxid=1000, czxid=900)
    await sink.apply([Put(seen)])
    restored = znode("/a/x", b"restored", mzxid=100, czxid=90)
    other = znode("/a/x", mzxid=1000, czxid=901)
    assert await sink.apply([Put(restored, other.version)]) == Applied(unchanged=1)
    assert await sink.apply([Put(restored, seen.version)]) == Applied(updated=1)
    assert values(stored) == {"/a/x": "restored"}


async def test_a_key_that_was_deleted_and_created_again_is_another_state(
    sink: MongoMirror, stored: Collection[dict[str, Any]]
) -> None:
    first, second = znode("/a/x", b"first", czxid=10, mzxid=10), znode("/a/x", b"second", czxid=20, mzxid=20)
    await sink.apply([Put(first)])
    await sink.apply([Put(second)])
    assert await sink.apply([Remove("/a/x", seen=first.version)]) == Applied()
    assert await sink.apply([Remove("/a/x", as_of=19)]) == Applied()
    assert values(stored) == {"/a/x": "second"}
    assert await sink.apply([Remove("/a/x", seen=second.version)]) == Applied(deleted=1)
    assert values(stored) == {}


async def test_a_sweep_removes_nothing_that_only_shares_the_number(sink: MongoMirror) -> None:
    await sink.apply([Put(znode("/a/x", czxid=10, mzxid=20))])
    assert await sink.apply([Remove("/a/x", seen=znode("/a/x", czxid=11, mzxid=20).version)]) == Applied()


async def test_the_counts_tell_inserted_updated_deleted_and_unchanged_apart(sink: MongoMirror) -> None:
    await sink.apply([Put(znode(f"/a/{number}")) for number in range(6)])
    applied = await sink.apply(
        [
            Put(znode("/a/new")),
            Put(znode("/a/0", mzxid=200)),
            Put(znode("/a/1", mzxid=200), None),
            Put(znode("/a/2", mzxid=5)),
            Put(znode("/a/3", mzxid=5), None),
            Remove("/a/4", as_of=100),
            Remove("/a/5", as_of=99),
            Remove("/a/none", as_of=100),
        ]
    )
    assert applied == Applied(inserted=1, updated=2, deleted=1, unchanged=2)


@pytest.mark.parametrize("fields", MALFORMED_DOCUMENTS)
async def test_a_document_without_a_proper_version_blocks_no_key(
    sink: MongoMirror, stored: Collection[dict[str, Any]], fields: dict[str, Any]
) -> None:
    for replaces in (None, ANY, MALFORMED):
        stored.replace_one({"_id": "/a/x"}, fields, upsert=True)
        assert await whole_index(sink) == {"/a/x": MALFORMED}
        assert await sink.apply([Put(znode("/a/x"), replaces)]) == Applied(updated=1)
        assert values(stored) == {"/a/x": "text"}


@pytest.mark.parametrize("fields", MALFORMED_DOCUMENTS)
@pytest.mark.parametrize("remove", [Remove("/a/x", seen=MALFORMED), Remove("/a", as_of=100, subtree=True)])
async def test_a_document_without_a_proper_version_can_be_removed(
    sink: MongoMirror, stored: Collection[dict[str, Any]], fields: dict[str, Any], remove: Remove
) -> None:
    stored.insert_one({"_id": "/a/x", **fields})
    assert await sink.apply([remove]) == Applied(deleted=1)


async def test_a_proper_document_is_not_taken_for_a_malformed_one(sink: MongoMirror) -> None:
    await sink.apply([Put(znode("/a/x"))])
    assert await sink.apply([Remove("/a/x", seen=MALFORMED)]) == Applied()


async def test_removing_a_parent_removes_its_subtree_and_no_neighbour(
    sink: MongoMirror, stored: Collection[dict[str, Any]]
) -> None:
    below = ["/a/a", "/a/a/b", "/a/a/b/c", "/a/a/0", "/a/a/ü", "/a/a/\uffff", "/a/a/😀"]
    beside = ["/a", "/a/a-b", "/a/a.b", "/a/a b", "/a/a0", "/a/a0/b", "/a/aa", "/a/A", "/a/a\u00001"]
    await sink.apply([Put(znode(key)) for key in below + beside])
    assert await sink.apply([Remove("/a/a", as_of=100, subtree=True)]) == Applied(deleted=len(below))
    assert sorted(values(stored)) == sorted(beside)


async def test_removing_a_parent_keeps_what_is_newer_than_the_removal(
    sink: MongoMirror, stored: Collection[dict[str, Any]]
) -> None:
    await sink.apply([Put(znode("/a/p", mzxid=200)), Put(znode("/a/p/old")), Put(znode("/a/p/new", mzxid=201))])
    assert await sink.apply([Remove("/a/p", as_of=150, subtree=True)]) == Applied(deleted=1)
    assert sorted(values(stored)) == ["/a/p", "/a/p/new"]


async def test_removing_the_root_of_everything_removes_everything(mongo_uri: str) -> None:
    async with mirror(mongo_uri, "/") as sink:
        await sink.apply([Put(znode(key)) for key in ("/", "/a", "/a/b", "/z")])
        assert await sink.apply([Remove("/", as_of=100, subtree=True)]) == Applied(deleted=4)
        assert await sink.count() == 0


async def test_a_removed_subtree_within_a_removed_subtree_is_counted_once(sink: MongoMirror) -> None:
    await sink.apply([Put(znode(key)) for key in ("/a", "/a/b", "/a/b/c", "/a/b/c/d")])
    removes = [Remove(key, as_of=100, subtree=True) for key in ("/a/b/c", "/a", "/a/b")]
    assert await sink.apply(removes) == Applied(deleted=4)


async def test_an_older_removal_of_a_parent_does_not_stand_in_for_a_newer_one_below(sink: MongoMirror) -> None:
    await sink.apply([Put(znode("/a", mzxid=10)), Put(znode("/a/b", mzxid=100))])
    removes = [Remove("/a", as_of=50, subtree=True), Remove("/a/b", as_of=100)]
    assert await sink.apply(removes) == Applied(deleted=2)


async def test_what_was_read_below_a_parent_before_it_was_removed_goes_with_it(
    sink: MongoMirror, stored: Collection[dict[str, Any]]
) -> None:
    await sink.apply([Remove("/a/p", as_of=150, subtree=True), Put(znode("/a/p/x", mzxid=140)), Put(znode("/a/q"))])
    assert list(values(stored)) == ["/a/q"]


async def test_nothing_is_removed_without_a_guard(sink: MongoMirror) -> None:
    with pytest.raises(ValueError, match="without a guard"):
        await sink.apply([Remove("/a/x")])
    with pytest.raises(ValueError, match="only as of a position"):
        await sink.apply([Remove("/a/x", seen=5, subtree=True)])


async def test_ten_thousand_changes_in_one_call_are_all_applied(sink: MongoMirror) -> None:
    puts = [Put(znode(f"/a/{number}", b"x" * 100), None) for number in range(10_000)]
    assert await sink.apply(puts) == Applied(inserted=10_000)
    assert await sink.apply([Remove(put.key, seen=put.record.version) for put in puts]) == Applied(deleted=10_000)
