"""Answers to a multiRead as ZooKeeper's `MultiResponse` writes them, by plain `struct`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from hybridsync.znode import Stat, version_of
from hybridsync.zookeeper.wire import GET_CHILDREN, GET_DATA, Data, MultiRead, OpResult

STAT = struct.pack("!qqqqiiiqiiq", *range(11))
END = struct.pack("!iBi", -1, 1, -1)


def header(kind: int, done: int, err: int, number: int) -> bytes:
    """What a result begins with; `number`: the length of a value, the count of a list, or the code of an error."""
    return struct.pack("!iBii", kind, done, err, number)


def answer_of(results: Sequence[OpResult | None]) -> bytes:
    """The results without the end; `None` stands for a value that is null, with `STAT`."""
    parts = []
    for result in results:
        if result is None:
            parts.append(header(GET_DATA, 0, 0, -1) + STAT)
        elif isinstance(result, Data):
            parts.append(header(GET_DATA, 0, 0, len(result.value)) + result.value + result.stat)
        elif isinstance(result, list):
            names = [name.encode() for name in result]
            parts.append(header(GET_CHILDREN, 0, 0, len(names)))
            parts += [struct.pack("!i", len(name)) + name for name in names]
        else:
            parts.append(header(-1, 0, result, result))
    return b"".join(parts)


def request_for(results: Sequence[OpResult | None]) -> MultiRead:
    """A request that such results answer, of which the lists come first."""
    lists = sum(isinstance(one, list) for one in results)
    return MultiRead(lists=[b"/x"] * lists, values=[b"/x"] * (len(results) - lists))


def sent_stat(stat: Stat) -> bytes:
    """The bytes that ZooKeeper sends for a stat."""
    return struct.pack("!qqqqiiiqiiq", *stat)


def data_of(value: bytes, stat: Stat) -> Data:
    """What is understood of a value with that stat."""
    return Data(value, sent_stat(stat), version_of(stat), stat.numChildren)


def lists_first(results: Sequence[OpResult | None]) -> list[Any]:
    """In the order in which a multiRead asks."""
    return sorted(results, key=lambda one: not isinstance(one, list))
