"""What the sink refused is tried again after a while, without a change at the source and without a full sync."""

from __future__ import annotations

import pytest

from hybridsync import refused_keys
from hybridsync.refused_keys import LARGEST_SECONDS, MOST_KEYS, RefusedKeys
from tests.unit.engine import Engine, ScriptedSource, fast, synced, values


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_keys, "FIRST_SECONDS", 0.002)


def test_a_key_waits_twice_as_long_each_time_up_to_the_largest_delay() -> None:
    refused, now = RefusedKeys(), 0.0
    delays = []
    for _ in range(10):
        refused.settle(["a"], {"a": "why"}, now)
        delays.append(refused.next_due - now)
        now = refused.next_due
        assert refused.due(now) == ["a"]
    assert delays[:4] == [5, 10, 20, 40]
    assert delays[-1] == LARGEST_SECONDS


def test_only_a_new_reason_is_news() -> None:
    refused = RefusedKeys()
    assert refused.settle(["a", "b"], {"a": "why"}, 0) == (["a"], [])
    assert refused.settle(["a"], {"a": "why"}, 1) == ([], [])
    assert refused.settle(["a"], {"a": "something else"}, 2) == (["a"], [])


def test_the_end_of_a_refusal_is_news_once() -> None:
    refused = RefusedKeys()
    refused.settle(["a", "b"], {"a": "why", "b": "why"}, 0)
    assert refused.settle(["a", "c"], {}, 1) == ([], ["a"])
    assert refused.settle(["a", "c"], {}, 2) == ([], [])
    assert refused.after_sync({}, 3) == ([], ["b"])


def test_a_key_that_was_written_or_synced_waits_no_more() -> None:
    refused = RefusedKeys()
    refused.settle(["a", "b", "c"], {"a": "why", "b": "why", "c": "why"}, 0)
    refused.settle(["a"], {}, 1)
    assert len(refused) == 2
    refused.after_sync({"c": "why"}, 2)
    assert refused.due(1e9) == ["c"]
    refused.after_sync({}, 3)
    assert (len(refused), refused.next_due) == (0, float("inf"))


def test_a_key_that_is_out_for_a_try_is_not_due_again_at_once() -> None:
    refused = RefusedKeys()
    refused.settle(["a"], {"a": "why"}, 0)
    assert refused.due(5) == ["a"]
    assert refused.due(5) == []


def test_a_write_that_ends_late_ends_no_refusal_of_a_later_one() -> None:
    """The removal of a key is on its way when the key is there again and is refused; then the removal is done."""
    refused = RefusedKeys()
    assert refused.settle(["a"], {"a": "why"}, 0, turn=2) == (["a"], [])
    assert refused.settle(["a"], {}, 1, turn=1) == ([], [])
    assert refused.reasons == {"a": "why"}
    assert refused.settle(["a"], {}, 2, turn=3) == ([], ["a"])


def test_all_are_known_and_so_many_are_tried_again() -> None:
    refused = RefusedKeys()
    refused.settle([], {f"k{number}": "why" for number in range(MOST_KEYS + 5)}, 0)
    assert len(refused) == MOST_KEYS + 5
    assert len(refused.due(5)) == MOST_KEYS


def test_a_thousand_tries_of_one_key_leave_nothing_behind() -> None:
    refused = RefusedKeys()
    for turn in range(1000):
        refused.settle(["a"], {"a": "why"}, turn)
    assert len(refused._queue) < 200
    assert refused.due(1e9) == ["a"]


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("by_sync", [False, True])
async def test_what_was_refused_is_stored_once_the_reason_is_gone(by_sync: bool) -> None:
    async with synced(Engine(source=ScriptedSource(a=b"1"), options=fast())) as it:
        it.sink.refused.add("d")
        it.source.put("d", b"new")
        if by_sync:
            result = await it.resource.request_sync()
            assert result.error is None
        await it.until(lambda: it.resource.counters.failed_documents >= 2)
        events = it.resource.counters.events
        it.sink.refused.clear()
        await it.until(lambda: values(it.sink).get("d") == b"new")

        assert it.triggers == (["manual"] if by_sync else [])
        assert it.resource.counters.events == events
        await it.proven()
