"""`ReplyProxy`: stands between a client and ZooKeeper and puts another error code into replies."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

from tests.proxy import Direction, TcpProxy

MULTI_READ, SYNC, EXISTS, ADD_WATCH, TRANSACTION, AUTH = 22, 9, 3, 106, 14, 100

Code = Callable[[int], int | None]
"""Opcode of the request → the error code that its reply gets, `None` to leave it as it is."""


class ReplyProxy(TcpProxy):
    """Forwards everything; `code` says which replies are turned into errors. `changed` counts those."""

    def __init__(self, target_host: str, target_port: int, code: Code) -> None:
        super().__init__(target_host, target_port)
        self.code = code
        self.changed = 0
        self._streams: dict[tuple[Direction, asyncio.StreamWriter], _Stream] = {}
        self._opcodes: dict[int, int] = {}

    async def _forward(self, direction: Direction, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        stream = self._streams.setdefault((direction, writer), _Stream())
        out = b"".join(self._seen(direction, frame, first) for frame, first in stream.frames(chunk))
        if out:
            await super()._forward(direction, out, writer)

    def _seen(self, direction: Direction, frame: bytes, first: bool) -> bytes:
        """A whole message with its length in front; the first one of a connection is the handshake's."""
        if first:
            return frame
        if direction == "to_server":
            xid, opcode = struct.unpack_from("!ii", frame, 4)
            self._opcodes[xid] = opcode
            return frame
        xid, zxid, _ = struct.unpack_from("!iqi", frame, 4)
        opcode = self._opcodes.pop(xid, None) if xid >= 0 or xid == -4 else None
        code = None if opcode is None else self.code(opcode)
        if code is None:
            return frame
        self.changed += 1
        return struct.pack("!iiqi", 16, xid, zxid, code)


class _Stream:
    """Whole messages out of pieces."""

    def __init__(self) -> None:
        self._held = b""
        self._first = True

    def frames(self, chunk: bytes) -> list[tuple[bytes, bool]]:
        self._held += chunk
        found: list[tuple[bytes, bool]] = []
        while len(self._held) >= 4 and len(self._held) >= (end := 4 + int.from_bytes(self._held[:4], "big")):
            found.append((self._held[:end], self._first))
            self._held, self._first = self._held[end:], False
        return found
