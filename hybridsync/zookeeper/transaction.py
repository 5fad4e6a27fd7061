"""A ZooKeeper transaction (`multi`, opcode 14), byte by byte: all of its operations are done, or none.

kazoo has one, too, but does not say how long it is before it is sent, and an error code that is newer
than kazoo (a quota, for one) ends its connection thread. The layouts are in `MultiOperationRecord.java`,
`MultiResponse.java` and `zookeeper.jute` of ZooKeeper. This file imports nothing of kazoo.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

from hybridsync.zookeeper.acl import Entry
from hybridsync.zookeeper.wire import MalformedAnswer

CREATE: Final = 1
DELETE: Final = 2
SET_DATA: Final = 5
CHECK: Final = 13
_ERROR: Final = -1

DONE: Final = 0
ROLLED_BACK: Final = -2
"""The code of an operation that came after the one that failed; those before it have `DONE`."""

BAD_ARGUMENTS: Final = -8
NO_NODE: Final = -101
NO_AUTH: Final = -102
BAD_VERSION: Final = -103
NO_CHILDREN_FOR_EPHEMERALS: Final = -108
NODE_EXISTS: Final = -110
NOT_EMPTY: Final = -111
INVALID_ACL: Final = -114
QUOTA_EXCEEDED: Final = -125

ANY_VERSION: Final = -1
"""No condition on the version of a znode's data."""

MAX_PACKET_BYTES: Final = 1_048_575
"""What a server takes by default (jute.maxbuffer); a longer request drops the connection."""

_INT = struct.Struct("!i")
_HEADER = struct.Struct("!iBi")
_END = _HEADER.pack(_ERROR, 1, -1)
_STAT_BYTES: Final = 68
_REQUEST_HEADER_BYTES: Final = 8

FRAME_BYTES: Final = _REQUEST_HEADER_BYTES + len(_END)
"""Of a request, besides its operations."""


class Operation(NamedTuple):
    """One operation, ready to be sent; `len(encoded)` is what it takes of a request."""

    kind: int
    encoded: bytes


def create(path: str, value: bytes, acl: Sequence[Entry]) -> Operation:
    """Creates a persistent znode. All paths here are the server's, with the chroot."""
    entries = b"".join(_INT.pack(rights) + _text(scheme) + _text(identity) for rights, scheme, identity in acl)
    return _operation(CREATE, _text(path), _bytes(value), _INT.pack(len(acl)), entries, _INT.pack(0))


def set_data(path: str, value: bytes, version: int) -> Operation:
    """Sets the data of a znode, if its data has this version or `version` is `ANY_VERSION`."""
    return _operation(SET_DATA, _text(path), _bytes(value), _INT.pack(version))


def delete(path: str, version: int) -> Operation:
    """Deletes a znode without children, if its data has this version or `version` is `ANY_VERSION`."""
    return _operation(DELETE, _text(path), _INT.pack(version))


def check(path: str, version: int) -> Operation:
    """Lets the transaction fail unless the znode is there and its data has this version."""
    return _operation(CHECK, _text(path), _INT.pack(version))


class Transaction:
    """The request. Its answer is one code for each operation, in order."""

    type: ClassVar[int] = 14
    __slots__ = ("operations",)

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations

    @property
    def encoded_bytes(self) -> int:
        """How long the request is, its header included."""
        return FRAME_BYTES + sum([len(operation.encoded) for operation in self.operations])

    @property
    def divisible(self) -> bool:
        """Whether it could be cut into several: besides checks there is more than one operation."""
        return sum(operation.kind != CHECK for operation in self.operations) > 1

    def serialize(self) -> bytes:
        """The request without its header."""
        return b"".join([*(operation.encoded for operation in self.operations), _END])

    def deserialize(self, buffer: bytes, offset: int) -> list[int]:
        """The codes: all `DONE`, or that of the operation that failed among others. Raises `MalformedAnswer`."""
        codes: list[int] = []
        try:
            for kind, _ in self.operations:
                got, done, _ = _HEADER.unpack_from(buffer, offset)
                offset += _HEADER.size
                if done or got not in (kind, _ERROR):
                    raise MalformedAnswer(f"result {len(codes)} of a transaction is none of its operation")
                code = DONE
                if got == _ERROR:
                    (code,) = _INT.unpack_from(buffer, offset)
                    offset += _INT.size
                elif got == CREATE:
                    offset += _INT.size + max(0, _INT.unpack_from(buffer, offset)[0])
                elif got == SET_DATA:
                    offset += _STAT_BYTES
                codes.append(code)
            _, done, _ = _HEADER.unpack_from(buffer, offset)
        except struct.error:
            raise MalformedAnswer(f"the answer to a transaction, of {len(buffer)} bytes, is cut short") from None
        if not done or offset + _HEADER.size != len(buffer):
            raise MalformedAnswer(f"more than {len(self.operations)} results of a transaction")
        return codes


def culprit(codes: Sequence[int]) -> int | None:
    """Which operation failed the transaction; `None` when it was done."""
    for number, code in enumerate(codes):
        if code not in (DONE, ROLLED_BACK):
            return number
    return None if all(code == DONE for code in codes) else codes.index(ROLLED_BACK)


def _operation(kind: int, *parts: bytes) -> Operation:
    return Operation(kind, b"".join((_HEADER.pack(kind, 0, -1), *parts)))


def _text(text: str) -> bytes:
    return _bytes(text.encode())


def _bytes(raw: bytes) -> bytes:
    return _INT.pack(len(raw)) + raw
