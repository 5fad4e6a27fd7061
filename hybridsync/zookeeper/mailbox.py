"""One ordered way from a foreign thread into the event loop.

Everything that a kazoo thread has to say (answers, watch events, connection states) goes through
here in the order in which it was said: that order is what the proof of freshness rests on. Many
messages cost one wake-up of the loop, and a flood of them is worked off in slices, so that
probes are still answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Any

SLICE_SECONDS = 0.005
"""How long one turn of the loop may be spent on messages."""

LOOK_AT_CLOCK_EVERY = 32


class Mailbox:
    """Runs posted calls on `loop`, strictly in the order of posting."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._scheduled = False

    def post(self, handle: Callable[..., None], *args: Any) -> None:
        """Has `handle(*args)` run on the loop. Any thread; never blocks, never raises."""
        self._waiting.append((handle, args))
        if not self._scheduled:
            self._scheduled = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        """Works off what is waiting, for one slice.

        The flag falls before the first look: whoever posts after the last look schedules anew, and
        a turn too many finds an empty box.
        """
        self._scheduled = False
        waiting = self._waiting
        end = time.monotonic() + SLICE_SECONDS
        count = 0
        while waiting:
            handle, args = waiting.popleft()
            try:
                handle(*args)
            except Exception as error:
                self._loop.call_exception_handler({"message": "a ZooKeeper message failed", "exception": error})
            count += 1
            if count % LOOK_AT_CLOCK_EVERY == 0 and time.monotonic() > end:
                self._scheduled = True
                self._loop.call_soon(self._drain)
                return
