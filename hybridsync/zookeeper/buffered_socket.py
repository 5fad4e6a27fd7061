"""A socket that reads ahead, for kazoo's connection thread.

kazoo reads each message in two pieces (its length, then the rest) and asks `select` before each. In a
burst of watch events, which are small, that is what limits how many are taken in a second. Here one
`recv` brings what has arrived, up to `AHEAD_BYTES`, and the pieces come out of memory.
"""

from __future__ import annotations

import errno
import math
import select
import socket
import ssl
from collections.abc import Sequence

AHEAD_BYTES = 64 * 1024


class BufferedSocket:
    """A connected socket, plain or TLS, as far as kazoo uses one. Read by one thread.

    `pending()` is what kazoo asks TLS sockets: how many bytes can be had without the network.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._ahead = b""
        self._at = 0

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; empty at the end of the stream. Raises what the socket raises."""
        if self._at == len(self._ahead):
            if size >= AHEAD_BYTES:
                return self._socket.recv(size)
            self._ahead, self._at = self._socket.recv(AHEAD_BYTES), 0
        piece = self._ahead[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def read_ahead(self, size: int) -> bytes | None:
        """Exactly `size` bytes that were read ahead; `None` when there are fewer."""
        end = self._at + size
        if end > len(self._ahead):
            return None
        piece = self._ahead[self._at : end]
        self._at = end
        return piece

    def pending(self) -> int:
        """Bytes that were read or decrypted and not yet handed out."""
        ahead = len(self._ahead) - self._at
        if ahead == 0 and isinstance(self._socket, ssl.SSLSocket):
            return self._socket.pending()
        return ahead

    def send(self, data: memoryview) -> int:
        """Sends some of `data`; says how much."""
        return self._socket.send(data)

    def fileno(self) -> int:
        """The descriptor; -1 once closed."""
        return self._socket.fileno()

    def setblocking(self, flag: bool) -> None:
        """As on a socket."""
        self._socket.setblocking(flag)

    def close(self) -> None:
        """As on a socket."""
        self._socket.close()

    def shut_down(self) -> None:
        """Ends the stream in both directions, from any thread. Raises `OSError` when it has ended.

        The method of the plain socket is called: that of a TLS socket takes its state apart while
        the other thread is using it.
        """
        socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def with_bytes_ahead(readable: Sequence[BufferedSocket | socket.socket]) -> list[BufferedSocket | socket.socket]:
    """Those of which bytes can be had without the network."""
    return [one for one in readable if isinstance(one, BufferedSocket) and one.pending()]


def wait_for(
    readable: Sequence[BufferedSocket | socket.socket],
    writable: Sequence[BufferedSocket | socket.socket],
    timeout: float | None,
) -> tuple[list[BufferedSocket | socket.socket], list[BufferedSocket | socket.socket]]:
    """`select` that sees what was read ahead: those of the sockets that can be read, and written, now.

    `timeout` in seconds, `None` for ever. Raises `OSError` when one of them is closed.
    """
    poll = select.poll()
    for one in {*readable, *writable}:
        if one.fileno() < 0:
            raise OSError(errno.EBADF, "the socket is closed")
        poll.register(one, (select.POLLIN if one in readable else 0) | (select.POLLOUT if one in writable else 0))
    ahead = with_bytes_ahead(readable)
    milliseconds = 0 if ahead else None if timeout is None else math.ceil(max(0.0, timeout) * 1000)
    found = dict(poll.poll(milliseconds))
    failed = select.POLLERR | select.POLLHUP | select.POLLNVAL
    return (
        [one for one in readable if one in ahead or found.get(one.fileno(), 0) & (select.POLLIN | failed)],
        [one for one in writable if found.get(one.fileno(), 0) & (select.POLLOUT | failed)],
    )
