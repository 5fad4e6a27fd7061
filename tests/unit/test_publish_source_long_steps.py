"""However many documents there are, the source of publishing does little between two turns of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest
import structlog
from bson import Timestamp

from hybridsync.dirty import DirtySet
from hybridsync.give_way import PROBE_TURNS
from hybridsync.mongodb import MongoDB
from hybridsync.mongodb_stream import ChangeFeed
from hybridsync.sources import mongodb_poll
from hybridsync.sources.mongodb_memory import Memory
from hybridsync.sources.mongodb_poll import TURN_KEYS, PollingWatch
from hybridsync.sources.mongodb_problems import STEP_KEYS, Problems
from hybridsync.sources.mongodb_reader import CollectionReader
from hybridsync.sources.mongodb_watch import TURN_EVENTS, ChangeStreamWatch
from hybridsync.sources.publish_rules import PublishRules
from tests.eventually import eventually
from tests.unit.test_probe_between_long_steps import Turns

LOG = structlog.get_logger()
RULES = PublishRules("key", "on")


class Steps:
    """Counts what is done between two pauses that are long enough for a probe."""

    def __init__(self) -> None:
        self.longest = self.done = 0
        self._turns = Turns()
        self._now = 0

    def step(self, *_: Any) -> None:
        self._now = 1 if self._turns.since() >= PROBE_TURNS else self._now + 1
        self.longest = max(self.longest, self._now)
        self.done += 1

    async def stop(self) -> None:
        await self._turns.stop()


@pytest.mark.parametrize("size", [2 * TURN_KEYS, 8 * TURN_KEYS])
async def test_what_a_comparison_found_is_marked_by_and_by(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, dirty = Steps(), DirtySet()
    dirty.on_mark = steps.step
    compared_in: list[object] = []

    def changed(before: object, now: object) -> list[str]:
        try:
            compared_in.append(asyncio.get_running_loop())
        except RuntimeError:
            compared_in.append(None)
        return [str(number) for number in range(size)]

    async def look(_: PollingWatch) -> dict[str, int]:
        return {}

    monkeypatch.setattr(mongodb_poll, "_changed", changed)
    monkeypatch.setattr(PollingWatch, "_look", look)
    watch = PollingWatch(cast(CollectionReader, None), Memory(), dirty, 0.0, LOG)
    following = asyncio.create_task(watch.follow())
    await watch.probe()

    watch.ending = True
    following.cancel()
    assert steps.done >= size
    assert steps.longest <= TURN_KEYS
    assert set(compared_in) == {None}, "a thread has no event loop"
    await steps.stop()


class Noted(dict[str, str]):
    """Counts what is put in and taken out."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps

    def __setitem__(self, key: str, value: str) -> None:
        self._steps.step()
        super().__setitem__(key, value)

    def pop(self, key: str, *default: Any) -> Any:
        self._steps.step()
        return super().pop(key, *default)


@pytest.mark.parametrize("size", [2 * STEP_KEYS, 8 * STEP_KEYS])
async def test_many_problems_are_noted_and_forgotten_by_and_by(size: int) -> None:
    steps, problems = Steps(), Problems(Memory(), LOG)
    problems._broken = Noted(steps)
    with problems.inspection() as inspection:
        await inspection.broken_many({str(number): "bad" for number in range(size)})
        await inspection.complete()
    assert len(problems) == size
    with problems.inspection() as inspection:
        await inspection.complete()
    assert len(problems) == 0
    assert steps.done == 2 * size
    assert steps.longest <= STEP_KEYS
    await steps.stop()


class Flood:
    """A stream whose events are all there at once."""

    def __init__(self, size: int, steps: Steps) -> None:
        self._left = size
        self._steps = steps
        self.token = "82" + "0" * 15 + "1"

    async def next(self) -> Mapping[str, Any] | None:
        if not self._left:
            await asyncio.sleep(0.01)
            return None
        self._left -= 1
        self._steps.step()
        return {
            "_id": {"_data": self.token},
            "operationType": "insert",
            "documentKey": {"_id": self._left},
            "clusterTime": Timestamp(0, 2),
            "fullDocument": {"key": str(self._left), "on": True},
        }


@pytest.mark.parametrize("size", [4 * TURN_EVENTS, 40 * TURN_EVENTS])
async def test_a_flood_of_events_is_taken_in_by_and_by(size: int) -> None:
    steps, dirty = Steps(), DirtySet()
    feed = Flood(size, steps)
    watch = ChangeStreamWatch(
        cast(ChangeFeed, feed),
        cast(MongoDB, None),
        "channels",
        RULES,
        Memory(),
        dirty,
        resumed=False,
        read_until=0,
        await_seconds=0.1,
        log=LOG,
    )
    following = asyncio.create_task(watch.follow())
    await eventually(lambda: len(dirty) == size)
    await watch.end(following)
    assert steps.longest <= TURN_EVENTS
    await steps.stop()


@pytest.mark.parametrize("size", [10, 10_000])
async def test_counting_the_invalid_looks_at_none_of_them(size: int) -> None:
    memory = Memory()
    problems = Problems(memory, LOG)
    for number in range(size):
        problems.broken(str(number), "bad")
    await memory.set_nameless({f"_id {number}": "bad" for number in range(size)}, LOG)
    looked = 0

    class Uncounted(dict[str, str]):
        def __iter__(self) -> Any:
            nonlocal looked
            looked += 1
            return super().__iter__()

    problems._broken = Uncounted(problems._broken)
    assert len(problems) == 2 * size
    assert looked == 0
