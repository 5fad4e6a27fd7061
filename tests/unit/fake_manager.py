"""A manager that is whatever a test says it is, for the tests of everything that shows or asks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from hybridsync.decision import Action, Decision, Mode, Reason
from hybridsync.errors import Stopping
from hybridsync.health import HealthRoutes
from hybridsync.json_errors import json_errors
from hybridsync.manager import HybridSyncManager, Triggered
from hybridsync.metrics import Metrics
from hybridsync.state import SyncState, SyncStatus
from hybridsync.status import Counters, InformerState, Readiness, ResourceStatus, SyncResult, Trigger

Client = TestClient[web.Request, web.Application]


def at(second: int, millisecond: int = 0) -> datetime:
    """A moment after 2026-11-20 21:00 UTC."""
    return datetime(2026, 11, 20, 21, 0, second, millisecond * 1000, tzinfo=UTC)


def a_result(**changes: Any) -> SyncResult:
    """The result in the contract's example."""
    result = SyncResult(
        trigger=Trigger.STARTUP,
        read=100_000,
        inserted=0,
        updated=3,
        deleted=1,
        unchanged=99_996,
        duration_seconds=1.84,
    )
    return replace(result, **changes)


def a_state(name: str = "services", **changes: Any) -> SyncState:
    """The state in the contract's example."""
    state = SyncState(
        resource_type=name,
        status=SyncStatus.COMPLETED,
        last_sync_time=at(0),
        last_sync_duration=1.84,
        last_sync_count=100_000,
        resource_version="4294967299",
    )
    return replace(state, **changes)


def a_status(name: str = "services", **changes: Any) -> ResourceStatus:
    """The resource in the contract's example."""
    status = ResourceStatus(
        name=name,
        state=a_state(name),
        ready=True,
        is_stale=False,
        age_seconds=12.5,
        in_sync=True,
        confirmed_at=at(14),
        gap_since=None,
        decision=Decision(Mode.AUTO, Action.SKIP, Reason.FRESH, "last full sync 12 s ago, threshold 86400 s"),
        informer_state=InformerState.WATCHING,
        informer_since=at(2),
        last_event_time=None,
        pending=0,
        progress=None,
        last_result=a_result(),
    )
    return replace(status, **changes)


class FakeManager:
    """Says what its attributes say, and remembers what was triggered."""

    def __init__(self, *names: str) -> None:
        self.instance = "host-1234"
        self.resource_names = list(names or ("services",))
        self.started = True
        self.stopping = False
        self.mongodb_reachable = True
        self.counters = {name: Counters() for name in self.resource_names}
        self.ready = Readiness(True, None, ())
        self.dead: list[str] = []
        self.troubles: list[str] = []
        self.shown = [a_status(name) for name in self.resource_names]
        self.running: set[str] = set()
        self.triggered: list[Sequence[str] | None] = []
        self.allowed_sweeps: list[bool] = []
        self.futures: dict[str, asyncio.Future[SyncResult]] = {}
        self.stopped = False
        self.sync_listeners: list[Callable[[str, SyncResult], None]] = []
        self.propagation_listeners: list[Callable[[str, float], None]] = []

    async def start(self) -> None:
        self.started = True

    def begin_stopping(self) -> None:
        self.stopping = True
        self.ready = Readiness(False, "the service is stopping", ())

    async def stop(self) -> None:
        self.stopped = True

    def readiness(self) -> Readiness:
        return self.ready

    def dead_tasks(self) -> list[str]:
        return self.dead

    def statuses(self) -> list[ResourceStatus]:
        return self.shown

    def degraded(self) -> list[str]:
        return self.troubles

    def trigger(self, names: Sequence[str] | None, *, allow_sweep: bool = False) -> Triggered:
        if self.stopping:
            raise Stopping("the service is stopping")
        self.triggered.append(names)
        self.allowed_sweeps.append(allow_sweep)
        chosen = list(names or self.resource_names)
        self.futures = {name: asyncio.get_running_loop().create_future() for name in chosen}
        running = [name for name in chosen if name in self.running]
        return Triggered([name for name in chosen if name not in running], running, self.futures)

    def add_sync_listener(self, listener: Callable[[str, SyncResult], None]) -> None:
        self.sync_listeners.append(listener)

    def add_propagation_listener(self, listener: Callable[[str, float], None]) -> None:
        self.propagation_listeners.append(listener)


def as_manager(fake: FakeManager) -> HybridSyncManager:
    """The fake, for code that is typed with the real class."""
    return cast(HybridSyncManager, fake)


@asynccontextmanager
async def serving(
    fake: FakeManager, token: str | None = None, peer: Any = ("127.0.0.1", 50_000)
) -> AsyncIterator[Client]:
    """A client of the fake's routes; `peer` is whom the connection seems to come from."""
    app = web.Application(middlewares=[json_errors])
    app.middlewares.insert(0, seen_from(peer))
    HealthRoutes(as_manager(fake), Metrics(as_manager(fake)), token).add_to(app)
    # TestServer cancels a handler whose caller hangs up: the hardest case
    async with TestClient(TestServer(app)) as client:
        yield client


def seen_from(peer: Any) -> Any:
    """A middleware that makes a request look as if another peer had connected."""

    @web.middleware
    async def pretend(request: web.Request, handler: Any) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        extra: dict[str, Any] = cast(Any, transport)._extra
        extra["peername"] = peer
        return cast(web.StreamResponse, await handler(request))

    return pretend
