"""Puts a few znodes into a server of one's own, for the demo: blocking, small, nothing the service uses."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NodeExistsError
from kazoo.handlers.threading import KazooTimeoutError

from hybridsync.errors import SourceDisconnected, SourceError

CONNECT_SECONDS = 15.0
ANSWER_SECONDS = 15.0
_IN_FLIGHT = 100
"""Below the 278 calls after which kazoo's wake-up pipe is full and the caller blocks."""


def create_many(hosts: str, znodes: Iterable[tuple[str, bytes]]) -> int:
    """Creates znodes, parents first as given, and tells how many; one that exists is left as it is.

    Raises `SourceDisconnected` or `SourceError`.
    """
    created = 0
    with _client(hosts) as client:
        in_flight: deque[Any] = deque()
        for path, data in znodes:
            if len(in_flight) >= _IN_FLIGHT:
                created += _created(in_flight.popleft())
            in_flight.append(client.create_async(path, data))
        created += sum(_created(answer) for answer in in_flight)
    return created


def _created(answer: Any) -> int:
    try:
        answer.get(timeout=ANSWER_SECONDS)
    except NodeExistsError:
        return 0
    return 1


def set_value(hosts: str, path: str, data: bytes) -> int:
    """Sets a znode, creating it and its parents where missing, and returns its mzxid.

    Raises `SourceDisconnected` or `SourceError`.
    """
    with _client(hosts) as client:
        client.ensure_path_async(path).get(timeout=ANSWER_SECONDS)
        stat = client.set_async(path, data).get(timeout=ANSWER_SECONDS)
        return int(stat.mzxid)


@contextmanager
def _client(hosts: str) -> Iterator[KazooClient]:
    client = KazooClient(hosts, timeout=10.0)
    try:
        client.start(timeout=CONNECT_SECONDS)
        yield client
    except KazooTimeoutError:
        raise SourceDisconnected(f"ZooKeeper at {hosts} did not answer within {CONNECT_SECONDS:.0f} s") from None
    except (KazooException, ValueError) as error:
        raise SourceError(f"ZooKeeper at {hosts}: {type(error).__name__}: {error}") from None
    finally:
        client.stop()
        client.close()
