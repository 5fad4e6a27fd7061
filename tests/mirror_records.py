"""Znode records, and a mirror to write them to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from hybridsync.model import Index, Record
from hybridsync.mongodb import MongoDB
from hybridsync.sinks.mongodb import MongoMirror
from hybridsync.sinks.znode_codec import ZnodeCodec
from hybridsync.sinks.znode_document import encode_all
from hybridsync.znode import Stat, version_of
from tests.multiread_answers import sent_stat

SYNCED_AT = datetime(2026, 11, 20, 21, 0, 0, 123000, tzinfo=UTC)
SYNCED_MS = round(SYNCED_AT.timestamp() * 1000)


def znode(key: str, value: bytes = b"text", *, mzxid: int = 100, czxid: int = 10, ephemeral_owner: int = 0) -> Record:
    """One znode; `mzxid` is what makes it older or newer."""
    stat = Stat(czxid, mzxid, 1700000000123, 1700000000456, 3, 7, 0, ephemeral_owner, len(value), 2, mzxid)
    return Record(key, value, version_of(stat), sent_stat(stat))


def document_of(record: Record, root: str, synced_at: int = SYNCED_MS) -> bytes:
    """The document that a mirror of `root` makes of the znode."""
    (document,) = encode_all([record], root, synced_at)
    return document


@asynccontextmanager
async def mirror(uri: str, root: str = "/a", **seconds: float) -> AsyncIterator[MongoMirror]:
    """A mirror in the collection `mirror` of that database, with a client of its own."""
    mongodb = MongoDB(uri, **seconds)
    try:
        yield MongoMirror(mongodb, "mirror", ZnodeCodec(root))
    finally:
        await mongodb.close()


async def whole_index(sink: MongoMirror) -> Index:
    """Everything `index` streams."""
    index: Index = {}
    async for piece in sink.index():
        index.update(piece)
    return index
