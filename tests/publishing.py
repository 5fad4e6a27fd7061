"""A `ZooKeeperSink` for a test, records for it, and a count of the requests that it sends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch

from hybridsync.canonical import canonical_json, content_version
from hybridsync.model import Index, Record
from hybridsync.sinks.zookeeper import ZooKeeperSink
from hybridsync.zookeeper.session import Session
from hybridsync.zookeeper.settings import SessionSettings


@asynccontextmanager
async def publishing(hosts: str, path: str, *, seconds: float = 30.0, **options: Any) -> AsyncIterator[ZooKeeperSink]:
    """A sink, closed afterwards. `auth` and `seconds` (its timeout) are the session's, the rest is the sink's."""
    settings = SessionSettings(hosts=hosts, timeout_seconds=seconds, auth=options.pop("auth", None))
    sink = ZooKeeperSink(settings, path=path, **options)
    try:
        yield sink
    finally:
        await sink.close()


def record(key: str, content: Any = "v") -> Record:
    """What the source of publishing makes of an object."""
    value = canonical_json(content)
    return Record(key, value, content_version(value))


async def index_of(sink: ZooKeeperSink) -> Index:
    """All of the index."""
    index: Index = {}
    async for piece in sink.index():
        index.update(piece)
    return index


@contextmanager
def requests_counted() -> Iterator[list[str]]:
    """The names of the requests that any session sends meanwhile."""
    sent: list[str] = []
    send = Session.send

    async def counting(session: Session, request: Any, **options: Any) -> Any:
        sent.append(type(request).__name__)
        return await send(session, request, **options)

    with patch.object(Session, "send", counting):
        yield sent
