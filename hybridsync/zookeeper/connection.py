"""One kazoo client, tamed: it lives for one ZooKeeper session and says everything in order.

What is changed in kazoo 2.11 and why:

- watch events are taken on the connection thread, where the answers come in, so that both keep
  their order (kazoo hands them to two other threads, and drops events without a watcher of its own);
- nothing blocks the caller: kazoo joins its threads in `start` and `stop`, here their end is a message;
- the worker threads for callbacks are never started: nothing here uses them, and the interpreter's
  exit would wait for them;
- TLS trusts the given authorities only, checks the host name, and leaves no socket open on failure;
- a session that is over ends the client: a new session is a new client with nothing left over;
- its log is silent: it would write credentials (`Sending request: Auth(...)`) and repeat itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Protocol

from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, ConnectionDropped
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry

from hybridsync.zookeeper import wire
from hybridsync.zookeeper.buffered_socket import BufferedSocket, wait_for, with_bytes_ahead
from hybridsync.zookeeper.mailbox import Mailbox
from hybridsync.zookeeper.settings import Servers

MAX_CALLS = 64
"""Calls inside kazoo at a time. Each leaves a byte in a socket pair whose 279th blocks its writer (kazoo#577)."""

MAX_RETRY_SECONDS = 3.0
STEADY_SECONDS = 1.0
"""A connection that lasted this long is followed by the next one without a delay of ours."""

CONNECT_SECONDS = 10.0
MAX_ANSWER_BYTES = 1 << 30
READ_BYTES = 256 * 1024

READ_UNASKED = 32
"""So many messages that were read ahead are taken before anybody looks whether there is something to send."""

_silent = logging.Logger("kazoo, silent", level=logging.CRITICAL + 1)


class Owner(Protocol):
    """Who is told, on the event loop and in order."""

    def on_connected(self, link: Link) -> None:
        """Requests can be sent."""

    def on_suspended(self, link: Link) -> None:
        """The connection is gone; the session may come back."""

    def on_over(self, link: Link) -> None:
        """The session is gone, or never was. May come twice."""

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
        tls: ssl.SSLContext | None,
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
            handler=_Handler(tls),
            connection_retry=KazooRetry(max_tries=-1, max_delay=MAX_RETRY_SECONDS),
            logger=_silent,
        )
        self._client._connection = _Connection(self._client, self)
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

    def failed(self, reason: str) -> None:
        """An attempt to connect failed (connection thread)."""
        self.last_failure = reason

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


class _Handler(SequentialThreadingHandler):  # type: ignore[misc]
    """kazoo's thread handler without worker threads, with connections and a select of our own."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self._tls = tls
        self._unasked = 0

    def start(self) -> None:
        """No worker threads."""

    def stop(self) -> None:
        """Nothing was started."""

    def create_connection(
        self, address: tuple[str, int], hostname: str | None = None, timeout: float = CONNECT_SECONDS, **_: Any
    ) -> BufferedSocket:
        """A connected socket; with TLS its peer's name is checked against `hostname`."""
        connected = socket.create_connection(address, min(timeout, CONNECT_SECONDS))
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return BufferedSocket(
                self._tls.wrap_socket(connected, server_hostname=hostname) if self._tls else connected
            )
        except BaseException:
            connected.close()
            raise

    def create_socket_pair(self) -> tuple[socket.socket, socket.socket]:
        """The pair through which a caller wakes the thread: with its buffer full a call fails instead of waiting.

        Bytes of calls that a lost connection took along stay in it until the next connection.
        """
        reading, writing = super().create_socket_pair()
        writing.setblocking(False)
        return reading, writing

    def select(self, readable: Any, writable: Any, exceptional: Any, timeout: float | None = None) -> Any:
        """kazoo's select, with our sockets; it makes a new selector for each call, and sees no bytes read ahead.

        kazoo asks for each message. While one is here already, the system is only asked now and then.
        """
        if not writable and self._unasked < READ_UNASKED:
            ahead = with_bytes_ahead(readable)
            if ahead:
                self._unasked += 1
                return ahead, [], []
        self._unasked = 0
        ready, free = wait_for(readable, writable, timeout)
        return ready, free, []


class _Connection(ConnectionHandler):  # type: ignore[misc]
    """kazoo's connection thread, telling `Link` what happens in the order in which it happens."""

    def __init__(self, client: _Client, link: Link) -> None:
        super().__init__(client, client._conn_retry.copy(), logger=_silent)
        self._link = link
        self._up_since: float | None = None
        self._hung_up = 0

    def zk_loop(self) -> None:
        """The thread. It ends on anything unexpected: an unknown error code, an answer out of turn."""
        try:
            super().zk_loop()
        except Exception as error:
            self._link.failed(f"the connection ended on something unexpected: {type(error).__name__}: {error}")
        finally:
            self.close()
            self._link.ended()

    def _expand_client_hosts(self) -> Any:
        found = super()._expand_client_hosts()
        if not found:
            self._link.failed("no host name can be resolved")
        return found

    def _connect_attempt(self, host: str, hostip: str, port: int, retry: Any) -> Any:
        """One attempt and, when it succeeds, the whole life of the connection.

        kazoo forgets its back-off at every handshake: a server that shakes hands and hangs up would be
        asked ten times a second, for ever.
        """
        self._up_since = None
        outcome = super()._connect_attempt(host, hostip, port, retry)
        if self._up_since is not None:
            lasted = time.monotonic() - self._up_since
            if lasted >= STEADY_SECONDS:
                self._hung_up = 0
            else:
                self._link.failed(f"{host}:{port}: the connection was lost {lasted:.1f} s after the handshake")
                if self._hung_up:
                    # well below the session timeout: the delay itself must not cost the session
                    most = min(MAX_RETRY_SECONDS, self._link.negotiated_seconds / 4)
                    delay = min(most, 0.1 * 2.0**self._hung_up)
                    self.client._stopped.wait(delay * random.uniform(0.5, 1.0))
                self._hung_up = min(self._hung_up + 1, 10)
        return outcome

    def _connect(self, host: str, hostip: str, port: int) -> Any:
        try:
            read_milliseconds, connect_milliseconds = super()._connect(host, hostip, port)
        except AuthFailedError:
            self._link.failed(f"{host}:{port} refused the credentials")
            raise
        except Exception as error:
            self._link.failed(f"{host}:{port}: {error or type(error).__name__}")
            raise
        self._up_since = time.monotonic()
        self._link.established(read_milliseconds * 1.5 / 1000)  # kazoo reads for two thirds of the timeout
        return read_milliseconds, connect_milliseconds

    def _read(self, length: int, timeout: float) -> bytes:
        """Reads in bounded pieces: kazoo allocates all that is missing for each piece that arrives."""
        if not 0 <= length <= MAX_ANSWER_BYTES:
            raise ConnectionDropped(f"an answer of {length} bytes was announced")
        ahead: bytes | None = self._socket.read_ahead(length)
        if ahead is not None:
            return ahead
        read = super()._read
        if length <= READ_BYTES:
            return bytes(read(length, timeout))
        return b"".join([read(min(READ_BYTES, length - at), timeout) for at in range(0, length, READ_BYTES)])

    def _read_watch_event(self, buffer: bytes, offset: int) -> None:
        """An event that cannot be understood breaks the connection: it could be any change."""
        try:
            event = wire.read_event(buffer, offset)
        except wire.MalformedAnswer as error:
            raise ConnectionDropped(str(error)) from None
        if event.kind in (wire.CREATED, wire.DELETED, wire.CHANGED):
            self._link.received(event)
        elif event.kind not in (wire.SESSION_EVENT, wire.CHILDREN_CHANGED):
            raise ConnectionDropped(f"watch event of kind {event.kind}: a watch was removed")
