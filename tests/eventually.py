"""Waiting for a condition instead of sleeping and hoping."""
# ruff: noqa: ASYNC109 - the deadline belongs to the words of the failure, so it is a parameter here

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1


@overload
async def eventually(predicate: Callable[[], Awaitable[T]], timeout: float = ..., what: str = ...) -> T: ...
@overload
async def eventually(predicate: Callable[[], T], timeout: float = ..., what: str = ...) -> T: ...
async def eventually(predicate: Callable[[], Any], timeout: float = 60.0, what: str = "the condition") -> Any:
    """Asks `predicate` (plain or async) until its answer is true, and returns that answer.

    An `AssertionError` means "not yet". After `timeout` seconds the test fails and says what was
    awaited (`what`) and what the last answer or assertion was. Any other exception passes at once.
    """
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    last: Any
    while True:
        try:
            last = predicate()
            if inspect.isawaitable(last):
                last = await last
            if last:
                return last
        except AssertionError as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"after {timeout:g} s still not so: {what}; last answer: {last!r}")
        await asyncio.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * 1.5)
