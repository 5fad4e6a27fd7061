"""What kazoo's connection thread works with: its sockets, and how it waits for them.

What is changed in kazoo 2.11 and why:

- the worker threads for callbacks are never started: nothing here uses them, and the interpreter's
  exit would wait for them;
- sockets are dialled before (`dialling`) and read ahead (`buffered_socket`);
- TLS trusts the given authorities only, checks the host name, and leaves no socket open on failure.
"""

from __future__ import annotations

import socket
from typing import Any

from kazoo.exceptions import ConnectionDropped
from kazoo.handlers.threading import SequentialThreadingHandler

from hybridsync.zookeeper.buffered_socket import BufferedSocket, wait_for, with_bytes_ahead
from hybridsync.zookeeper.dialling import in_words
from hybridsync.zookeeper.tls import Tls

HANDSHAKE_SECONDS = 3.0
"""What a server that took the connection may need to answer, TLS included."""

READ_UNASKED = 32
"""So many messages that were read ahead are taken before anybody looks whether there is something to send."""


class Handler(SequentialThreadingHandler):  # type: ignore[misc]  # kazoo has no types
    """kazoo's thread handler without worker threads, with a select of our own and sockets that are dialled already."""

    def __init__(self, tls: Tls | None) -> None:
        super().__init__()
        self.dialled: socket.socket | None = None
        """What `create_connection` takes next."""

        self.patience = HANDSHAKE_SECONDS
        self._tls = tls
        self._unasked = 0

    def start(self) -> None:
        """No worker threads."""

    def stop(self) -> None:
        """Nothing was started."""

    def create_connection(self, *, hostname: str | None = None, **_: Any) -> BufferedSocket:
        """The dialled socket; with TLS its peer's name is checked against `hostname`. Raises `ConnectionDropped`."""
        connected, self.dialled = self.dialled, None
        if connected is None:
            raise ConnectionDropped("nothing was dialled")
        try:
            connected.settimeout(self.patience)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                return BufferedSocket(connected)
            return BufferedSocket(self._tls.renewed().wrap_socket(connected, server_hostname=hostname))
        except (OSError, ValueError) as error:
            connected.close()
            words = in_words(error)
            raise ConnectionDropped(words if words.startswith("TLS") or not self._tls else f"TLS: {words}") from None
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
