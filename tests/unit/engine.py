"""A resource on in-memory twins with delays of milliseconds, for the tests of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hybridsync.clock import Instant, utc_now
from hybridsync.dirty import DirtySet
from hybridsync.full_sync import FullSync
from hybridsync.model import Applied, Batch, Change, Dirty, Listing
from hybridsync.options import ResourceOptions
from hybridsync.resource import Resource
from hybridsync.state import SyncState, SyncStatus
from hybridsync.status import ResourceStatus, SyncResult
from hybridsync.supervisor import Supervised
from hybridsync.sweep_guard import SweepRules
from hybridsync.testing import MemorySink, MemorySource, MemoryStore, MemoryWatch
from tests.eventually import eventually

FAST = ResourceOptions(
    config_fingerprint="f",
    confirm_interval_seconds=0.002,
    reconnect_backoff=(0.001, 0.002),
    failed_sync_backoff=(0.001, 0.002),
)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def fast(**changes: Any) -> ResourceOptions:
    """`FAST` with other values."""
    return replace(FAST, **changes)


def completed(**changes: Any) -> SyncState:
    """A state that start-up may trust: completed, fresh and of this configuration."""
    now = utc_now()
    state = SyncState(
        resource_type="r",
        status=SyncStatus.COMPLETED,
        last_sync_time=now - timedelta(seconds=10),
        last_sync_duration=0.5,
        last_sync_count=3,
        resource_version="3",
        confirmed_at=now - timedelta(seconds=5),
        config_fingerprint=FAST.config_fingerprint,
    )
    return replace(state, **changes)


class ScriptedSource(MemorySource):
    """A twin with handles: gates that hold a call up, and bugs that nobody foresaw.

    `listing_gate` and `connect_gate`: calls wait until these are set. `deaf`: the connection is
    half-open: probes get no answer and events no hearing. `bug`: raised by the next listing or read.
    """

    def __init__(self, **records: bytes) -> None:
        super().__init__()
        self.listing_gate = asyncio.Event()
        self.connect_gate = asyncio.Event()
        self.listing_gate.set()
        self.connect_gate.set()
        self.deaf = asyncio.Event()
        self.bug: Exception | None = None
        self.connects = 0
        self.reads: list[list[str]] = []
        self.closed = 0
        for key, value in records.items():
            self.put(key, value)

    async def connect(self) -> None:
        self.connects += 1
        await self.connect_gate.wait()
        await super().connect()

    @asynccontextmanager
    async def watch(self, dirty: DirtySet, resume: str | None = None) -> AsyncIterator[MemoryWatch]:
        async with super().watch(dirty, resume) as watch:
            answer = watch.probe

            async def probe() -> None:
                if self.deaf.is_set():
                    await asyncio.wait({watch.lost})
                await answer()

            watch.probe = probe  # type: ignore[method-assign]
            yield watch

    async def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
        async for batch in super().list(listing):
            await self.listing_gate.wait()
            self._meet_the_bug()
            yield batch
        await self.listing_gate.wait()
        self._meet_the_bug()

    async def read(self, keys: Sequence[Dirty]) -> Sequence[Change]:
        self._meet_the_bug()
        self.reads.append([key for key, _ in keys])
        return await super().read(keys)

    async def close(self) -> None:
        self.closed += 1
        await super().close()

    def _meet_the_bug(self) -> None:
        bug, self.bug = self.bug, None
        if bug is not None:
            raise bug


class ScriptedSink(MemorySink):
    """A twin whose writes wait for `gate`; `refused` keys cannot be stored; `bug` is raised by the next write."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.refused: set[str] = set()
        self.bug: Exception | None = None
        self.in_flight = 0

    async def apply(self, changes: Sequence[Change]) -> Applied:
        self.in_flight += 1
        try:
            await self.gate.wait()
            bug, self.bug = self.bug, None
            if bug is not None:
                raise bug
            applied = await super().apply([change for change in changes if change.key not in self.refused])
            applied.failed.update({change.key: "too strange" for change in changes if change.key in self.refused})
            return applied
        finally:
            self.in_flight -= 1


def values(twin: MemorySource | MemorySink) -> dict[str, bytes]:
    """Key → value of everything it holds."""
    return {key: record.value for key, record in twin.records.items()}


def copy(source: MemorySource, sink: MemorySink) -> None:
    """Makes the sink equal to the source, as a full sync in an earlier life would have."""
    sink.records = dict(source.records)


def filled(count: int, sink_too: bool = True) -> tuple[MemorySource, MemorySink]:
    """A source of `count` records, and a sink that holds them."""
    source, sink = MemorySource(), MemorySink()
    source.list_batch = 10
    for number in range(count):
        source.put(f"k{number:05}", b"value")
    if sink_too:
        copy(source, sink)
    return source, sink


def full_sync(source: MemorySource, sink: MemorySink, *, limit: float = 50, stall_seconds: float = 60) -> FullSync:
    """One full sync that has not begun."""
    return FullSync(source, sink, rules=SweepRules(limit), stall_seconds=stall_seconds)


@dataclass
class Engine:
    """One resource on twins, and the task that runs it. Use `running`."""

    options: ResourceOptions = FAST
    source: ScriptedSource = field(default_factory=ScriptedSource)
    sink: ScriptedSink = field(default_factory=ScriptedSink)
    store: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.resource = Resource("r", self.source, self.sink, self.store, self.options)
        self.task = Supervised("resource r", self.resource.run, (0.001, 0.002))
        self.results: list[SyncResult] = []
        self.resource.on_sync.append(self.results.append)

    @property
    def status(self) -> ResourceStatus:
        return self.resource.status()

    @property
    def triggers(self) -> list[str]:
        """Of every full sync that ended, in order; a failed one with a `!`."""
        return [str(result.trigger) + ("!" if result.error else "") for result in self.results]

    @property
    def level(self) -> bool:
        """Whether the mirror equals the source."""
        return values(self.sink) == values(self.source)

    async def until(self, condition: Callable[[], Any], what: str = "the condition") -> None:
        """Waits, and says where things stand if the wait is in vain."""
        try:
            await eventually(condition, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.status}; syncs: {self.triggers}") from None

    async def in_sync(self) -> None:
        """Waits until the resource says so, and holds it to its word; it notices a loss within two turns."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await self.until(lambda: self.status.in_sync, "in sync")
        assert self.level

    async def proven(self) -> None:
        """Waits for a proof of everything up to now, and holds the resource to it."""
        now, expected = utc_now(), values(self.source)
        await self.until(lambda: (self.status.confirmed_at or NOON.min.replace(tzinfo=UTC)) > now, "a proof")
        assert values(self.sink) == expected

    async def proven_meanwhile(self) -> None:
        """Waits for a proof of everything up to now, save what is excepted."""
        now = Instant.now()
        await self.until(lambda: self.resource.confirmed is not None and self.resource.confirmed > now, "a proof")

    async def stop(self) -> None:
        """Stops it in good order."""
        self.resource.stop()
        await self.task.stop(100)
        await self.resource.close()


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[Engine]:
    """Runs the resource as the manager does, and stops it whatever happens."""
    engine.task.start()
    try:
        yield engine
    finally:
        engine.source.connect_gate.set()
        engine.source.listing_gate.set()
        engine.sink.gate.set()
        await engine.stop()


@asynccontextmanager
async def synced(engine: Engine) -> AsyncIterator[Engine]:
    """A running resource after its first sync, with nothing open; `results` starts empty."""
    async with running(engine):
        await engine.in_sync()
        engine.results.clear()
        yield engine


def fresh(engine: Engine) -> Engine:
    """Gives the engine a mirror and a state that start-up trusts."""
    copy(engine.source, engine.sink)
    engine.store.states["r"] = completed(last_sync_count=len(engine.sink.records))
    return engine
