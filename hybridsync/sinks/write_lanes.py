"""Keeps a write that was given up from arriving late and bringing back what was removed meanwhile.

The guards in `mirror_writes` compare versions, so a late write never replaces a newer state. They
cannot see a state that is gone: a put that sat in a broken connection would insert a document again
whose removal is long acknowledged. MongoDB can tell: of the writes of one session it takes none whose
number is below the highest it has seen (it is how retryable writes work). So every put travels in
a *lane*, a session used by one write at a time, and a lane whose last write was given up is *fenced*
before anything else is written: one empty write with a higher number, and the late one is dead.

Only replica sets and sharded clusters number their writes. On a standalone server a fence only waits
for our own thread. https://github.com/mongodb/specifications/blob/master/source/retryable-writes/retryable-writes.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from bson import ObjectId

from hybridsync.errors import SinkUnavailable
from hybridsync.mongodb import OPERATION_SECONDS, Collection, MongoDB, Session

T = TypeVar("T")


class _Lane:
    def __init__(self, session: Session) -> None:
        self.session = session
        self.quiet = asyncio.Event()
        self.quiet.set()


class WriteLanes:
    """The lanes of one collection: as many as there were writes at once."""

    def __init__(self, mongodb: MongoDB, collection: Collection) -> None:
        self._mongodb = mongodb
        self._collection = collection
        self._free: list[_Lane] = []
        self._doubtful: list[_Lane] = []
        self._fencing: asyncio.Task[None] | None = None

    async def write(self, operation: Callable[[Session], Awaitable[T]]) -> T:
        """Runs `operation` with a session, with retries in that same session.

        The caller has awaited `settle()`. Raises `SinkUnavailable` or `SinkError`.
        """
        lane = self._free.pop() if self._free else _Lane(await self._mongodb.new_session())
        try:
            result = await self._mongodb.retrying(lambda: self._attempt(lane, operation))
        except BaseException:
            self._doubtful.append(lane)
            raise
        self._free.append(lane)
        return result

    async def settle(self) -> None:
        """Returns when no write that was given up can arrive any more. Raises `SinkUnavailable` or `SinkError`."""
        while self._doubtful:
            if self._fencing is None or self._fencing.done():
                self._fencing = asyncio.create_task(self._fence_all())
            # All who wait share one attempt, and its failure: a server that is away costs them its time once.
            await asyncio.wait({self._fencing})
            self._fencing.result()

    async def _fence_all(self) -> None:
        while self._doubtful:
            lane = self._doubtful[-1]
            await self._fence(lane)
            self._doubtful.remove(lane)
            self._free.append(lane)

    async def _attempt(self, lane: _Lane, operation: Callable[[Session], Awaitable[T]]) -> T:
        if not lane.quiet.is_set():
            raise SinkUnavailable(f"MongoDB at {self._mongodb.where}: an earlier write has not come to its end")
        lane.quiet.clear()
        try:
            return await operation(lane.session)
        finally:
            lane.quiet.set()  # nobody cancels this coroutine, so the thread is done when we get here

    async def _fence(self, lane: _Lane) -> None:
        try:
            await asyncio.wait_for(lane.quiet.wait(), OPERATION_SECONDS)
        except TimeoutError:
            raise SinkUnavailable(
                f"MongoDB at {self._mongodb.where}: an earlier write has not come to its end"
            ) from None
        nothing = {"_id": ObjectId()}
        await self._mongodb.retrying(
            lambda: self._attempt(
                lane, lambda session: self._collection.update_one(nothing, {"$set": {"fence": 1}}, session=session)
            )
        )
