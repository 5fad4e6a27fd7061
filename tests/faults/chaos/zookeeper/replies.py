"""A proxy that answers in ZooKeeper's place: the next replies become errors, and the connection lives on.

A reply is a length, the number of its request (below 0 for pings and events), a zxid and an error code, each
big-endian, and then what was asked for. The first of a connection has another form.
Source: `ReplyHeader` in zookeeper.jute.
"""

from __future__ import annotations

import asyncio
import struct
from weakref import WeakKeyDictionary

from tests.proxy import Direction, TcpProxy

THROTTLED = -127
"""ZTHROTTLEDOP of ZooKeeper 3.7 and later: too many requests."""

_HEADER = struct.Struct(">iqi")
_LENGTH = struct.Struct(">i")


class ErringProxy(TcpProxy):
    """Forwards to a ZooKeeper. `erred`: how many replies it has made errors of."""

    def __init__(self, target_host: str, target_port: int) -> None:
        super().__init__(target_host, target_port)
        self.erred = 0
        self._to_err = 0
        self._replies: WeakKeyDictionary[asyncio.StreamWriter, _Replies] = WeakKeyDictionary()

    def err(self, count: int) -> None:
        """Makes errors of the next so many replies to requests, on whatever connection; 0 ends that."""
        self._to_err = count

    async def _forward(self, direction: Direction, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        if direction == "to_client":
            replies = self._replies.setdefault(writer, _Replies())
            whole = replies.take(chunk)
            chunk = b"".join(map(self._judged, whole))
            if not chunk:
                return
        await super()._forward(direction, chunk, writer)

    def _judged(self, reply: tuple[bool, bytes]) -> bytes:
        is_first, data = reply
        if is_first or not self._to_err or len(data) < _LENGTH.size + _HEADER.size:
            return data
        number, zxid, _ = _HEADER.unpack_from(data, _LENGTH.size)
        if number <= 0:
            return data
        self._to_err -= 1
        self.erred += 1
        return _LENGTH.pack(_HEADER.size) + _HEADER.pack(number, zxid, THROTTLED)


class _Replies:
    """The replies of one connection, from the chunks in which they come."""

    def __init__(self) -> None:
        self._rest = b""
        self._first = True

    def take(self, chunk: bytes) -> list[tuple[bool, bytes]]:
        """Those that are complete now: whether it is the first, and its bytes with the length."""
        self._rest += chunk
        found: list[tuple[bool, bytes]] = []
        start = 0
        while len(self._rest) - start >= _LENGTH.size:
            end = start + _LENGTH.size + _LENGTH.unpack_from(self._rest, start)[0]
            if end > len(self._rest):
                break
            found.append((self._first, self._rest[start:end]))
            self._first = False
            start = end
        self._rest = self._rest[start:]
        return found
