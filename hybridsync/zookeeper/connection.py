"""One kazoo client, tamed: it lives for one ZooKeeper session and says everything in order.

What is changed in kazoo 2.11 and why, besides what `connection_thread` and `handler` change:

- nothing blocks the caller: kazoo joins its threads in `start` and `stop`, here their end is a message;
- a session that is over ends the client: a new session is a new client with nothing left over;
- its log is silent: it would write credentials (`Sending request: Auth(...)`) and repeat itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Protocol

from kazoo.client import KazooClient
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry

from hybridsync.zookeeper import wire
from hybridsync.zookeeper.connection_thread import MAX_RETRY_SECONDS, Connection, silent
from hybridsync.zookeeper.handler import Handler
from hybridsync.zookeeper.mailbox import Mailbox
from hybridsync.zookeeper.names import Resolver
from hybridsync.zookeeper.settings import Servers
from hybridsync.zookeeper.tls import Tls

MAX_CALLS = 64
"""Calls inside kazoo at a time. Each leaves a byte in a socket pair whose 279th blocks its writer (kazoo#577)."""


class Owner(Protocol):
    """Who is told, on the event loop and in order."""

    def on_connected(self, link: Link) -> None:
        """Requests can be sent."""

    def on_suspended(self, link: Link) -> None:
        """The connection is gone; the session may come back."""

    def on_over(self, link: Link) -> None:
        """The session is gone, or never was. May come twice."""

    def on_failed(self, link: Link, address: str, reason: str) -> None:
        """A server cannot be used, and why, in words. Comes with each attempt."""

    def on_event(self, link: Link, kind: int, path: str) -> None:
        """A watch event; `path` is the server's."""


class Sink(Protocol):
    """What kazoo hands the answer to a call, on its own thread."""

    def set(self, value: Any) -> None:
        """The answer."""

    def set_exception(self, error: Exception) -> None:
        """There is none."""


class Link:
    """A kazoo client with its connection thread, for the length of one session. Used on the loop."""

    def __init__(
        self,
        servers: Servers,
        timeout_seconds: float,
        credentials: tuple[str, str] | None,
        tls: Tls | None,
        resolver: Resolver,
        mailbox: Mailbox,
        owner: Owner,
    ) -> None:
        self.slots = asyncio.Semaphore(MAX_CALLS)
        self.finished = asyncio.Event()
        self.negotiated_seconds = timeout_seconds
        self.last_failure: str | None = None
        self.was_connected = False
        self._mailbox = mailbox
        self._owner = owner
        self._client = _Client(
            hosts=servers.text,
            timeout=timeout_seconds,
            auth_data=[credentials] if credentials else None,
            handler=Handler(tls),
            connection_retry=KazooRetry(max_tries=-1, max_delay=MAX_RETRY_SECONDS),
            logger=silent,
        )
        self._client._connection = Connection(self._client, self, resolver)
        self._client.add_listener(self._on_state)

    def start(self) -> None:
        """Starts connecting, again and again, on a daemon thread."""
        self._client.start_async()

    def call(self, request: Any, sink: Sink) -> None:
        """Hands a request to kazoo. The caller holds one of `slots` until the sink has been told."""
        self._client._call(request, sink)

    @property
    def last_zxid(self) -> int:
        """Of the answer that a sink is being told, when read in the sink."""
        return int(self._client.last_zxid)

    def drop_connection(self) -> None:
        """Shuts the socket down, so that the connection thread sees it at once."""
        connected = self._client._connection._socket
        if connected is not None:
            with contextlib.suppress(OSError):
                connected.shut_down()

    def stop(self) -> None:
        """Asks kazoo to close the session and to end its thread; `finished` is set when it has."""
        with contextlib.suppress(Exception):  # the socket pair of a thread that has ended is closed
            self._client.stop()

    def _on_state(self, state: str) -> None:
        """kazoo's listener, on the connection thread. CONNECTED is said later, by `established`."""
        if state == KazooState.SUSPENDED:
            self.post(self._owner.on_suspended, self)
        elif state == KazooState.LOST:
            self._client._stopped.set()
            self.post(self._owner.on_over, self)

    def post(self, handle: Callable[..., None], *args: Any) -> None:
        """Has the loop run `handle` after everything said before. Any thread."""
        self._mailbox.post(handle, *args)

    def established(self, negotiated_seconds: float) -> None:
        """The connection is up and authenticated (connection thread)."""
        self.last_failure = None
        self.negotiated_seconds = negotiated_seconds
        self.post(self._owner.on_connected, self)

    def failed(self, address: str, reason: str) -> None:
        """An attempt to use the server at `address` failed (connection thread)."""
        self.last_failure = f"{address}: {reason}"
        self.post(self._owner.on_failed, self, address, reason)

    def received(self, event: wire.Event) -> None:
        """A watch event came in (connection thread)."""
        self.post(self._owner.on_event, self, event.kind, event.path)

    def ended(self) -> None:
        """The connection thread is about to end (connection thread)."""
        self.post(self._owner.on_over, self)
        self.post(self.finished.set)


class _Client(KazooClient):  # type: ignore[misc]  # kazoo has no types
    """kazoo's client, without its habit of waiting for its own threads."""

    def _safe_close(self) -> None:
        """Called by `start_async` and `stop`; the end of the thread is told by `Link.ended`."""
