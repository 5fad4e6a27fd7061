"""Watching without a change stream: everything is read every so often and compared with the time before.

For servers that are no replica set. It claims no more than it knows: a proof is a comparison that began
after the question.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import structlog

from hybridsync.dirty import DirtySet
from hybridsync.errors import SourceDisconnected, SourceError
from hybridsync.sources.mongodb_memory import Memory
from hybridsync.sources.mongodb_reader import CollectionReader
from hybridsync.sources.publish_judge import Verdict

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
        self._begun = self._done = 0
        self._moved = asyncio.Event()

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
        self._before = await self._look()

    async def follow(self) -> None:
        """Compares until it fails; then the watch is lost."""
        try:
            while True:
                await asyncio.sleep(self._poll_seconds)
                self._begun += 1
                now = await self._look()
                for key in self._before.keys() | now.keys():
                    if self._before.get(key) != now.get(key):
                        self._dirty.mark(key)
                self._before, self._done = now, self._begun
                self._moved.set()
        except SourceError as error:
            self.lose(SourceDisconnected(str(error)))
        except Exception as error:
            self.lose(SourceDisconnected("the collection could not be compared"))
            self._log.exception("the collection could not be compared", error=str(error))

    async def probe(self) -> None:
        """See `sources/base.py`. Each read of a comparison has its deadline."""
        asked = self._begun
        while self._done <= asked and not self.lost.done():
            self._moved.clear()
            await self._moved.wait()
        if self.lost.done():
            self.lost.result()

    async def _look(self) -> Snapshot:
        now: Snapshot = {key: hash(problem) for key, problem in (await self._reader.shared_keys()).items()}
        shared, nameless = set(now), dict[str, str]()
        async with aclosing(self._reader.verdicts()) as batches:
            async for verdicts in batches:
                for verdict in verdicts:
                    if verdict.key is None:
                        nameless[verdict.name] = verdict.problem or ""
                    elif verdict.key not in shared:
                        _note(verdict, verdict.key, now)
        self._memory.set_nameless(nameless, self._log)
        return now

    def lose(self, error: SourceError) -> None:
        """See `sources/base.py`."""
        if not self.lost.done():
            self.lost.set_exception(error)
        self._moved.set()


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
        task.cancel()
        await asyncio.wait({task})
