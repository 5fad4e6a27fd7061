"""A few batches of changes on their way to a sink at once, and the first error of any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType

from hybridsync.model import Applied, Change
from hybridsync.sinks.base import Sink

IN_FLIGHT = 2
"""Batches at once. Four make a first sync no quicker, and probes wait half as long again for a core (B1, B7)."""


class WritePipeline:
    """Applies batches with at most `in_flight` at once; `on_applied` sees each result.

    Use as `async with`. Keys must be distinct over all batches. Leaving the block without an error
    waits for every acknowledgement; leaving it with one cancels what is under way.
    """

    def __init__(self, sink: Sink, on_applied: Callable[[Applied], None], in_flight: int = IN_FLIGHT) -> None:
        self._sink = sink
        self._on_applied = on_applied
        self._slots = asyncio.Semaphore(in_flight)
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None

    async def submit(self, changes: Sequence[Change]) -> None:
        """Hands over one batch; waits for a free slot. Raises the error of an earlier batch."""
        if not changes:
            return
        await self._slots.acquire()
        if self._error is not None:
            self._slots.release()
            raise self._error
        task = asyncio.create_task(self._apply(changes))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Waits until every batch is acknowledged. Raises the first error."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        if self._error is not None:
            raise self._error

    async def _apply(self, changes: Sequence[Change]) -> None:
        try:
            self._on_applied(await self._sink.apply(changes))
        except Exception as error:
            self._error = self._error or error
        finally:
            self._slots.release()

    async def __aenter__(self) -> WritePipeline:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.drain()
        finally:  # also when the waiting itself is cancelled: no write outlives the block
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(set(self._tasks))
