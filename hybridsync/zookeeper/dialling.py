"""From addresses to a connected socket: several at once, the first that answers first.

One after the other, each dead host of an ensemble would cost its whole deadline while a live one waits.
So the next address is dialled a little later whether or not the one before has answered, and all of them
share one deadline, short enough that a server that comes back is found soon. Blocking: for kazoo's thread.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from hybridsync.zookeeper.names import Address, Failed

DIAL_SECONDS = 2.5
"""Of one round, from its last address on. A host that drops packets is asked again in the next round."""

NEXT_SECONDS = 0.2
"""How long one address is waited for before the next one is dialled as well."""


class Dialler:
    """Connected sockets to some of the addresses, in the order in which they came about. Use as `with`.

    Iterating ends when every address has been handed out or has failed. `stopped` ends it as well.
    """

    def __init__(self, addresses: Sequence[Address], failed: Failed, stopped: Callable[[], bool]) -> None:
        self._waiting = list(reversed(addresses))
        self._failed = failed
        self._stopped = stopped
        self._dialled: dict[int, tuple[socket.socket, Address]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_up()

    def give_up(self) -> None:
        """Closes what nobody took, and dials no more."""
        self._waiting.clear()
        while self._dialled:
            self._dialled.popitem()[1][0].close()

    def __iter__(self) -> Iterator[tuple[socket.socket, Address]]:
        deadline = 0.0
        while (self._waiting or self._dialled) and not self._stopped():
            if self._waiting:
                self._dial(self._waiting.pop())
                deadline = time.monotonic() + DIAL_SECONDS
            patience = NEXT_SECONDS if self._waiting else max(0.0, deadline - time.monotonic())
            taken = self._first(patience)
            if taken is not None:
                yield taken
            elif not self._waiting and time.monotonic() >= deadline:
                for _, address in self._dialled.values():
                    self._failed(address.shown, f"no answer within {DIAL_SECONDS:g} s (host down, or packets dropped)")
                self.give_up()

    def _dial(self, address: Address) -> None:
        family = socket.AF_INET6 if ":" in address.ip else socket.AF_INET
        try:
            dialled = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        except OSError as error:
            self._failed(address.shown, in_words(error))
            return
        dialled.setblocking(False)
        try:
            code = dialled.connect_ex((address.ip, address.port))
        except OSError as error:
            code = error.errno or errno.EINVAL
        if code in (0, errno.EINPROGRESS):
            self._dialled[dialled.fileno()] = (dialled, address)
        else:
            dialled.close()
            self._failed(address.shown, os.strerror(code))

    def _first(self, seconds: float) -> tuple[socket.socket, Address] | None:
        """The next socket that is connected; `None` when one has failed, or none came about in time."""
        if not self._dialled:
            return None
        poll = select.poll()
        for number in self._dialled:
            poll.register(number, select.POLLOUT)
        for number, _ in poll.poll(1000 * min(seconds, NEXT_SECONDS)):
            dialled, address = self._dialled.pop(number)
            code = dialled.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                return dialled, address
            dialled.close()
            self._failed(address.shown, os.strerror(code))
            return None
        return None


def in_words(error: BaseException) -> str:
    """What went wrong with a connection, in one line that is never empty."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {_tls_in_words(error)}"
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split())


def _tls_in_words(error: ssl.SSLError) -> str:
    """Who did not like what: OpenSSL's words alone do not say."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message} (HYBRIDSYNC_ZOOKEEPER_TLS_CA)"
    code = (error.reason or "").lower().replace("_", " ") or str(error)
    if "alert" in code:
        return f"the server refuses the connection ({code}): is HYBRIDSYNC_ZOOKEEPER_TLS_CERT one that it trusts?"
    if "eof" in code or "wrong version" in code or "record layer" in code:
        return f"the handshake failed ({code}): does this port speak TLS?"
    return code
