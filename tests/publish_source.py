"""A `MongoSource` for a test, and what a resource would make of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from hybridsync.dirty import DirtySet
from hybridsync.model import Listing, Put, Record, Remove
from hybridsync.mongodb import MongoDB
from hybridsync.sources.base import Watch
from hybridsync.sources.mongodb import MongoSource
from hybridsync.sources.publish_rules import PublishRules

RULES = PublishRules("key", "on")


@dataclass
class Following:
    """A source with its watch, and what was published of it so far: key → bytes."""

    source: MongoSource
    watch: Watch
    dirty: DirtySet
    held: dict[str, bytes] = field(default_factory=dict)

    async def sync(self) -> Listing:
        """A full sync: lists everything, and sweeps what is neither listed nor invalid."""
        records, listing = await listed(self.source)
        for gone in self.held.keys() - records.keys() - set(self.source.invalid):
            del self.held[gone]
        self.held |= {key: record.value for key, record in records.items()}
        return listing

    async def settle(self) -> None:
        """Proves, and writes everything that was marked by then."""
        await self.watch.probe()
        while self.dirty.waiting:
            taken = self.dirty.take(500)
            for change in await self.source.read(taken):
                match change:
                    case Put(record):
                        self.held[record.key] = record.value
                    case Remove(key):
                        self.held.pop(key, None)
            self.dirty.acknowledge(taken)


async def listed(source: MongoSource) -> tuple[dict[str, Record], Listing]:
    """Everything that a listing yields."""
    listing, records = Listing(), dict[str, Record]()
    async for batch in source.list(listing):
        records |= {record.key: record for record in batch.records}
    return records, listing


@asynccontextmanager
async def a_source(uri: str, collection: str = "channels", **options: Any) -> AsyncIterator[MongoSource]:
    """A source that is connected; its client is closed afterwards."""
    mongodb = MongoDB(uri)
    rules = options.pop("rules", RULES)
    source = MongoSource(mongodb, collection, rules, name="channels", **{"await_seconds": 0.1, **options})
    try:
        await source.connect()
        yield source
    finally:
        await mongodb.close()


@asynccontextmanager
async def following(source: MongoSource, resume: str | None = None) -> AsyncIterator[Following]:
    """A watch on it, listed once unless it resumes."""
    dirty = DirtySet()
    async with source.watch(dirty, resume) as watch:
        made = Following(source, watch, dirty)
        if not watch.resumed:
            await made.sync()
        yield made
