"""The service: a manager and an aiohttp application around it, alone or inside somebody else's.

`run_service` is the process of `hybridsync run`. `attach` gives an existing aiohttp application the
manager and its routes, and leaves signals and the process to that application.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import NoReturn, overload

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from hybridsync import logs, native
from hybridsync.errors import HybridSyncError
from hybridsync.health import HealthRoutes, answer
from hybridsync.health_json import one_line
from hybridsync.http_address import base_url
from hybridsync.http_server import Listener, mark_busy, taking_turns
from hybridsync.json_errors import json_errors
from hybridsync.manager import HybridSyncManager
from hybridsync.metrics import Metrics
from hybridsync.process import StopSignal, leave
from hybridsync.settings import Settings
from hybridsync.wiring import build_manager, secrets_of

MANAGER: web.AppKey[HybridSyncManager] = web.AppKey("hybridsync.manager", HybridSyncManager)
"""Where `attach` leaves the manager: `request.config_dict[MANAGER]`."""

_ROUTES: web.AppKey[frozenset[web.AbstractRoute]] = web.AppKey("hybridsync.routes", frozenset)

MANAGER_STOP_SECONDS = 8.0
HTTP_STOP_SECONDS = 0.5
"""Together below the watchdog's 9 s: the orderly way out is the one that is normally taken."""

log: structlog.stdlib.BoundLogger = structlog.get_logger("hybridsync")


class CannotListen(HybridSyncError):
    """The HTTP address cannot be used; nothing was started."""


def attach(app: web.Application, settings: Settings) -> HybridSyncManager:
    """Gives an application a manager, its routes and its lifetime; call it before the application starts.

    The routes are `/health…`, `/metrics` and the same under `/api/v1`. The manager starts with the
    application and is stopped with it; in between it is at `app[MANAGER]`. A server that is away
    holds nothing up: readiness says so. Raises `ConfigurationError` when the settings cannot be used.
    """
    manager = build_manager(settings)
    _, metrics = _add_routes(app, manager, settings)

    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        lag = asyncio.create_task(metrics.sample_lag(), name="hybridsync-lag")
        try:
            await manager.start()
            yield
        finally:
            lag.cancel()
            await manager.stop()

    async def begin_stopping(_: web.Application) -> None:
        manager.begin_stopping()

    app.cleanup_ctx.append(lifetime)
    app.on_shutdown.append(begin_stopping)
    return manager


@web.middleware
async def _until_ready(request: web.Request, handler: Handler) -> web.StreamResponse:
    manager = request.config_dict.get(MANAGER)
    if manager is None:
        raise RuntimeError("require_ready needs hybridsync.attach(app, settings) on the same application")
    if request.match_info.route in request.config_dict[_ROUTES]:
        return await handler(request)
    readiness = manager.readiness()
    if readiness.ready:
        return await handler(request)
    return answer({"error": "System not ready", "message": one_line(readiness.reason)}, status=503)


@overload
def require_ready() -> Middleware: ...
@overload
def require_ready(request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]: ...
@web.middleware
def require_ready(
    request: web.Request | None = None, handler: Handler | None = None
) -> Middleware | Awaitable[web.StreamResponse]:
    """A middleware that answers 503 to everything but hybridsync's own routes until the mirrors are ready.

    For an application, or a sub-application, that `attach` was called on. It may be named in
    `middlewares` as it is or called without arguments.
    """
    if request is None or handler is None:
        return _until_ready
    return _until_ready(request, handler)


def build_app(manager: HybridSyncManager, settings: Settings) -> tuple[web.Application, Metrics]:
    """The application of the service alone: hybridsync's routes, and every error as JSON."""
    app = web.Application(middlewares=[mark_busy, taking_turns(), json_errors])
    routes, metrics = _add_routes(app, manager, settings)
    routes.add_document_to(app)
    return app, metrics


def _add_routes(app: web.Application, manager: HybridSyncManager, settings: Settings) -> tuple[HealthRoutes, Metrics]:
    metrics = Metrics(manager)
    token = settings.control_token
    routes = HealthRoutes(manager, metrics, None if token is None else token.get_secret_value())
    app[MANAGER] = manager
    app[_ROUTES] = routes.add_to(app)
    return routes, metrics


class Service:
    """The manager and its HTTP server, in the running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.manager = build_manager(settings)
        app, self._metrics = build_app(self.manager, settings)
        self._runner = web.AppRunner(app, shutdown_timeout=HTTP_STOP_SECONDS)
        self._listener: Listener | None = None
        self._lag: asyncio.Task[None] | None = None
        self.url = ""

    async def start(self) -> None:
        """Listens, then starts the manager. Raises `CannotListen` before anything is started."""
        await self._runner.setup()
        try:
            await self._listen()
        except CannotListen:
            await self._runner.cleanup()
            raise
        log.info(
            "listening",
            url=self.url,
            instance=self.manager.instance,
            resources=self.manager.resource_names,
            native=native.QUICK is not None,
        )
        self._lag = asyncio.create_task(self._metrics.sample_lag(), name="hybridsync-lag")
        await self.manager.start()

    async def _listen(self) -> None:
        host, port = self._settings.http_host, self._settings.http_port
        self._listener = Listener(self._runner)
        try:
            port = await self._listener.start(host, port)
        except (OSError, UnicodeError) as error:
            reason = one_line(getattr(error, "strerror", None) or str(error))
            raise CannotListen(
                f"cannot listen on {host}:{port}: {reason}; choose another HYBRIDSYNC_HTTP_HOST or HYBRIDSYNC_HTTP_PORT"
            ) from None
        self.url = base_url(host, port)

    def begin_stopping(self) -> None:
        """Not ready from now on; everything goes on working until `stop`."""
        log.info("stopping", pending=sum(status.pending for status in self.manager.statuses()))
        self.manager.begin_stopping()

    async def stop(self) -> None:
        """Flushes and closes within 9 s. HTTP answers probes until the manager is done. Never raises."""
        self.manager.begin_stopping()
        if self._lag is not None:
            self._lag.cancel()
        await _bounded(self.manager.stop(), MANAGER_STOP_SECONDS, "manager")
        if self._listener is not None:
            self._listener.close()
        await _bounded(self._runner.cleanup(), HTTP_STOP_SECONDS + 0.2, "http")


async def _bounded(work: Awaitable[None], limit_seconds: float, what: str) -> None:
    task = asyncio.ensure_future(work)
    # asyncio.wait: unlike wait_for it does not go on to wait for work that cannot be cancelled
    await asyncio.wait({task}, timeout=limit_seconds)
    if not task.done():
        log.warning("did not stop in time", what=what, seconds=limit_seconds)
        task.cancel()
    elif not task.cancelled() and (error := task.exception()) is not None:
        log.error("stopping failed", what=what, error=one_line(str(error)))


def run_service(settings: Settings, stop: StopSignal) -> NoReturn:
    """Runs until a signal, then stops in order and ends the process with 0.

    Raises `CannotListen` or `ConfigurationError` when the service cannot begin.
    """
    logs.configure(settings.log_level, settings.log_format, secrets_of(settings))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(_serve(settings, stop))
    leave(0)


async def _serve(settings: Settings, stop: StopSignal) -> None:
    stop.follow(asyncio.get_running_loop())
    service = Service(settings)
    await service.start()
    await stop.wait()
    service.begin_stopping()
    await service.stop()
    log.info("stopped")
