"""`HybridSyncManager`: all resources together: start, readiness, trigger, stop.

It owns one supervised task a resource, one that asks MongoDB for a sign of life, and the periodic check when
that is on. Nothing here waits for a server: every answer comes from memory.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from hybridsync.decision import Decision
from hybridsync.errors import HybridSyncError, SinkError, Stopping
from hybridsync.informer import FLUSH_SECONDS
from hybridsync.periodic_verify import PeriodicVerify
from hybridsync.preview import Preview
from hybridsync.resource import Resource
from hybridsync.status import Counters, Readiness, ResourceStatus, SyncResult
from hybridsync.supervisor import Supervised
from hybridsync.verify import VerifyReport, verify

log = structlog.get_logger("hybridsync")

PING_INTERVAL_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerOptions:
    """`ready_max_age_seconds`: not ready while `confirmedAt` is older; 0 turns that off.

    `verify_interval_hours`: how often every record is compared, see `PeriodicVerify`; 0 turns that off.
    """

    ready_max_age_seconds: float = 0.0
    verify_interval_hours: float = 0.0


@dataclass(frozen=True, slots=True)
class Triggered:
    """What a trigger did: started, joined, and a future result for each. The futures never raise."""

    accepted: list[str]
    already_running: list[str]
    results: Mapping[str, asyncio.Future[SyncResult]]


class HybridSyncManager:
    """Everything that runs.

    `ping` asks MongoDB for a sign of life within a deadline of its own and raises `SinkError`; `close`
    lets go of its client. `others` are further tasks to keep running. Names of resources are distinct.
    """

    def __init__(
        self,
        resources: Sequence[Resource],
        ping: Callable[[], Awaitable[None]],
        close: Callable[[], Awaitable[None]],
        options: ManagerOptions,
        others: Sequence[Supervised] = (),
    ) -> None:
        self.instance = f"{socket.gethostname()}-{os.getpid()}"
        self.stopping = False
        self.started = False
        self.mongodb_reachable = False
        self._resources = {resource.name: resource for resource in resources}
        self._ping = ping
        self._close = close
        self._options = options
        self._informers = [Supervised(f"resource {resource.name}", resource.run) for resource in resources]
        self._others = [Supervised("mongodb monitor", self._watch_mongodb), *others]
        periodic = PeriodicVerify(resources, options.verify_interval_hours)
        self._others.append(Supervised("periodic verify", periodic.run))

    # -- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts every task and returns at once."""
        for task in (*self._others, *self._informers):
            task.start()

    def begin_stopping(self) -> None:
        """From here on: not ready, no trigger accepted; running full syncs are cut off."""
        if not self.stopping:
            self.stopping = True
            for resource in self._resources.values():
                resource.stop()

    async def stop(self) -> None:
        """Flushes pending changes and lets go of every server. Takes at most some seconds; never raises."""
        self.begin_stopping()
        informers = (task.stop(FLUSH_SECONDS + 0.5) for task in self._informers)
        await asyncio.gather(*informers, *(task.stop(0.0) for task in self._others))
        await _bounded(3.0, *(resource.close() for resource in self._resources.values()))
        await _bounded(1.0, self._close())

    async def _watch_mongodb(self) -> None:
        told = False
        while True:
            try:
                await self._ping()
            except SinkError as error:
                if not told:
                    log.warning("MongoDB cannot be reached", error=str(error))
                told, self.mongodb_reachable = True, False
            else:
                if not self.mongodb_reachable:
                    log.info("MongoDB answers")
                told, self.mongodb_reachable = False, True
                self.readiness()
            await asyncio.sleep(PING_INTERVAL_SECONDS)

    # -- answers ----------------------------------------------------------------------------------

    @property
    def resource_names(self) -> list[str]:
        """In the order of the configuration."""
        return list(self._resources)

    @property
    def counters(self) -> dict[str, Counters]:
        """Live counts by resource."""
        return {name: resource.counters for name, resource in self._resources.items()}

    def statuses(self) -> list[ResourceStatus]:
        """What is known of every resource now."""
        return [resource.status() for resource in self._resources.values()]

    def readiness(self) -> Readiness:
        """The answer of the readiness probe; remembers the first time it was yes."""
        answer = self._readiness()
        self.started = self.started or answer.ready
        return answer

    def _readiness(self) -> Readiness:
        if self.stopping:
            return Readiness(False, "the service is stopping", ())
        waiting = tuple(name for name, resource in self._resources.items() if not resource.ready)
        if not self.mongodb_reachable:
            return Readiness(False, "MongoDB cannot be reached", waiting)
        if waiting:
            return Readiness(False, "waiting for the first full sync", waiting)
        limit = self._options.ready_max_age_seconds
        if limit > 0 and (old := tuple(self._unconfirmed(limit))):
            return Readiness(False, f"not confirmed within READY_MAX_AGE_SECONDS={limit:g}", old)
        return Readiness(True, None, ())

    def _unconfirmed(self, limit: float) -> Iterable[str]:
        for name, resource in self._resources.items():
            confirmed = resource.confirmed
            if confirmed is None or confirmed.age_seconds > limit:
                yield name

    def dead_tasks(self) -> list[str]:
        """Names of supervised tasks that are dead now and wait for their restart."""
        return [task.name for task in (*self._others, *self._informers) if task.dead]

    def degraded(self) -> list[str]:
        """One line for each thing somebody should look at; empty when all is well."""
        troubles = [f"{name} is dead" for name in self.dead_tasks()]
        if not self.mongodb_reachable:
            troubles.append("MongoDB cannot be reached")
        troubles += [trouble for resource in self._resources.values() if (trouble := resource.trouble)]
        return troubles

    # -- requests ---------------------------------------------------------------------------------

    def trigger(self, names: Sequence[str] | None, *, allow_sweep: bool = False) -> Triggered:
        """Asks for a full sync of the named resources (`None`: all), each of which must exist.

        `allow_sweep`: this once without the sweep guard. Raises `Stopping`, and `KeyError` for an unknown name.
        """
        if self.stopping:
            raise Stopping("the service is stopping")
        chosen = [self._resources[name] for name in (self._resources if names is None else dict.fromkeys(names))]
        running = [resource.name for resource in chosen if resource.syncing]
        return Triggered(
            accepted=[resource.name for resource in chosen if resource.name not in running],
            already_running=running,
            results={resource.name: resource.request_sync(allow_sweep=allow_sweep) for resource in chosen},
        )

    def add_sync_listener(self, listener: Callable[[str, SyncResult], None]) -> None:
        """Calls `listener(resource, result)` after each full sync."""
        for resource in self._resources.values():
            resource.on_sync.append(lambda result, name=resource.name: listener(name, result))  # type: ignore[misc]

    def add_propagation_listener(self, listener: Callable[[str, float], None]) -> None:
        """Calls `listener(resource, seconds)` for each watched change, from its commit to its acknowledgement."""
        for resource in self._resources.values():
            resource.on_propagation.append(lambda seconds, name=resource.name: listener(name, seconds))  # type: ignore[misc]

    # -- the command line -------------------------------------------------------------------------

    async def plan(self) -> dict[str, tuple[Decision, Preview]]:
        """What start-up would decide for each resource, and what a sync would do. Raises `SinkError`."""
        decisions = {name: await resource.plan() for name, resource in self._resources.items()}
        return {name: (made, await self._resources[name].preview()) for name, made in decisions.items()}

    async def sync_once(
        self, names: Sequence[str], on_progress: Callable[[ResourceStatus], None] = lambda _: None
    ) -> dict[str, SyncResult]:
        """One full sync of each named resource, all at once; `on_progress` is called some times a second."""
        syncs = {name: asyncio.create_task(self._resources[name].sync_once()) for name in names}
        try:
            while any(not sync.done() for sync in syncs.values()):
                await asyncio.wait(syncs.values(), timeout=0.1)
                for name in names:
                    on_progress(self._resources[name].status())
            return {name: sync.result() for name, sync in syncs.items()}
        finally:
            for sync in syncs.values():
                sync.cancel()
            await asyncio.gather(*syncs.values(), return_exceptions=True)

    async def verify(self, names: Sequence[str], repair: bool) -> dict[str, VerifyReport]:
        """Compares source and mirror of each named resource record by record; see `hybridsync/verify.py`."""
        reports: dict[str, VerifyReport] = {}
        for name in names:
            resource = self._resources[name]
            try:
                await resource.source.connect()
                reports[name] = await verify(
                    resource.source,
                    resource.sink,
                    repair=repair,
                    sweep_limit_percent=resource.options.sweep_limit_percent,
                    stall_seconds=resource.options.sync_timeout_seconds,
                )
            except HybridSyncError as error:
                reports[name] = VerifyReport(error=str(error))
        return reports


async def _bounded(seconds: float, *things: Awaitable[None]) -> None:
    """Waits for all, not longer than `seconds`; errors are logged."""
    tasks = {asyncio.ensure_future(thing) for thing in things}
    if not tasks:
        return
    done, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()  # and not waited for: what ignores that must not hold the others up
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("could not close in good order", error=str(error))
