"""A resource between the fake API server and a sink whose versions have no order, run by the real engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from hybridsync.kube_object import object_key, object_version
from hybridsync.kube_target import Target
from hybridsync.model import Applied, Put, Remove
from hybridsync.resource import Resource
from hybridsync.sources.kube_shape import Shape
from hybridsync.sources.kubernetes import KubernetesSource, kubernetes_source
from hybridsync.status import ResourceStatus, SyncResult
from hybridsync.supervisor import Supervised
from hybridsync.testing import MemorySink, MemoryStore
from tests.eventually import eventually
from tests.fakes.kube_api import KubeApi
from tests.unit.engine import fast


class OrderlessSink(MemorySink):
    """Keeps what was written last: versions say equal or not, nothing more."""

    @property
    def keeps_newest(self) -> bool:
        return False

    def _put(self, put: Put, applied: Applied) -> None:
        known = put.key in self.records
        self.writes += 1
        self.records[put.key] = put.record
        applied.inserted += not known
        applied.updated += known

    def _remove(self, remove: Remove, applied: Applied) -> None:
        held = self.records.get(remove.key)
        if held is not None and remove.seen in (None, held.version):
            self.writes += 1
            del self.records[remove.key]
            applied.deleted += 1


class Scene:
    """One life of a process: `source`, `sink` and `store` may be handed on to the next."""

    def __init__(
        self,
        api: KubeApi,
        kubeconfig: str,
        target: Target = Target("apps/v1", "deployments"),  # noqa: B008 - immutable
        *,
        before: Scene | None = None,
        shape: Shape | None = None,
        lists: asyncio.Semaphore | None = None,
        **options: Any,
    ) -> None:
        self.api = api
        self.kubeconfig = kubeconfig
        self.target = target
        self.sink: OrderlessSink = before.sink if before else OrderlessSink()
        self.store: MemoryStore = before.store if before else MemoryStore()
        self.source: KubernetesSource = kubernetes_source(
            target, shape or Shape(target), kubeconfig, None, lists or asyncio.Semaphore(4)
        )
        self.resource = Resource("r", self.source, self.sink, self.store, fast(**options))
        self.results: list[SyncResult] = []
        self.resource.on_sync.append(self.results.append)
        self.task = Supervised("resource r", self.resource.run, (0.001, 0.002))

    @property
    def status(self) -> ResourceStatus:
        """What the resource says."""
        return self.resource.status()

    @property
    def triggers(self) -> list[str]:
        """Of every full sync that ended; a failed one with a `!`."""
        return [str(result.trigger) + ("!" if result.error else "") for result in self.results]

    def expected(self) -> dict[str, int]:
        """Key → version of what the server holds."""
        return {
            object_key(one["metadata"].get("namespace"), one["metadata"]["name"]): object_version(
                one["metadata"]["uid"], one["metadata"]["resourceVersion"]
            )
            for one in self.api.do(lambda: list(self.api.store.objects(self.target.plural)))
        }

    def held(self) -> dict[str, int]:
        """Key → version of what the sink holds."""
        return {key: record.version for key, record in self.sink.records.items()}

    def value(self, key: str) -> Any:
        """What the sink holds of an object."""
        return json.loads(self.sink.records[key].value)

    async def until(self, condition: Callable[[], Any], what: str = "the condition") -> None:
        """Waits, and says where things stand if the wait is in vain."""
        try:
            await eventually(condition, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.status}; syncs: {self.triggers}") from None

    async def level(self) -> None:
        """Waits until the resource is in sync and the sink equals the server."""
        await self.until(lambda: self.status.in_sync and self.held() == self.expected(), "level and in sync")


@asynccontextmanager
async def running(scene: Scene) -> AsyncIterator[Scene]:
    """Runs the resource, and stops it whatever happens."""
    scene.task.start()
    try:
        yield scene
    finally:
        scene.resource.stop()
        await scene.task.stop(60)
        await scene.resource.close()


@asynccontextmanager
async def synced(scene: Scene) -> AsyncIterator[Scene]:
    """A running resource after its first sync; `results` and the requests asked so far are forgotten."""
    async with running(scene):
        await scene.level()
        scene.results.clear()
        scene.api.do(scene.api.asked.clear)
        yield scene
