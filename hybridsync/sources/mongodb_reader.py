"""What is asked of the published collection: its documents in raw batches, its shared keys, its documents by key.

All reads see what a majority has (`mongodb.py`), compare texts byte by byte whatever the collection's
collation, and are judged in a thread when they are long. Errors are those of a source.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pymongo.collation import Collation

from hybridsync.errors import ListingFailed, SinkError, SinkUnavailable, SourceDisconnected
from hybridsync.mongodb import MongoDB
from hybridsync.sources.key_map import KeyMap, identity, original
from hybridsync.sources.publish_judge import Verdict, conflict, judge, known_documents
from hybridsync.sources.publish_rules import PublishRules, is_key

BATCH_DOCUMENTS = 500
SCAN_DOCUMENTS = 10_000
INLINE_DOCUMENTS = 20

_PLAIN = Collation(locale="simple")


@contextmanager
def as_source_error() -> Iterator[None]:
    """MongoDB is a sink elsewhere, and its errors are worded for that."""
    try:
        yield
    except SinkUnavailable as error:
        raise SourceDisconnected(str(error)) from error
    except SinkError as error:
        raise ListingFailed(str(error)) from error


class CollectionReader:
    """The collection of one resource, read by its rules. Raises `SourceDisconnected` or `ListingFailed`."""

    def __init__(self, mongodb: MongoDB, collection: str, rules: PublishRules) -> None:
        self._mongodb = mongodb
        self._collection = mongodb.collection(collection)
        self._rules = rules

    async def verdicts(self) -> AsyncGenerator[list[Verdict], None]:
        """The verdicts on every document that is not switched off, in batches."""
        async for piece in self._pieces(self._rules.selection(), self._rules.projection(), BATCH_DOCUMENTS):
            yield await asyncio.to_thread(judge, piece, self._rules)

    async def shared_keys(self) -> dict[str, str]:
        """Keys that several documents have which are not switched off → the problem."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"$and": [self._rules.selection(), {self._rules.key: {"$type": "string"}}]}},
            {"$project": {"key": f"${self._rules.key}"}},
            {
                "$group": {
                    "_id": "$key",
                    "count": {"$sum": 1},
                    "first": {"$min": "$_id"},
                    "last": {"$max": "$_id"},
                }
            },
            {"$match": {"count": {"$gt": 1}}},
        ]
        with as_source_error():
            found = await self._mongodb.run(
                lambda: self._collection.aggregate(pipeline, allowDiskUse=True, collation=_PLAIN).to_list(None)
            )
        return {
            one["_id"]: conflict(one["count"], identity(one["first"]), identity(one["last"]))
            for one in found
            if is_key(one["_id"])
        }

    async def by_id(self, documents: Sequence[bytes]) -> list[Verdict]:
        """The verdicts on the documents with these `_id`s, as far as they exist."""
        wanted = {"_id": {"$in": [original(document) for document in documents]}}
        return await self._find(wanted) if documents else []

    async def by_key(self, keys: Sequence[str]) -> list[Verdict]:
        """The verdicts on every document with one of these keys that is not switched off."""
        wanted = {"$and": [self._rules.selection(), {self._rules.key: {"$in": list(keys)}}]}
        return await self._find(wanted) if keys else []

    async def key_map(self) -> KeyMap:
        """Key and state of every document, switched off or not."""
        fields = dict.fromkeys(filter(None, (self._rules.key, self._rules.when)), 1)
        keys = KeyMap()

        def take(piece: bytes) -> None:
            for document, known in known_documents(piece, self._rules):
                keys.put(document, known)

        async for piece in self._pieces({}, fields, SCAN_DOCUMENTS):
            await asyncio.to_thread(take, piece)
        return keys

    async def has_index(self) -> bool:
        """Whether reading by key needs no look at every document; also when that cannot be found out."""
        try:
            indexes = await self._mongodb.run(self._collection.index_information)
        except SinkError:
            return True
        return any(index["key"][0][0] == self._rules.key for index in indexes.values())

    async def _find(self, wanted: Mapping[str, Any]) -> list[Verdict]:
        found: list[Verdict] = []
        async for piece in self._pieces(wanted, self._rules.projection(), BATCH_DOCUMENTS):
            found += await asyncio.to_thread(judge, piece, self._rules)
        return found

    async def _pieces(
        self, wanted: Mapping[str, Any], fields: Mapping[str, int] | None, size: int
    ) -> AsyncGenerator[bytes, None]:
        cursor = self._collection.find_raw_batches(wanted, fields, batch_size=size, collation=_PLAIN)
        try:
            while True:
                with as_source_error():
                    piece = await self._mongodb.run(lambda: _next(cursor))
                if piece is None:
                    return
                yield piece
        finally:
            with suppress(SinkError):  # the server forgets it by itself
                await self._mongodb.run(cursor.close)


async def _next(cursor: Any) -> bytes | None:
    try:
        piece: bytes = await cursor.next()
    except StopAsyncIteration:
        return None
    return piece
