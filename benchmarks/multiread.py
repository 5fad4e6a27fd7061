"""The shortest way to read a tree: plain multiRead requests over kazoo, sharing no code with hybridsync.

It is the floor that the first sync is held against, and the independent reader that says whether a
mirror is equal. multiRead is opcode 22 (`MultiOperationRecord.java` of ZooKeeper 3.6 and later).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from kazoo.client import KazooClient

OPS = 500
IN_FLIGHT = 2
_SECONDS = 60.0

_GET_DATA = 4
_GET_CHILDREN = 8
_HEADER = struct.Struct("!iBi")
_INT = struct.Struct("!i")
_STAT = struct.Struct("!qqqqiiiqiiq")
_END = _HEADER.pack(-1, 1, -1)


class Znode(NamedTuple):
    """What is read of a znode."""

    value: bytes
    czxid: int
    mzxid: int
    children: int


class _MultiRead:
    type: ClassVar[int] = 22

    def __init__(self, kind: int, paths: Sequence[str]) -> None:
        self._kind = kind
        self._paths = paths

    def serialize(self) -> bytes:
        pieces: list[bytes] = []
        for path in self._paths:
            raw = path.encode()
            pieces += (_HEADER.pack(self._kind, 0, -1), _INT.pack(len(raw)), raw, b"\0")
        return b"".join([*pieces, _END])

    def deserialize(self, answer: bytes, offset: int) -> list[Any]:
        read = _znode if self._kind == _GET_DATA else _names
        results: list[Any] = []
        for path in self._paths:
            kind, _, _ = _HEADER.unpack_from(answer, offset)
            if kind != self._kind:
                raise RuntimeError(f"{path} could not be read")
            result, offset = read(answer, offset + _HEADER.size)
            results.append(result)
        return results


def _znode(answer: bytes, offset: int) -> tuple[Znode, int]:
    (length,) = _INT.unpack_from(answer, offset)
    start = offset + _INT.size
    end = start + max(length, 0)
    stat = _STAT.unpack_from(answer, end)
    return Znode(bytes(answer[start:end]), stat[0], stat[1], stat[9]), end + _STAT.size


def _names(answer: bytes, offset: int) -> tuple[list[str], int]:
    (count,) = _INT.unpack_from(answer, offset)
    offset += _INT.size
    names: list[str] = []
    for _ in range(count):
        (length,) = _INT.unpack_from(answer, offset)
        offset += _INT.size
        names.append(bytes(answer[offset : offset + length]).decode())
        offset += length
    return names, offset


def read_tree(client: KazooClient, root: str, take: Callable[[str, Znode], None]) -> int:
    """Hands every znode of a tree at rest to `take`, level by level; returns how many there were."""
    count = 0
    level = [root]
    while level:
        inner: list[str] = []

        def znodes(paths: Sequence[str], results: Sequence[Znode], inner: list[str] = inner) -> None:
            for path, znode in zip(paths, results, strict=True):
                take(path, znode)
                if znode.children:
                    inner.append(path)

        _pipelined(client, _GET_DATA, level, znodes)
        count += len(level)
        level = []

        def lists(paths: Sequence[str], results: Sequence[list[str]], below: list[str] = level) -> None:
            for path, names in zip(paths, results, strict=True):
                below.extend(f"{path}/{name}" for name in names)

        _pipelined(client, _GET_CHILDREN, inner, lists)
    return count


def _pipelined(
    client: KazooClient, kind: int, paths: Sequence[str], take: Callable[[Sequence[str], Sequence[Any]], None]
) -> None:
    under_way: deque[tuple[Sequence[str], Any]] = deque()
    for start in range(0, len(paths), OPS):
        piece = paths[start : start + OPS]
        if len(under_way) >= IN_FLIGHT:
            asked, answer = under_way.popleft()
            take(asked, answer.get(timeout=_SECONDS))
        result = client.handler.async_result()
        client._call(_MultiRead(kind, piece), result)
        under_way.append((piece, result))
    for asked, answer in under_way:
        take(asked, answer.get(timeout=_SECONDS))
