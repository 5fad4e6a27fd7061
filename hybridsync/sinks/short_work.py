"""Work that is short most of the time: on the event loop's thread while it is, in another thread when it is not.

To hand a thousand documents to a thread and back takes as long as to encode them in C, and two threads that want the
interpreter at once keep probes waiting. Encoded in Python the same documents would stop the loop for tens of
milliseconds. Which of the two it will be is seen only afterwards, so the time that a byte took lately decides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from hybridsync.give_way import give_way

T = TypeVar("T")

INLINE_SECONDS = 0.003
"""How long the event loop is kept from everything else, as far as that is known before."""

FELT_SECONDS = 0.0005
"""Before what takes longer, others come first."""

FIRST_BYTES = 64 * 2**10
"""What is taken to be that short before anything is known."""

MOST_BYTES = 16 * FIRST_BYTES
"""More is never taken to be short: it would be felt when it is not like what came before."""

_FORGETTING = 2.0


class ShortWork:
    """One kind of work. `clock`: seconds of the processor that the calling thread has had."""

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._seconds_a_byte = INLINE_SECONDS / FIRST_BYTES

    async def run(self, size: int, work: Callable[[], T]) -> T:
        """What `work` gives; `size` is about how many bytes there are to look at. Raises what it raises."""
        if size * self._seconds_a_byte > FELT_SECONDS:
            await give_way()
        if size <= MOST_BYTES and size * self._seconds_a_byte <= INLINE_SECONDS:
            return self._timed(size, work)
        return await asyncio.to_thread(self._timed, size, work)

    def _timed(self, size: int, work: Callable[[], T]) -> T:
        began = self._clock()
        try:
            return work()
        finally:
            took = (self._clock() - began) / max(size, FIRST_BYTES)
            self._seconds_a_byte = max(took, self._seconds_a_byte / _FORGETTING)
