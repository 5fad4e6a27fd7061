"""Before a long step of a sync the event loop goes round until a probe that has come could be answered.

A full sync is hundreds of steps of about a millisecond on the event loop's thread, taken by the task that lists and by
those that write: without more ado a turn of the loop may have one of each. An HTTP request needs many turns, so it
would wait for as many times that (B7 of the benchmarks). When each step comes after as many turns without, a request
waits for one step of each task at most. A turn with nothing to do takes microseconds.
"""

from __future__ import annotations

import asyncio

PROBE_TURNS = 9
"""Turns from the connection of a probe to its end: accepting, reading, answering, closing (aiohttp 3.14)."""

MANY_RECORDS = 100
"""What looks at fewer is no long step."""


async def give_way() -> None:
    """Returns after `PROBE_TURNS` turns of the event loop. To be called before a step that keeps it busy."""
    for _ in range(PROBE_TURNS):
        await asyncio.sleep(0)
