"""The process of the commands: how it shares the interpreter, and how it ends.

The end must come within ten seconds in every state, also when a thread hangs in a driver or the event
loop does not turn. So signals are taken by a thread of their own, through the file descriptor that
the C level of Python writes to: it needs nothing from the main thread.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)
WATCHDOG_SECONDS = 9.0
"""From the first signal to the end of the process, whatever state it is in."""


class StopSignal:
    """The first SIGTERM or SIGINT asks for an orderly end, a second one ends the process at once.

    `last_act` is called, on the signal thread, before the process is ended by a second signal or by
    the watchdog. Create it on the main thread, as early as possible: a signal that comes before
    `follow` ends the process with 0, since nothing is running yet.
    """

    def __init__(self, last_act: Callable[[], None] = lambda: None, watchdog_seconds: float = WATCHDOG_SECONDS) -> None:
        self._last_act = last_act
        self._watchdog_seconds = watchdog_seconds
        self._asked: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reader, writer = os.pipe()
        os.set_blocking(writer, False)
        # a full pipe would only mean that many signals are waiting already
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, _nothing)
        threading.Thread(target=self._listen, name="hybridsync-signals", daemon=True).start()

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on the first signal wakes `wait` on this loop."""
        self._asked = asyncio.Event()
        self._loop = loop

    @property
    def asked(self) -> bool:
        """Whether the end was asked for."""
        return self._asked is not None and self._asked.is_set()

    async def wait(self) -> None:
        """Returns when the end was asked for. `follow` must have been called."""
        if self._asked is None:
            raise RuntimeError("StopSignal.follow was not called")
        await self._asked.wait()

    def _listen(self) -> None:
        self._next_signal(None)
        if self._loop is None or self._asked is None:
            os._exit(0)
        with suppress(RuntimeError):  # the loop is closed: the process is on its way out already
            self._loop.call_soon_threadsafe(self._asked.set)
        number = self._next_signal(self._watchdog_seconds)
        self._last_act()
        os._exit(0 if number is None else 128 + number)

    def _next_signal(self, timeout: float | None) -> int | None:
        """The number of the next of our signals; other signals write to the pipe too."""
        while True:
            if not select.select([self._reader], [], [], timeout)[0]:
                return None
            number = os.read(self._reader, 1)[0]
            if number in SIGNALS:
                return number


def _nothing(number: int, frame: FrameType | None) -> None:
    """A handler in Python, so that the signal does not end the process by itself."""


def leave(code: int) -> NoReturn:
    """Flushes what was printed and logged, and ends the process now.

    Not `sys.exit`: that joins the threads of executors, and one that is stuck in a driver, talking to
    a frozen server, would hold the exit for as long as the server stays frozen.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the reader of a pipe is gone: there is nobody to tell
            stream.flush()
    os._exit(code)


def share_the_time() -> None:
    """Keeps a full sync quick and probes answered while several threads want to run Python at once.

    What is loaded by now stays, so the collector need not look through it again, and a sync makes many
    short-lived tuples: with the defaults it stops the event loop for tens of milliseconds. And a
    thread that waits for the interpreter gets it within half a millisecond instead of five.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    sys.setswitchinterval(0.0005)
