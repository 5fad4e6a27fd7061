"""Tasks that must not die unseen: each one that ends with an error is named, logged and started again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from hybridsync.recovery import Backoff

log = structlog.get_logger("hybridsync")


class Supervised:
    """Keeps `body` running under `name` until it returns or is stopped.

    `dead` is true from the moment it died of an unforeseen error until it runs again. `delays`: first
    and largest delay before a restart in seconds.
    """

    def __init__(
        self, name: str, body: Callable[[], Awaitable[None]], delays: tuple[float, float] = (1.0, 30.0)
    ) -> None:
        self.name = name
        self.dead = False
        self.restarts = 0
        self._body = body
        self._backoff = Backoff(*delays)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts it; once."""
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def _run(self) -> None:
        while True:
            try:
                await self._body()
                return
            except Exception:
                self.dead = True
                log.exception("a task died and will be started again", task=self.name, restarts=self.restarts)
            await asyncio.sleep(self._backoff.next_delay())
            self.dead = False
            self.restarts += 1

    async def stop(self, patience: float) -> None:
        """Gives the body `patience` seconds to return, then cancels it. Never raises."""
        if self._task is None:
            return
        if not self.dead:
            await asyncio.wait({self._task}, timeout=patience)
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=1.0)
