"""The same for many namespaces or keys, some at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def together(work: Callable[[str], Awaitable[T]], names: Iterable[str], at_once: int) -> list[T]:
    """The results in order. The first error ends the others, and is raised once they are at an end."""
    room = asyncio.Semaphore(at_once)

    async def one(name: str) -> T:
        async with room:
            return await work(name)

    tasks = [asyncio.create_task(one(name)) for name in names]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
