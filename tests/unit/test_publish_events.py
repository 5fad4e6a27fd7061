"""Keys marked by change events: every key whose documents changed is marked, or the answer is that it is lost."""

from __future__ import annotations

from typing import Any

from bson import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from hybridsync.mongodb_stream import as_number, token_time
from hybridsync.sources.key_map import KeyMap, Known, identity
from hybridsync.sources.mongodb_events import Effect, effect
from hybridsync.sources.publish_judge import known
from hybridsync.sources.publish_rules import PublishRules

RULES = PublishRules("key", "on")

Document = dict[str, Any]
State = dict[int, Document]

contents = st.fixed_dictionaries({"key": st.sampled_from(["a", "b", "", 5]), "on": st.sampled_from([True, False, "?"])})
steps = st.lists(
    st.tuples(st.sampled_from(["put", "replace", "update", "rename", "unset", "delete"]), st.integers(0, 2), contents),
    max_size=12,
)


def event(operation: str, number: int, at: int, **more: Any) -> Document:
    """An event as the pipeline leaves it."""
    return {"operationType": operation, "documentKey": {"_id": number}, "clusterTime": Timestamp(1, at), **more}


def happen(state: State, step: tuple[str, int, Document], at: int) -> Document | None:
    """Does one step to the collection and returns its event, if it did anything."""
    what, number, content = step
    present = number in state
    if what == "put" and not present:
        state[number] = dict(content)
        return event("insert", number, at, fullDocument=dict(content))
    if what == "replace" and present:
        state[number] = dict(content)
        return event("replace", number, at, fullDocument=dict(content))
    if what == "update" and present:
        state[number]["on"] = content["on"]
        return event("update", number, at, updateDescription={"updatedFields": {"on": content["on"]}})
    if what == "rename" and present:
        state[number]["key"] = content["key"]
        return event("update", number, at, updateDescription={"updatedFields": {"key": content["key"]}})
    if what == "unset" and present:
        state[number] = {"on": state[number].get("on")}
        return event("update", number, at, updateDescription={"removedFields": ["key", "other"]})
    if what == "delete" and present:
        del state[number]
        return event("delete", number, at)
    return None


def live_keys(state: State) -> dict[str, list[int]]:
    """Key → the documents that are not switched off and have it."""
    found: dict[str, list[int]] = {}
    for number, document in state.items():
        what = known(document, RULES)
        if what.live and what.key is not None:
            found.setdefault(what.key, []).append(number)
    return found


def mapped(state: State) -> KeyMap:
    """The map that a scan of this state makes."""
    keys = KeyMap()
    for number, document in state.items():
        keys.put(identity(number), known(document, RULES))
    return keys


def copied(state: State) -> State:
    return {number: dict(document) for number, document in state.items()}


def run(state: State, made: list[Any], at: int) -> list[Document]:
    """Does some steps, from cluster time `at` on; their events."""
    return [one for number, step in enumerate(made, at) if (one := happen(state, step, number))]


@given(steps, steps, steps, steps, st.booleans())
def test_every_key_whose_documents_changed_is_marked_or_the_watch_is_lost(
    before: list[Any], earlier: list[Any], meanwhile: list[Any], after: list[Any], resumed: bool
) -> None:
    """The map is read between `earlier` and `meanwhile`; up to the end of `meanwhile` events count as replayed."""
    state: State = {}
    run(state, before, 0)
    first = copied(state)
    events = run(state, earlier, 100)
    keys = mapped(state)
    events += run(state, meanwhile, 150)
    read_until = as_number(Timestamp(1, 199))
    listed = copied(state)
    events += run(state, after, 200)

    marked: set[str] = set()
    for one in events:
        result = effect(one, keys, RULES, read_until=read_until, resumed=resumed)
        if result.lost:
            assert as_number(one["clusterTime"]) <= read_until, "only what is replayed can be unknown"
            assert resumed
            return
        marked.update(result.marked)

    since, last = live_keys(first if resumed else listed), live_keys(state)
    changed = {key for key in since.keys() | last.keys() if since.get(key) != last.get(key)}
    assert changed <= marked
    for number, document in state.items():
        assert keys.get(identity(number)) == known(document, RULES)
    assert len(keys) == len(state)


def test_a_document_that_got_another_key_right_after_the_keys_were_read_is_known_by_that_key() -> None:
    """Else its end would mark the key it had before, and what is published under the other would stay for good."""
    keys = mapped({1: {"key": "a", "on": True}})
    renamed = event("update", 1, 5, updateDescription={"updatedFields": {"key": "b"}})
    effect(renamed, keys, RULES, read_until=as_number(Timestamp(1, 9)), resumed=False)

    gone = effect(event("delete", 1, 20), keys, RULES, read_until=as_number(Timestamp(1, 9)), resumed=False)
    assert gone.marked == ["b"]


@given(steps)
def test_documents_that_stay_switched_off_mark_nothing(made: list[Any]) -> None:
    state: State = {}
    keys = KeyMap()
    for at, (what, number, content) in enumerate(made, 1):
        one = happen(state, (what, number, {**content, "on": False}), at)
        if one is not None:
            assert effect(one, keys, RULES, read_until=0, resumed=True).marked == []


def test_a_fresh_watch_needs_no_answer_for_what_the_listing_after_it_covers() -> None:
    gone = event("delete", 1, 5)
    assert effect(gone, KeyMap(), RULES, read_until=as_number(Timestamp(1, 5)), resumed=False) == Effect(
        document=identity(1)
    )
    assert effect(gone, KeyMap(), RULES, read_until=as_number(Timestamp(1, 4)), resumed=False).lost


def test_the_one_holder_of_a_key_is_known_until_there_are_two() -> None:
    keys = KeyMap()
    one, two = identity(1), identity(2)
    keys.put(one, Known("a", True))
    keys.put(one, Known("a", False))
    assert keys.only_holder("a") == one
    keys.put(two, Known("a", True))
    assert keys.only_holder("a") is None
    keys.put(one, Known("b", True))
    assert keys.only_holder("b") == one
    keys.remove(one)
    assert keys.only_holder("b") is None
    keys.put(one, Known(None, True))
    assert keys.live_without_key() == {one: False}
    keys.put(one, Known(None, True, long=True))
    assert keys.live_without_key() == {one: True}
    assert keys.get(one) == Known(None, True, long=True)


def test_the_time_is_at_the_start_of_a_token() -> None:
    assert token_time("826B00F57B0000000F2B0229296E04") == as_number(Timestamp(0x6B00F57B, 15))
    for strange in ("", "82", "zz", "0264E1D5B5000000012B", "826B00F57B0000000F2B0"):
        assert token_time(strange) is None


def test_an_id_that_was_deleted_and_taken_again_while_nobody_watched_hides_the_first_key() -> None:
    keys = mapped({0: {"key": "second", "on": True}})
    assert effect(event("delete", 0, 5), keys, RULES, read_until=as_number(Timestamp(1, 9)), resumed=True).lost
