"""A manager of resources on twins, for the tests of what they do together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hybridsync.errors import SinkUnavailable
from hybridsync.manager import HybridSyncManager, ManagerOptions
from hybridsync.resource import Resource
from hybridsync.testing import MemoryStore
from tests.eventually import eventually
from tests.unit.engine import ScriptedSink, ScriptedSource, fast

Answer = tuple[bool, str | None, tuple[str, ...]]


class House:
    """A manager of resources on twins that share one MongoDB: `away` takes the ping, the store and the sinks."""

    def __init__(self, *names: str, max_age: float = 0.0, verify_hours: float = 0.0, **options: Any) -> None:
        self.store = MemoryStore()
        self.sources = {name: ScriptedSource(a=b"1") for name in names}
        self.sinks = {name: ScriptedSink() for name in names}
        self.closed = 0
        self.pings = 0
        self.ping_gate = asyncio.Event()
        self.ping_gate.set()
        self.manager = HybridSyncManager(
            [Resource(name, self.sources[name], self.sinks[name], self.store, fast(**options)) for name in names],
            self.ping,
            self.close,
            ManagerOptions(ready_max_age_seconds=max_age, verify_interval_hours=verify_hours),
        )

    async def ping(self) -> None:
        self.pings += 1
        await self.ping_gate.wait()
        if self.store.offline:
            raise SinkUnavailable("MongoDB: no answer")

    async def close(self) -> None:
        self.closed += 1

    def away(self, away: bool) -> None:
        self.store.offline = away
        for sink in self.sinks.values():
            sink.offline = away

    @property
    def answer(self) -> Answer:
        """Of the readiness probe: ready, why not, waiting for whom."""
        readiness = self.manager.readiness()
        return readiness.ready, readiness.reason, readiness.waiting_for

    async def ready(self) -> None:
        await eventually(lambda: self.answer == (True, None, ()), what="ready")


@asynccontextmanager
async def started(house: House) -> AsyncIterator[House]:
    await house.manager.start()
    try:
        yield house
    finally:
        house.ping_gate.set()
        for source in house.sources.values():
            source.listing_gate.set()
        await house.manager.stop()
