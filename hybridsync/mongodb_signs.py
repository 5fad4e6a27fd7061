"""Signs of life of MongoDB: whether a server that takes writes answers, told as soon as it is known that none can.

A request waits for a server until its deadline. Meanwhile the driver's monitors may know already that every server
refuses connections (`mongodb_topology.py`), so that is looked at while the answer is awaited.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pymongo.topology_description import TopologyDescription

from hybridsync.errors import SinkError, SinkUnavailable
from hybridsync.mongodb_topology import VARIABLE, is_out_of_reach, no_primary, trouble_of

OUT_OF_REACH_SECONDS = 0.5
"""No server could be reached for so long: then the deadline is not awaited. What was only cut comes back sooner."""

LOOK_SECONDS = 0.05

_GRACE_SECONDS = 1.0
"""How much later than its deadline an answer is given up that should have ended by itself."""


class SignsOfLife:
    """`hello` asks a server within a deadline in seconds and raises `SinkError`; `topology` is known without asking.

    `missing`: why the last sign did not come; `None` when it did. `where`: the servers, without credentials.
    """

    def __init__(
        self,
        hello: Callable[[float], Awaitable[Mapping[str, Any]]],
        topology: Callable[[], TopologyDescription],
        where: str,
    ) -> None:
        self.missing: str | None = None
        self._hello = hello
        self._topology = topology
        self._where = where
        self._asking: asyncio.Future[Mapping[str, Any]] | None = None

    async def ask(self, deadline: float) -> None:
        """Returns when a server that takes writes has answered. Raises `SinkUnavailable`, else `SinkError`."""
        try:
            if (reason := no_primary(await self._answer(deadline), self._where)) is not None:
                raise SinkUnavailable(reason)
        except SinkError as error:
            said = str(error)
            self.missing = said if VARIABLE in said else f"{said}; check {VARIABLE}"
            raise
        self.missing = None

    async def _answer(self, deadline: float) -> Mapping[str, Any]:
        if self._asking is None or self._asking.done():  # else the last one still waits for an answer
            self._asking = asyncio.ensure_future(self._hello(deadline))
            self._asking.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen
        started = time.monotonic()
        reached = started
        while not self._asking.done():
            try:
                await asyncio.wait({self._asking}, timeout=LOOK_SECONDS)
            except asyncio.CancelledError:
                self._asking.cancel()
                raise
            now, found = time.monotonic(), self._topology()
            if not is_out_of_reach(found):
                reached = now
            elif now - reached >= OUT_OF_REACH_SECONDS and not self._asking.done():
                raise SinkUnavailable(trouble_of(found, self._where) or f"MongoDB at {self._where} cannot be reached")
            if now - started > deadline + _GRACE_SECONDS:
                raise SinkUnavailable(f"MongoDB at {self._where}: no answer within {deadline:g} s; check {VARIABLE}")
        return self._asking.result()
