"""The HTTP server of the service: aiohttp's, with limits for callers that are slow, many or malformed.

A probe has to be answered whatever others do on the port. So there is a bound on connections, and a
new one is never the one refused: the connection that has been idle for longest (one that sends its
headers byte by byte is idle) makes room. What is not HTTP is answered in one line of JSON; aiohttp
itself would write a traceback, with a piece of the caller's header in it, for each.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterable
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from hybridsync.give_way import give_way
from hybridsync.health_json import NO_STORE

MAX_CONNECTIONS = 512
"""Less where the process may open fewer than twice as many files: the servers' clients need some too."""

BACKLOG = 512
KEEP_ALIVE_SECONDS = 75.0
"""How long a connection may be without a whole request; longer than the minute between two scrapes."""

LINGER_SECONDS = 1.0
"""How long a body that nobody wants is read on, so that the caller sees the answer."""

MAX_HEADERS = 64
"""Headers of one request, each of at most 8 KiB (aiohttp's default)."""

_COSTLY = ("/metrics", "/health/sync")
"""The answers that take longest to make: milliseconds with many resources."""

_NOT_HTTP = f"not proper HTTP, or too large: at most {MAX_HEADERS} headers, and 8190 bytes a line"

log: structlog.stdlib.BoundLogger = structlog.get_logger("hybridsync")


def connections_allowed(wanted: int) -> int:
    """As many as wanted, or half of the files that the process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if files == resource.RLIM_INFINITY else max(1, min(wanted, files // 2))


@web.middleware
async def mark_busy(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tells a connection that a request of its own is being worked on."""
    connection = request.protocol
    if not isinstance(connection, _Connection):
        return await handler(request)
    connection.busy = True
    try:
        return await handler(request)
    finally:
        connection.busy = False


def taking_turns() -> Middleware:
    """A middleware that makes one costly answer at a time, and lets everything else go on before each.

    Callers that ask for metrics without pause cannot make a probe wait for all of theirs.
    """
    turn = asyncio.Lock()

    @web.middleware
    async def take_turns(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.endswith(_COSTLY):
            return await handler(request)
        async with turn:
            await give_way()
            return await handler(request)

    return take_turns


class Listener:
    """Connections to the application of a runner that has been set up."""

    def __init__(
        self,
        runner: web.AppRunner,
        *,
        max_connections: int = MAX_CONNECTIONS,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        assert runner.server is not None, "the runner is to be set up first"
        self._server = runner.server
        self._most = connections_allowed(max_connections)
        self._keep_alive_seconds = keep_alive_seconds
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises `OSError` or `UnicodeError` when the address cannot be used."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._connection, host, port, backlog=BACKLOG)
        return int(self._listening.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Takes no more connections; those that are there are the runner's to end."""
        if self._listening is not None:
            self._listening.close()

    def _connection(self) -> _Connection:
        return _Connection(self._server, self._most, self._keep_alive_seconds)


class _Connection(web.RequestHandler):
    """One connection."""

    __slots__ = ("_most", "_server", "busy")

    def __init__(self, server: web.Server, most: int, keep_alive_seconds: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own way to have none
            keepalive_timeout=keep_alive_seconds,
            lingering_time=LINGER_SECONDS,
            max_headers=MAX_HEADERS,
            auto_decompress=False,  # a small body stays small
        )
        self._server = server
        self._most = most
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Lets it in, and the oldest idle one go when there are too many."""
        super().connection_made(transport)
        everyone = self._server.connections
        if len(everyone) > self._most:
            _make_room([one for one in everyone if one is not self], self._most - 1)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Lets go of it, also of the errors that nobody looked at any more."""
        super().connection_lost(exc)
        for message, _ in getattr(self, "_messages", ()):
            _forget(getattr(message, "exc", None))

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What is not HTTP is the caller's mistake: one line of JSON, and nothing of it in the log."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        _forget(exc)
        log.debug("a malformed request was refused", caller=request.remote, problem=type(exc).__name__)
        answer = web.json_response({"error": _NOT_HTTP}, status=status, headers=NO_STORE)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Leaves out bodies that break off or cannot be read: the caller's mistake too."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)


def _forget(error: BaseException | None) -> None:
    """Takes an error of the parser apart.

    With its traceback it is a cycle that holds what was read, up to 256 KiB; the garbage collector comes
    rarely (see `process.py`), and callers that send noise would fill the memory until then.
    """
    if error is not None:
        error.__traceback__ = error.__context__ = error.__cause__ = None


def _make_room(connections: Iterable[web.RequestHandler], most: int) -> None:
    """Aborts connections until `most` are left: first those without a request, and of those the oldest."""
    left = [one for one in connections if one.transport is not None and not one.transport.is_closing()]
    surplus = max(0, len(left) - most)
    for one in sorted(left, key=lambda one: isinstance(one, _Connection) and one.busy)[:surplus]:
        assert one.transport is not None
        one.transport.abort()
