"""kazoo's connection thread, telling `Link` what happens in the order in which it happens.

What is changed in kazoo 2.11 and why:

- watch events are taken on the connection thread, where the answers come in, so that both keep
  their order (kazoo hands them to two other threads, and drops events without a watcher of its own);
- an error code ends nothing that it need not end: kazoo's thread dies of a code it does not know;
- servers are dialled at once (`dialling`), so that one dead host costs the others nothing, and one bad name neither;
- what `handler` changes.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import struct
import time
from typing import Any, Protocol

from kazoo.exceptions import AuthFailedError, ConnectionDropped, NoNodeError, SessionExpiredError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.connection import CLOSE_RESPONSE, STOP_CONNECTING, ConnectionHandler
from kazoo.protocol.serialization import Close, Exists, ReplyHeader
from kazoo.retry import ForceRetryError

from hybridsync.zookeeper import codes, wire
from hybridsync.zookeeper.dialling import Dialler
from hybridsync.zookeeper.handler import HANDSHAKE_SECONDS
from hybridsync.zookeeper.names import Address, Resolver, shown

MAX_RETRY_SECONDS = 1.0
"""Between two rounds of attempts, give or take 40 %: a bare connect costs a server next to nothing."""

STEADY_SECONDS = 1.0
"""A connection that lasted this long is followed by the next one without a delay of ours."""

PATIENT_HANDSHAKE_SECONDS = 10.0
"""What a silent server may need each fourth time in a row, instead of `HANDSHAKE_SECONDS`."""

MAX_ANSWER_BYTES = 1 << 30
READ_BYTES = 256 * 1024

_INT = struct.Struct("!i")
_REPLY_HEADER_BYTES = 16

_CLOSED = ("socket connection broken", os.strerror(errno.ECONNRESET), os.strerror(errno.EPIPE))

silent = logging.Logger("kazoo, silent", level=logging.CRITICAL + 1)


class Told(Protocol):
    """What the thread tells, as `Link` has it."""

    negotiated_seconds: float

    def established(self, negotiated_seconds: float) -> None:
        """The connection is up and authenticated."""

    def failed(self, address: str, reason: str) -> None:
        """The server at `address` cannot be used."""

    def received(self, event: wire.Event) -> None:
        """A watch event came in."""

    def ended(self) -> None:
        """The thread is about to end."""


class Connection(ConnectionHandler):  # type: ignore[misc]
    """The thread: one connection after the other, for one session."""

    def __init__(self, client: Any, link: Told, resolver: Resolver) -> None:
        super().__init__(client, client._conn_retry.copy(), logger=silent)
        self._link = link
        self._resolver = resolver
        self._up_since: float | None = None
        self._hung_up = 0
        self._explained = False
        self._silent: dict[str, int] = {}
        self._dialler: Dialler | None = None
        self._refused_with = 0

    def zk_loop(self) -> None:
        """The thread. It ends on anything unexpected, such as an answer out of turn."""
        try:
            super().zk_loop()
        except Exception as error:
            self._link.failed(self._servers(), f"the connection ended on something unexpected: {_told(error)}")
        finally:
            self.close()
            self._link.ended()

    def _servers(self) -> str:
        return ",".join(shown(host, port) for host, port in self.client.hosts)

    # -- attempts -----------------------------------------------------------------------------------

    def _connect_loop(self, retry: Any) -> Any:
        """One round: all servers, in any order, until one of them has had its time."""
        stopped = self.client._stopped.is_set
        addresses = self._resolver.addresses(self.client.hosts, self._link.failed)
        random.shuffle(addresses)
        addresses.sort(key=lambda address: bool(self._silent.get(address.shown)))
        known_silent = [one for one in addresses if self._silent.get(one.shown)]
        if len(known_silent) < len(addresses):
            addresses = [one for one in addresses if one not in known_silent[1:]]  # one of them a round
        with Dialler(addresses, self._link.failed, stopped) as self._dialler:
            for connected, address in self._dialler:
                self.handler.dialled = connected
                self.handler.patience = self._patience(address)
                if self._connect_attempt(address.host, address.ip, address.port, retry) is STOP_CONNECTING:
                    return STOP_CONNECTING
        if stopped():
            return STOP_CONNECTING
        raise ForceRetryError("Reconnecting")

    def _patience(self, address: Address) -> float:
        return PATIENT_HANDSHAKE_SECONDS if self._silent.get(address.shown, 0) % 4 == 3 else HANDSHAKE_SECONDS

    def _connect_attempt(self, host: str, hostip: str, port: int, retry: Any) -> Any:
        """One attempt and, when it succeeds, the whole life of the connection.

        kazoo forgets its back-off at every handshake: a server that shakes hands and hangs up would be
        asked ten times a second, for ever.
        """
        self._up_since = None
        self._explained = False
        outcome = super()._connect_attempt(host, hostip, port, retry)
        if self._up_since is not None:
            lasted = time.monotonic() - self._up_since
            if lasted >= STEADY_SECONDS:
                self._hung_up = 0
            else:
                if not self._explained:
                    self._link.failed(shown(host, port), "the connection was lost right after the handshake")
                if self._hung_up:
                    # well below the session timeout: the delay itself must not cost the session
                    most = min(MAX_RETRY_SECONDS, self._link.negotiated_seconds / 4)
                    delay = min(most, 0.1 * 2.0**self._hung_up)
                    self.client._stopped.wait(delay * random.uniform(0.5, 1.0))
                self._hung_up = min(self._hung_up + 1, 10)
        return outcome

    def _connect(self, host: str, hostip: str, port: int) -> Any:
        address = shown(host, port)
        self._refused_with = 0
        try:
            read_milliseconds, connect_milliseconds = super()._connect(host, hostip, port)
        except (AuthFailedError, SessionExpiredError) as error:
            expired = isinstance(error, SessionExpiredError)
            self._link.failed(address, "the session has expired" if expired else "it refused the credentials")
            raise
        except Exception as error:
            words = codes.in_words(self._refused_with) if self._refused_with else _told(error)
            if isinstance(error, KazooTimeoutError):
                self._silent[address] = self._silent.get(address, 0) + 1
                words = f"it took the connection and gave no answer within {self.handler.patience:g} s"
            self._link.failed(address, words)
            raise ConnectionDropped(words) from None
        self._silent.pop(address, None)
        if self._dialler is not None:
            self._dialler.give_up()
        self._up_since = time.monotonic()
        self._link.established(read_milliseconds * 1.5 / 1000)  # kazoo reads for two thirds of the timeout
        return read_milliseconds, connect_milliseconds

    def _invoke(self, timeout: float, request: Any, xid: int | None = None) -> Any:
        """A step of the handshake; kazoo would wait for as long as a session lasts."""
        return super()._invoke(min(timeout, self.handler.patience), request, xid)

    # -- what comes in ------------------------------------------------------------------------------

    def _read_header(self, timeout: float) -> Any:
        """The next reply. One that is longer than we take is thrown away, and becomes an error code of ours."""
        (length,) = _INT.unpack(self._read(_INT.size, timeout))
        too_long = length > MAX_ANSWER_BYTES
        body = self._read(_REPLY_HEADER_BYTES if too_long else length, timeout)
        header, offset = ReplyHeader.deserialize(body, 0)
        if too_long:
            left = length - _REPLY_HEADER_BYTES
            while left > 0:
                left -= len(self._read(min(left, READ_BYTES, MAX_ANSWER_BYTES), timeout))
            header = header._replace(err=codes.ANSWER_TOO_LONG)
        self._refused_with = header.err
        return header, body, offset

    def _read(self, length: int, timeout: float) -> bytes:
        """Reads in bounded pieces: kazoo allocates all that is missing for each piece that arrives."""
        if not 0 <= length <= MAX_ANSWER_BYTES:
            raise ConnectionDropped(f"an answer of {length} bytes was announced: this is no ZooKeeper")
        ahead: bytes | None = self._socket.read_ahead(length)
        if ahead is not None:
            return ahead
        read = super()._read
        if length <= READ_BYTES:
            return bytes(read(length, timeout))
        return b"".join([read(min(READ_BYTES, length - at), timeout) for at in range(0, length, READ_BYTES)])

    def _read_response(self, header: Any, buffer: bytes, offset: int) -> Any:
        """An answer. Every error code reaches the call that it belongs to, also one that kazoo does not know."""
        request, sink, xid = self.client._pending[0]
        absent = header.err == NoNodeError.code and request.type == Exists.type  # an answer like any other
        if not header.err or absent or header.xid != xid:
            return super()._read_response(header, buffer, offset)
        self.client._pending.popleft()
        if header.zxid > 0:
            self.client.last_zxid = header.zxid
        if sink is not None:
            sink.set_exception(codes.Refusal(header.err))
        if isinstance(request, Close):
            return CLOSE_RESPONSE
        if header.err in codes.END_OF_SESSION:
            raise SessionExpiredError(codes.in_words(header.err))
        if header.err in codes.END_OF_CONNECTION:
            self._explained = True
            self._link.failed(self._servers(), codes.reason(header.err))
            raise ConnectionDropped(codes.in_words(header.err))
        return None

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


def _told(error: Exception) -> str:
    """kazoo's error in words that are not empty."""
    words = " ".join(str(one) for one in error.args) if error.args else ""
    words = words.removeprefix("socket connection error: ")
    if words in _CLOSED:
        return "it closed the connection in the middle of the handshake: it serves nobody now, or it wants TLS"
    if isinstance(error, ConnectionDropped):
        return words if words not in ("", "None") else "the connection broke"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
