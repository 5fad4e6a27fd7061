"""The requests that kazoo lacks, and the reading of their answers, byte by byte.

`MultiRead` (opcode 22) and `AddWatch` (opcode 106) exist since ZooKeeper 3.6; their layouts are in
`MultiOperationRecord.java`, `MultiResponse.java` and `zookeeper.jute` of ZooKeeper. Answers are read
on kazoo's thread. An answer that does not fit its request raises `MalformedAnswer`: it is never
taken for a shorter or a different one. This file imports nothing of kazoo.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple, TypeAlias

from hybridsync import native
from hybridsync.znode import STAT_BYTES, stat_of, version_of

GET_DATA: Final = 4
GET_CHILDREN: Final = 8
_ERROR: Final = -1

CREATED: Final = 1
DELETED: Final = 2
CHANGED: Final = 3
CHILDREN_CHANGED: Final = 4
SESSION_EVENT: Final = -1

_OP = struct.Struct("!iBii")
_MULTI_HEADER = struct.Struct("!iBi")
_HEADER_AND_INT = struct.Struct("!iBii")
"""Of a result: a value begins with its length, a list with its count, and an error is its code."""

_INT = struct.Struct("!i")
_EVENT = struct.Struct("!iii")
_END_OF_OPS = _MULTI_HEADER.pack(_ERROR, 1, -1)
OP_OVERHEAD: Final = _OP.size + 1
_FRAME_BYTES: Final = 8 + len(_END_OF_OPS)


class MalformedAnswer(Exception):
    """Bytes from the server that are not an answer to the request. One line, no content."""


class ErrorCode(int):
    """The error of one operation inside a multiRead, by ZooKeeper's number."""


NO_NODE: Final = ErrorCode(-101)
NO_AUTH: Final = ErrorCode(-102)


class Data(NamedTuple):
    """The bytes of a znode, its stat as it came (`znode.stat_of`), the version of that state, and how many children."""

    value: bytes
    stat: bytes
    version: int
    children: int


OpResult: TypeAlias = Data | list[str] | ErrorCode
"""What one operation of a multiRead brought: a znode, its children's names, or an error."""


class MultiRead:
    """Many `getChildren` and then many `getData` in one request, without watches; errors come per operation.

    Paths are the server's (with chroot), in UTF-8.
    """

    type: ClassVar[int] = 22
    __slots__ = ("lists", "values")

    def __init__(self, *, lists: Sequence[bytes] = (), values: Sequence[bytes] = ()) -> None:
        self.lists = lists
        self.values = values

    @property
    def encoded_bytes(self) -> int:
        """How long the request is, its header included."""
        return _FRAME_BYTES + sum([OP_OVERHEAD + len(path) for paths in (self.lists, self.values) for path in paths])

    @property
    def divisible(self) -> bool:
        """Whether it could be cut into several."""
        return len(self.lists) + len(self.values) > 1

    def serialize(self) -> bytes:
        """The request without its header."""
        return _operations(GET_CHILDREN, self.lists) + _operations(GET_DATA, self.values) + _END_OF_OPS

    def deserialize(self, buffer: bytes, offset: int) -> list[OpResult]:
        """One result per operation, in order. Raises `MalformedAnswer`."""
        results: list[OpResult] = []
        most = len(self.lists) + len(self.values)
        try:
            while len(results) < len(self.lists):
                offset = self._read_any(GET_CHILDREN, buffer, offset, results)
            while len(results) < most:
                values, offset = _read_values(buffer, offset, most - len(results))
                results += values
                if len(results) < most:
                    offset = self._read_any(GET_DATA, buffer, offset, results)
            _, done, _ = _MULTI_HEADER.unpack_from(buffer, offset)
        except struct.error:
            raise MalformedAnswer(_cut_short(buffer)) from None
        if not done or offset + _MULTI_HEADER.size != len(buffer):
            raise MalformedAnswer(f"more than {most} results")
        return results

    def _read_any(self, kind: int, buffer: bytes, offset: int, results: list[OpResult]) -> int:
        """Adds the one result at `offset`, of an operation of `kind`, whatever it is; returns where it ends."""
        got, done, err, length = _HEADER_AND_INT.unpack_from(buffer, offset)
        offset += _MULTI_HEADER.size
        result: OpResult
        if done:
            raise MalformedAnswer(f"{len(results)} results for {len(self.lists) + len(self.values)} operations")
        if err != (length if got == _ERROR else 0):
            raise MalformedAnswer(f"error {err} in the header of a result of kind {got}")
        if got == _ERROR:
            result, offset = ErrorCode(_INT.unpack_from(buffer, offset)[0]), offset + _INT.size
        elif got != kind:
            raise MalformedAnswer(f"a result of kind {got} for an operation of kind {kind}")
        elif kind == GET_DATA:
            if offset + _INT.size + max(length, 0) + STAT_BYTES > len(buffer):
                raise MalformedAnswer(_cut_short(buffer))
            raise MalformedAnswer(f"a value of {length} bytes")
        else:
            result, offset = _read_names(buffer, offset)
        results.append(result)
        return offset


def _cut_short(buffer: bytes) -> str:
    return f"a multiRead answer of {len(buffer)} bytes is cut short"


def _operations(kind: int, paths: Sequence[bytes]) -> bytes:
    heads = {length: _OP.pack(kind, 0, -1, length) for length in {*map(len, paths)}}
    return b"".join([heads[len(path)] + path + b"\0" for path in paths])


def _read_values(buffer: bytes, offset: int, most: int) -> tuple[list[Data], int]:
    """The up to `most` values that follow each other from `offset` on, and where they end: at anything else."""
    if native.QUICK is not None:
        return native.QUICK.znode_values(buffer, offset, most, Data)
    values: list[Data] = []
    last = len(buffer) - _HEADER_AND_INT.size - STAT_BYTES
    while len(values) < most and offset <= last:
        got, done, err, length = _HEADER_AND_INT.unpack_from(buffer, offset)
        if got != GET_DATA or done or err or length < -1 or offset + length > last:
            break
        start = offset + _HEADER_AND_INT.size
        offset = start + max(length, 0)
        sent = buffer[offset : offset + STAT_BYTES]
        stat = stat_of(sent)
        values.append(Data(buffer[start:offset], sent, version_of(stat), stat.numChildren))
        offset += STAT_BYTES
    return values, offset


class AddWatch:
    """Sets a persistent recursive watch (mode 1) on the server's path `path`."""

    type: ClassVar[int] = 106
    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def serialize(self) -> bytes:
        """The request without its header."""
        path = self.path.encode()
        return _INT.pack(len(path)) + path + _INT.pack(1)

    @staticmethod
    def deserialize(buffer: bytes, offset: int) -> bool:
        """The answer holds nothing that is needed."""
        return True


class Event(NamedTuple):
    """A watch event with the server's path (with chroot)."""

    kind: int
    path: str


def read_event(buffer: bytes, offset: int) -> Event:
    """A watch event. Raises `MalformedAnswer`."""
    try:
        kind, _, length = _EVENT.unpack_from(buffer, offset)
    except struct.error:
        raise MalformedAnswer("a watch event is cut short") from None
    offset += _EVENT.size
    if max(length, 0) != len(buffer) - offset and kind != SESSION_EVENT:
        raise MalformedAnswer("the path of a watch event has the wrong length")
    path = _text(buffer[offset : offset + max(length, 0)])
    if not path.startswith("/") and kind != SESSION_EVENT:
        raise MalformedAnswer("a watch event without a path")
    return Event(kind, path)


def _read_names(buffer: bytes, offset: int) -> tuple[list[str], int]:
    if native.QUICK is not None:
        read = native.QUICK.znode_names(buffer, offset)
        if read is not None:
            return read
    (count,) = _INT.unpack_from(buffer, offset)
    offset += _INT.size
    if count < -1 or count * _INT.size > len(buffer) - offset:
        raise MalformedAnswer(f"{count} children announced in {len(buffer)} bytes")
    names: list[str] = []
    for _ in range(count):
        (length,) = _INT.unpack_from(buffer, offset)
        start = offset + _INT.size
        offset = start + length
        if length <= 0 or offset > len(buffer):
            raise MalformedAnswer("the name of a child has the wrong length")
        name = _text(buffer[start:offset])
        if "/" in name:
            raise MalformedAnswer("the name of a child holds a slash")
        names.append(name)
    return names, offset


def _text(raw: bytes) -> str:
    """Text as jute writes it: UTF-8, but a character beyond U+FFFF as its two surrogates.

    `BinaryOutputArchive.stringToByteBuffer` encodes each UTF-16 unit by itself.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        try:
            return raw.decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeError:
            raise MalformedAnswer("text that is not UTF-8") from None
