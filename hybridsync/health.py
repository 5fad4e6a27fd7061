"""Probes, status, trigger and metrics as aiohttp routes.

Every answer comes from memory: no request here waits for ZooKeeper or MongoDB, except a trigger that
asks to wait for its own result. The same routes exist at `/health…` and at `/api/v1/health…`.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.hdrs import METH_ANY
from aiohttp.typedefs import Handler

from hybridsync import health_trigger, openapi
from hybridsync.health_json import NO_STORE, Json, excepted_json, one_line, readiness_json, sync_json
from hybridsync.metrics import Metrics
from hybridsync.version import version

if TYPE_CHECKING:
    from hybridsync.manager import HybridSyncManager

PREFIXES = ("", "/api/v1")
EXCEPTIONS_A_PAGE = 1000


def answer(body: Json, *, status: int = 200) -> web.Response:
    """A JSON answer that nobody may keep."""
    return web.json_response(body, status=status, headers=NO_STORE)


class HealthRoutes:
    """The routes of one manager."""

    def __init__(self, manager: HybridSyncManager, metrics: Metrics, control_token: str | None) -> None:
        self._manager = manager
        self._metrics = metrics
        self._control_token = control_token
        self._began = time.monotonic()

    def add_to(self, app: web.Application) -> frozenset[web.AbstractRoute]:
        """Adds every route to an application and tells which they are."""
        readable: dict[str, Handler] = {
            "/health": self.health,
            "/health/live": self.live,
            "/health/startup": self.startup,
            "/health/ready": self.ready,
            "/health/sync": self.sync,
            "/health/sync/exceptions": self.exceptions,
            "/metrics": self.metrics,
        }
        routes: list[web.AbstractRoute] = []
        measured = {path: self._metrics.timed(path, handler) for path, handler in readable.items()}
        trigger = self._metrics.timed("/health/sync/trigger", self.trigger)
        for prefix in PREFIXES:
            for path, handler in measured.items():
                resource = app.router.add_resource(prefix + path)
                routes += [resource.add_route(method, handler) for method in ("GET", "HEAD")]
                routes.append(resource.add_route(METH_ANY, _only("GET, HEAD")))
            resource = app.router.add_resource(f"{prefix}/health/sync/trigger")
            routes.append(resource.add_route("POST", trigger))
            routes.append(resource.add_route(METH_ANY, _only("POST")))
        return frozenset(routes)

    def add_document_to(self, app: web.Application) -> None:
        """Adds the OpenAPI document; an application that hybridsync is a guest in may have one of its own."""
        document = json.dumps(openapi.document(PREFIXES))

        async def show(request: web.Request) -> web.Response:
            return web.json_response(text=document, headers=NO_STORE)

        for prefix in PREFIXES:
            resource = app.router.add_resource(prefix + openapi.PATH)
            for method in ("GET", "HEAD"):
                resource.add_route(method, show)
            resource.add_route(METH_ANY, _only("GET, HEAD"))

    async def health(self, request: web.Request) -> web.Response:
        """Always 200 while the process answers; `degraded` says why in `reasons`."""
        reasons = self._manager.degraded()
        body: Json = {
            "status": "degraded" if reasons else "ok",
            "version": version(),
            "uptimeSeconds": round(time.monotonic() - self._began, 3),
            "instance": self._manager.instance,
        }
        if reasons:
            body["reasons"] = [one_line(reason) for reason in reasons]
        return answer(body)

    async def live(self, request: web.Request) -> web.Response:
        """200 while the event loop turns and no supervised task is dead."""
        dead = self._manager.dead_tasks()
        if not dead:
            return answer({"live": True})
        return answer({"live": False, "error": f"dead task: {', '.join(dead)}", "deadTasks": dead}, status=503)

    async def startup(self, request: web.Request) -> web.Response:
        """503 until the service was ready for the first time, then 200 for good."""
        started = self._manager.started
        body: Json = {"started": started}
        if not started:
            readiness = readiness_json(self._manager.readiness())
            body |= {"reason": readiness["reason"], "waitingFor": readiness["waitingFor"]}
        return answer(body, status=200 if started else 503)

    async def ready(self, request: web.Request) -> web.Response:
        """Whether the mirrors may be used now."""
        readiness = self._manager.readiness()
        return answer(readiness_json(readiness), status=200 if readiness.ready else 503)

    async def sync(self, request: web.Request) -> web.Response:
        """Everything that is known about each resource."""
        manager = self._manager
        return answer(sync_json(manager.readiness().ready, manager.instance, manager.statuses()))

    async def exceptions(self, request: web.Request) -> web.Response:
        """All exceptions of one resource, a page at a time, in the order of their keys."""
        known = {status.name: status.exceptions for status in self._manager.statuses()}
        name = request.query.get("resource")
        if unknown := sorted(set(request.query) - {"resource", "after"}):
            return answer(_error(f"unknown parameter {unknown[0]!r}: allowed are resource and after"), status=400)
        if name is None:
            return answer(_error(f"the parameter resource is missing; known: {', '.join(known)}"), status=400)
        if name not in known:
            body = _error(f"unknown resource {name!r}; known: {', '.join(known)}") | {"unknown": [one_line(name)]}
            return answer(body, status=404)
        after = request.query.get("after", "")
        page = await asyncio.to_thread(known[name].copied().page, after, EXCEPTIONS_A_PAGE)  # there may be a million
        more = page[-1].key if len(page) >= EXCEPTIONS_A_PAGE else None
        return answer({"exceptions": [excepted_json(one) for one in page], "next": more})

    async def trigger(self, request: web.Request) -> web.Response:
        """Starts full syncs."""
        return await health_trigger.trigger(request, self._manager, self._control_token)

    async def metrics(self, request: web.Request) -> web.Response:
        """What Prometheus sees."""
        body, content_type = self._metrics.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type, **NO_STORE})


def _error(text: str) -> Json:
    return {"error": one_line(text)}


def _only(allowed: str) -> Handler:
    """Answers every method that a route does not have. Written as a route so that it holds in a host
    application too, whose own 405 pages are not ours to change."""

    async def refuse(request: web.Request) -> web.Response:
        body = {"error": f"method {one_line(request.method)} is not allowed here; allowed: {allowed}"}
        return web.json_response(body, status=405, headers={"Allow": allowed, **NO_STORE})

    return refuse
