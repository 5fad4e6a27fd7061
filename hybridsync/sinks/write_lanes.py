"""Keeps a write that was given up from arriving late and bringing back what was removed meanwhile.

The guards in `mirror_writes` compare versions, so a late write never replaces a newer state. They
cannot see a state that is gone: a put that sat in a broken connection would insert a document again
whose removal is long acknowledged. MongoDB can tell: of the writes of one session it takes none whose
number is below the highest it has seen (it is how retryable writes work). So every put travels in
a *lane*, a session used by one write at a time, and each attempt has a number above those before it. A
lane whose last write was given up is *fenced* before anything else is written, and before the mirror is
compared: one write with a higher number, and the late one is dead.

A process that was killed fences nothing. So a lane is registered (`lane_registry.py`) before its first
write, and whoever begins a full sync fences all lanes of that mirror that are not its own. An instance
that lives finds its lane refused then, opens another and writes again: it still follows the source.

Only replica sets and sharded clusters number their writes. On a standalone server a fence only waits
for our own thread. https://github.com/mongodb/specifications/blob/master/source/retryable-writes/retryable-writes.md
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from bson.binary import Binary
from pymongo.errors import OperationFailure

from hybridsync.errors import SinkError, SinkUnavailable
from hybridsync.mongodb import OPERATION_SECONDS, Collection, MongoDB, Session
from hybridsync.mongodb_sessions import id_of, never_again
from hybridsync.sinks.lane_registry import LaneRegistry, Overtaken, empty_write, is_overtaken

T = TypeVar("T")

RENEW_SECONDS = 600.0
"""A lane that is used is registered anew this often; see `FORGOTTEN_SECONDS` in `lane_registry.py`."""

CLOSE_SECONDS = 1.0

LANES_A_WRITE = 10
"""How often one write may meet the full sync of another instance before it is given up for now."""

FENCES_AT_ONCE = 8


class _Lane:
    def __init__(self, session: Session) -> None:
        self.session = session
        self.id = id_of(session)
        self.registered: float | None = None  # `time.monotonic()`; None where writes have no numbers
        self.quiet = asyncio.Event()
        self.quiet.set()


class _Shared:
    """Work that all who wait for it share, and its failure: a server that is away costs them its time once."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._task: asyncio.Future[None] | None = None

    async def done(self) -> None:
        """Joins the work that is under way, else begins it. Raises what it raises."""
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._work())
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())  # seen by us
        await asyncio.wait({self._task})  # whoever is cancelled here leaves it to the others
        self._task.result()


class WriteLanes:
    """The lanes of one collection: as many as there were writes at once."""

    def __init__(self, mongodb: MongoDB, collection: Collection) -> None:
        self._mongodb = mongodb
        self._collection = collection
        self._registry = LaneRegistry(mongodb, collection)
        self._own: set[Binary] = set()
        self._free: list[_Lane] = []
        self._doubtful: list[_Lane] = []
        self._fencing = _Shared(self._fence_doubtful)
        self._fencing_others = _Shared(self._fence_others)
        self._begun = False
        self._valid_from = -math.inf  # registrations from before may be gone

    def register_anew(self) -> None:
        """Has every lane registered again before it is used again."""
        self._valid_from = time.monotonic()

    async def write(self, operation: Callable[[Session], Awaitable[T]]) -> T:
        """Runs `operation` with a session, with retries in that same session, or in a new one if that was fenced.

        The caller has awaited `settle()`. Raises `SinkUnavailable` or `SinkError`.
        """
        for _ in range(LANES_A_WRITE):
            lane = self._free.pop() if self._free else await self._open()
            try:
                await self._renew_in_time(lane)
                result = await self._mongodb.retrying(partial(self._attempt, lane, operation))
            except Overtaken:
                self._drop(lane)
                continue
            except BaseException:
                self._doubtful.append(lane)
                raise
            self._free.append(lane)
            return result
        raise SinkUnavailable(f"MongoDB at {self._mongodb.where}: other instances begin full sync after full sync")

    async def settle(self) -> None:
        """Returns when no write that was given up can arrive any more, by us or by whoever was here before us.

        Raises `SinkUnavailable` or `SinkError`.
        """
        if not self._begun:
            await self.fence_others()
        while self._doubtful:
            await self._fencing.done()

    async def fence_others(self) -> None:
        """Returns when no write of a lane that is not ours, and was registered by now, can arrive any more.

        Raises `SinkUnavailable` or `SinkError`.
        """
        await self._fencing_others.done()

    async def close(self) -> None:
        """Takes back the registrations of lanes in which nothing is under way or in doubt. Never raises; bounded."""
        lanes = [lane.id for lane in self._free if lane.registered is not None]
        self._free.clear()
        if lanes:
            with suppress(SinkError):  # then a successor does it
                await self._registry.remove(lanes, CLOSE_SECONDS)

    async def _open(self) -> _Lane:
        lane = _Lane(await self._mongodb.new_session())
        if await self._mongodb.numbers_writes():
            never_again(lane.session)  # another lane, or a call without a session, would be fenced along with it
            registered = time.monotonic()
            self._own.add(lane.id)
            try:
                await self._registry.add(lane.id)
            except BaseException:
                self._own.discard(lane.id)
                raise
            lane.registered = registered
        return lane

    async def _renew_in_time(self, lane: _Lane) -> None:
        if lane.registered is not None and lane.registered < max(self._valid_from, time.monotonic() - RENEW_SECONDS):
            await self._renew(lane)

    async def _renew(self, lane: _Lane) -> None:
        renewed = time.monotonic()
        await self._mongodb.retrying(partial(self._attempt, lane, partial(self._registry.renew, lane.id)))
        lane.registered = renewed

    def _drop(self, fenced: _Lane) -> None:
        """Whoever fenced one lane fences all; in the free ones nothing is under way that could be lost."""
        self._own.difference_update(lane.id for lane in (fenced, *self._free))
        self._free.clear()

    async def _fence_others(self) -> None:
        if await self._mongodb.numbers_writes():
            slots = asyncio.Semaphore(FENCES_AT_ONCE)

            async def fence(lane: Binary) -> None:
                async with slots:
                    await self._registry.fence(lane)

            lanes = [lane for lane in await self._registry.of_mirror() if lane not in self._own]
            for outcome in await asyncio.gather(*map(fence, lanes), return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
            await self._registry.forget_old()
        self._begun = True

    async def _fence_doubtful(self) -> None:
        while self._doubtful:
            lane = self._doubtful[-1]
            try:
                await self._fence(lane)
            except Overtaken:  # by the fence of another instance, which is as good
                self._doubtful.remove(lane)
                self._drop(lane)
            else:
                self._doubtful.remove(lane)
                self._free.append(lane)

    async def _attempt(self, lane: _Lane, operation: Callable[[Session], Awaitable[T]]) -> T:
        if not lane.quiet.is_set():
            raise SinkUnavailable(f"MongoDB at {self._mongodb.where}: an earlier write has not come to its end")
        lane.quiet.clear()
        try:
            return await operation(lane.session)
        except OperationFailure as error:
            if is_overtaken(error):
                raise Overtaken from error
            raise
        finally:
            lane.quiet.set()  # nobody cancels this coroutine, so the thread is done when we get here

    async def _fence(self, lane: _Lane) -> None:
        try:
            await asyncio.wait_for(lane.quiet.wait(), OPERATION_SECONDS)
        except TimeoutError:
            raise SinkUnavailable(
                f"MongoDB at {self._mongodb.where}: an earlier write has not come to its end"
            ) from None
        await self._mongodb.retrying(partial(self._attempt, lane, partial(empty_write, self._collection)))
        if lane.registered is not None:
            await self._renew(lane)
