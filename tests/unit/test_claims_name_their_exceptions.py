"""What the sink refuses or the source hides is told, is not in sync, and is told again when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
import structlog

from hybridsync import refused_keys
from hybridsync.exceptions import Exceptions
from hybridsync.model import Applied, Change, Remove
from hybridsync.subtrees import Subtrees, not_named
from tests.unit.engine import Engine, ScriptedSource, fast, fresh, running, synced

pytestmark = pytest.mark.usefixtures("_soon")


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_keys, "FIRST_SECONDS", 0.002)


def engine() -> Engine:
    return Engine(source=ScriptedSource(a=b"1", b=b"2"), options=fast())


def errors(entries: list[structlog.typing.EventDict]) -> list[tuple[str, str]]:
    return [(entry["event"], entry["key"]) for entry in entries if entry["log_level"] == "error" and "key" in entry]


@pytest.mark.parametrize("way", ["watch", "full sync", "first sync"])
async def test_what_is_refused_is_no_part_of_what_is_claimed(way: str) -> None:
    it = engine()
    if way == "first sync":
        it.sink.refused = {"b"}
    with structlog.testing.capture_logs() as entries:
        async with running(it):
            await it.until(lambda: it.resource.ready)
            if way != "first sync":
                it.sink.refused = {"b"}
                it.source.silent = way == "full sync"
                it.source.put("b", b"strange")
                it.source.silent = False
            if way == "full sync":
                await it.resource.request_sync()
            await it.until(lambda: it.status.exceptions.first(9) == [("b", "refused", "too strange")])
            await it.until(lambda: it.status.gap_since is None)
            assert not it.status.in_sync
            assert it.resource.trouble == "r: 1 refused, such as b: too strange"
            assert errors(entries) == [("a document could not be stored", "b")], "once, however often it is tried"

            it.sink.refused.clear()
            await it.in_sync()
            assert it.resource.trouble is None
    assert errors(entries)[1:] == [("a document is no longer refused", "b")]


async def test_a_record_that_was_refused_and_is_gone_at_the_source_is_no_exception_any_more() -> None:
    async with synced(engine()) as it:
        it.sink.refused = {"c"}
        it.source.put("c", b"strange")
        await it.until(lambda: not it.status.in_sync and it.status.exceptions.first(9))
        it.sink.refused = set()
        it.source.remove("c")
        await it.in_sync()


async def test_what_may_not_be_read_is_no_part_of_what_is_claimed() -> None:
    async with synced(engine()) as it:
        it.source.hidden.add("b")
        assert not it.status.in_sync
        assert it.status.exceptions.first(9) == [("b", "unreadable", "memory: hidden")]
        assert it.resource.trouble == "r: 1 unreadable, such as b: memory: hidden"
        await it.proven_meanwhile()
        it.source.hidden.clear()
        await it.in_sync()


async def test_a_change_that_no_key_can_name_ends_in_a_full_sync_and_claims_nothing_before() -> None:
    async with synced(engine()) as it:
        it.source.listing_gate.clear()
        it.source.silent = True
        it.source.put("b", b"while it was hidden")
        it.source.silent = False
        for dirty in it.source._watches.values():
            dirty.overflow("a subtree may be read again")
        await it.until(lambda: it.status.gap_since is not None, "a gap")
        assert not it.status.in_sync
        it.source.listing_gate.set()
        await it.in_sync()
        assert it.triggers == ["reconnect"]


async def test_such_a_change_is_not_forgiven_by_a_watch_that_resumes() -> None:
    it = fresh(engine())
    it.source.resumable = True
    async with running(it):
        await it.in_sync()
        it.results.clear()
        it.source.listing_gate.clear()
        it.source.records["b"] = it.source.records["b"]._replace(value=b"hidden", version=99)
        for dirty in it.source._watches.values():
            dirty.overflow("a namespace may be read again")
        it.source.disconnect()
        it.source.listing_gate.set()
        await it.until(lambda: bool(it.results), "a full sync")
        await it.in_sync()


def test_pages_come_in_the_order_of_keys_and_hold_each_once() -> None:
    refused = {f"k{number:04}": "why" for number in range(2500)}
    invalid = {f"k{number:04}": "rule" for number in range(0, 2500, 7)}
    exceptions = Exceptions(dict, lambda: refused, lambda: invalid)
    found, after = [], ""
    while page := exceptions.page(after, 1000):
        assert len(page) <= 1001
        found += page
        after = page[-1].key

    assert len(found) == len(set(found)) == len(refused) + len(invalid)
    assert [one.key for one in found] == sorted(one.key for one in found)


class Counted(str):
    """A key that counts how often a piece is cut off it."""

    cuts = 0

    def __getitem__(self, piece: object) -> str:
        Counted.cuts += 1
        return super().__getitem__(piece)  # type: ignore[index]


def cuts(roots: int, keys: int = 50) -> int:
    """How much work it is to tell which of so many keys lie below one of so many roots."""
    Counted.cuts = 0
    subtrees = Subtrees(f"/services/hidden-{number:06}" for number in range(roots))
    found = [key for number in range(keys) if (key := Counted(f"/services/shown-{number:06}/a/b")) in subtrees]
    assert found == []
    return Counted.cuts


def test_many_hidden_subtrees_cost_no_key_more_than_few() -> None:
    assert cuts(24_000) == cuts(10) <= 50


@pytest.mark.parametrize(
    ("key", "below"),
    [
        ("/a", True),
        ("/a/b", True),
        ("/a/b/c", True),
        ("/ab", False),
        ("/b/a", False),
        ("", False),
        ("ns/x", True),
        ("ns", True),
        ("nsx/y", False),
    ],
)
def test_what_lies_below_a_root(key: str, below: bool) -> None:
    assert (key in Subtrees(["/a", "ns"])) is below


def test_below_the_root_of_all_lies_everything_and_below_nothing_nothing() -> None:
    assert "/a/b" in Subtrees(["/"])
    assert "/" in Subtrees(["/"])
    assert "/a" not in Subtrees([])
    assert list(not_named(["/a/b", "/c", "/d"], ["/a"], {"/c"})) == ["/d"]


async def test_a_removal_that_is_acknowledged_late_ends_no_refusal_of_what_came_after_it() -> None:
    it = engine()
    first = it.sink.apply
    held = asyncio.Event()

    async def slow_removal(changes: Sequence[Change]) -> Applied:
        applied = await first(changes)
        if any(isinstance(change, Remove) for change in changes):
            await held.wait()
        return applied

    async with synced(it):
        it.sink.apply = slow_removal  # type: ignore[method-assign]
        it.source.remove("b")
        await it.until(lambda: "b" not in it.sink.records, "the removal is done, and not yet acknowledged")
        it.sink.refused = {"b"}
        it.source.put("b", b"strange")
        await it.until(lambda: it.resource.counters.failed_documents >= 1, "what came after it is refused")
        held.set()
        await it.until(lambda: not it.resource.status().pending)
        assert [one.key for one in it.status.exceptions.first(9)] == ["b"]
        assert not it.status.in_sync
        it.sink.refused = set()
        await it.in_sync()
