"""Watching without a change stream: everything is read every so often and compared with the time before.

For servers that are no replica set. It claims no more than it knows: a proof is a comparison that began
after the question.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager

import structlog

from hybridsync.dirty import DirtySet
from hybridsync.errors import SourceDisconnected, SourceError
from hybridsync.give_way import give_way
from hybridsync.mongodb_stream import CollectionGone
from hybridsync.sources.mongodb_memory import Memory
from hybridsync.sources.mongodb_reader import CollectionReader, Facts
from hybridsync.sources.publish_judge import Verdict

STALL_SECONDS = 60.0
"""A comparison that gets no further for so long is given up; each of its requests has 10 s."""

TURN_KEYS = 1000
"""So many keys marked at once; then others on the loop get their turn."""

Snapshot = dict[str, int]
"""Key → the content's version; of an invalid document a number that stands for its problem."""


class PollingWatch:
    """Compares every `poll_seconds`. Never resumes: what happened between two processes is not known."""

    def __init__(
        self,
        reader: CollectionReader,
        memory: Memory,
        dirty: DirtySet,
        poll_seconds: float,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost.add_done_callback(lambda future: future.exception())
        self._reader = reader
        self._memory = memory
        self._dirty = dirty
        self._poll_seconds = poll_seconds
        self._log = log
        self._before: Snapshot = {}
        self._facts: Facts | None = None
        self._begun = self._done = 0
        self._moved = asyncio.Event()
        self._progress = 0.0
        self.ending = False

    @property
    def position(self) -> str | None:
        """There is none."""
        return None

    @property
    def resumed(self) -> bool:
        """Never."""
        return False

    async def begin(self) -> None:
        """The first look, which marks nothing."""
        self._facts = await self._reader.facts()
        self._before = await self._look()

    async def follow(self) -> None:
        """Compares until it fails; then the watch is lost."""
        try:
            while True:
                self._touch()
                await asyncio.sleep(self._poll_seconds)
                self._begun += 1
                now = await self._look()
                await self._mark(await asyncio.to_thread(_changed, self._before, now))
                self._before, self._done = now, self._begun
                self._moved.set()
        except CollectionGone as error:
            self.lose(error)
        except SourceError as error:
            self.lose(SourceDisconnected(str(error)))
        except Exception as error:
            self.lose(SourceDisconnected(f"the collection could not be compared ({type(error).__name__})"))
            self._log.exception("the collection could not be compared", error=str(error))
        finally:
            if not self.ending:
                self.lose(SourceDisconnected("the comparing of the collection ended"))

    async def probe(self) -> None:
        """See `sources/base.py`. A comparison that gets no further for `STALL_SECONDS` loses the watch."""
        asked, clock = self._begun, asyncio.get_running_loop().time
        while self._done <= asked and not self.lost.done():
            self._moved.clear()
            stalled = self._progress + self._poll_seconds + STALL_SECONDS - clock()
            try:
                async with asyncio.timeout(max(0.0, stalled)):
                    await self._moved.wait()
            except TimeoutError:
                if clock() - self._progress >= self._poll_seconds + STALL_SECONDS:
                    self.lose(SourceDisconnected("the comparing of the collection got stuck"))
        if self.lost.done():
            self.lost.result()

    def _touch(self) -> None:
        self._progress = asyncio.get_running_loop().time()

    async def _mark(self, keys: list[str]) -> None:
        for number, key in enumerate(keys, 1):
            self._dirty.mark(key)
            if number % TURN_KEYS == 0:
                await give_way()

    async def _look(self) -> Snapshot:
        """What the collection holds. Raises `CollectionGone` when it went away since the last look, or during this one.

        Then nothing is marked: it takes a full sync to decide what that means.
        """
        await self._reader.confirmed()
        now: Snapshot = await asyncio.to_thread(_of_problems, await self._reader.shared_keys())
        shared, nameless = set(now), dict[str, str]()
        async with aclosing(self._reader.verdicts()) as batches:
            async for verdicts in batches:
                self._touch()
                for verdict in verdicts:
                    if verdict.key is None:
                        nameless[verdict.name] = verdict.problem or ""
                    elif verdict.key not in shared:
                        _note(verdict, verdict.key, now)
        before, self._facts = self._facts, await self._reader.facts()
        if before is not None and (self._facts is None or self._facts.uuid != before.uuid):
            raise CollectionGone("the collection was dropped or renamed")
        await self._memory.set_nameless(nameless, self._log)
        self._touch()
        return now

    def lose(self, error: SourceError) -> None:
        """See `sources/base.py`."""
        if not self.lost.done():
            if isinstance(error, CollectionGone):
                self._memory.removal_seen = True
            self.lost.set_exception(error)
        self._moved.set()


def _changed(before: Snapshot, now: Snapshot) -> list[str]:
    """The keys that the two differ in. Takes long for many, so not on the loop."""
    return [key for key in before.keys() | now.keys() if before.get(key) != now.get(key)]


def _of_problems(problems: Mapping[str, str]) -> Snapshot:
    return {key: hash(problem) for key, problem in problems.items()}


def _note(verdict: Verdict, key: str, snapshot: Snapshot) -> None:
    if verdict.record is not None:
        snapshot[key] = verdict.record.version
    elif verdict.problem is not None:
        snapshot[key] = hash(verdict.problem)


@asynccontextmanager
async def polling(
    reader: CollectionReader,
    memory: Memory,
    dirty: DirtySet,
    poll_seconds: float,
    log: structlog.stdlib.BoundLogger,
) -> AsyncIterator[PollingWatch]:
    """Looks once, then compares until the block ends."""
    watch = PollingWatch(reader, memory, dirty, poll_seconds, log)
    await watch.begin()
    task = asyncio.create_task(watch.follow(), name="hybridsync-polling")
    try:
        yield watch
    finally:
        watch.ending = True
        task.cancel()
        await asyncio.wait({task})
