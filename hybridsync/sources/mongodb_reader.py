"""What is asked of the published collection: its documents in raw batches, its shared keys, its documents by key.

All reads see what a majority has (`mongodb.py`), compare texts byte by byte whatever the collection's
collation, and are judged in a thread when they are long. Errors are those of a source.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

from pymongo.collation import Collation
from pymongo.errors import OperationFailure

from hybridsync.errors import ListingFailed, SinkError, SinkUnavailable, SourceDisconnected
from hybridsync.mongodb import MongoDB
from hybridsync.sources.key_map import KeyMap
from hybridsync.sources.publish_judge import Verdict, conflict, judge, known_documents
from hybridsync.sources.publish_rules import PublishRules, is_key
from hybridsync.sources.raw_documents import LENIENT, any_of, decoded, documents, elements

BATCH_DOCUMENTS = 500
SCAN_DOCUMENTS = 10_000
ASKED_BYTES = 2**20
"""Of keys or `_id`s in one request, which MongoDB limits to 16 MiB."""

_PLAIN = Collation(locale="simple")
_UNAUTHORIZED = 13


T = TypeVar("T")


class Facts(NamedTuple):
    """What the server says about a collection that exists. `kind`: `collection`, `view` or `timeseries`."""

    kind: str
    uuid: str | None
    """`None` where it is not told: views have none, and it takes the right listCollections."""
    collation: str | None
    """The locale by which texts are compared, where that is not byte by byte."""


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
        self._name = collection
        self._collection = mongodb.collection(collection)
        self._rules = rules

    async def facts(self) -> Facts | None:
        """What the server says about the collection; `None` when there is none."""
        command = {"listCollections": 1, "filter": {"name": self._name}}
        with as_source_error():
            try:
                found = await self._command(command)
            except SinkError as error:
                if not _is_unauthorized(error):
                    raise
                found = await self._command({**command, "nameOnly": True, "authorizedCollections": True})
        for one in found["cursor"]["firstBatch"]:
            uuid, options = one.get("info", {}).get("uuid"), one.get("options", {})
            collation = options.get("collation", {}).get("locale")
            return Facts(one.get("type", "collection"), None if uuid is None else bytes(uuid).hex(), collation)
        return None

    async def cluster(self) -> str | None:
        """The id of the replica set; `None` where it may not be read (the role clusterMonitor) or there is none."""
        try:
            admin = self._collection.database.client.admin
            said = await self._mongodb.run(lambda: admin.command("replSetGetConfig"))
        except SinkUnavailable as error:
            raise SourceDisconnected(str(error)) from error
        except SinkError:
            return None
        found = said.get("config", {}).get("settings", {}).get("replicaSetId")
        return None if found is None else str(found)

    async def confirmed(self) -> None:
        """Returns once a majority has confirmed the primary: what is read from now on is not older than the call."""
        with as_source_error():
            if (await self._mongodb.clock()).cluster_time is not None:
                await self._mongodb.committed_time(self._name)

    async def verdicts(self) -> AsyncGenerator[list[Verdict], None]:
        """The verdicts on every document that is not switched off, in batches."""
        cursor = self._cursor(self._rules.selection(), self._rules.projection(), BATCH_DOCUMENTS)
        async with aclosing(self._batches(cursor)) as pieces:
            async for piece in pieces:
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
        found: dict[str, str] = {}
        cursor = self._collection.aggregate_raw_batches(pipeline, allowDiskUse=True, collation=_PLAIN)
        async for piece in self._batches(cursor):
            found |= await asyncio.to_thread(_conflicts, piece)
        return found

    async def by_id(self, identities: Sequence[bytes]) -> list[Verdict]:
        """The verdicts on the documents with these `_id`s, as far as they exist.

        By the collection's own collation, which is that of the index on `_id`: others may be found, too.
        """
        found: list[Verdict] = []
        for some in _portions(identities, len):
            cursor = self._collection.find_raw_batches({"_id": any_of(some)}, self._rules.projection())
            found += await self._judged(cursor)
        return found

    async def by_key(self, keys: Sequence[str]) -> list[Verdict]:
        """The verdicts on every document with one of these keys that is not switched off."""
        found: list[Verdict] = []
        for some in _portions(keys, lambda key: 4 * len(key)):
            wanted = {"$and": [self._rules.selection(), {self._rules.key: {"$in": some}}]}
            found += await self._judged(self._cursor(wanted, self._rules.projection(), BATCH_DOCUMENTS))
        return found

    async def key_map(self) -> KeyMap:
        """Key and state of every document, switched off or not."""
        fields = dict.fromkeys(filter(None, (self._rules.key, self._rules.when)), 1)
        keys = KeyMap()

        def take(piece: bytes) -> None:
            for document, known in known_documents(piece, self._rules):
                keys.put(document, known)

        async for piece in self._batches(self._cursor({}, fields, SCAN_DOCUMENTS)):
            await asyncio.to_thread(take, piece)
        return keys

    async def has_index(self) -> bool:
        """Whether reading by key needs no look at every document; also when that cannot be found out."""
        try:
            indexes = await self._mongodb.run(self._collection.index_information)
        except SinkError:
            return True
        return any(
            index["key"][0][0] == self._rules.key
            and "collation" not in index
            and "partialFilterExpression" not in index
            for index in indexes.values()
        )

    async def _command(self, command: Mapping[str, Any]) -> dict[str, Any]:
        database = self._collection.database
        said: dict[str, Any] = await self._mongodb.run(lambda: database.command(command, codec_options=LENIENT))
        return said

    async def _judged(self, cursor: Any) -> list[Verdict]:
        found: list[Verdict] = []
        async for piece in self._batches(cursor):
            found += await asyncio.to_thread(judge, piece, self._rules)
        return found

    def _cursor(self, wanted: Mapping[str, Any], fields: Mapping[str, int] | None, size: int) -> Any:
        return self._collection.find_raw_batches(wanted, fields, batch_size=size, collation=_PLAIN)

    async def _batches(self, cursor: Any) -> AsyncGenerator[bytes, None]:
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


def _is_unauthorized(error: SinkError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OperationFailure) and cause.code == _UNAUTHORIZED


def _conflicts(piece: bytes) -> dict[str, str]:
    """Key → problem, of what `shared_keys` asks for."""
    found: dict[str, str] = {}
    for raw in documents(piece):
        one = {element.name: element.identity for element in elements(raw)}
        key = decoded(one[b"_id"])
        if is_key(key):
            found[key] = conflict(decoded(one[b"count"]), one.get(b"first", b""), one.get(b"last", b""))
    return found


def _portions(values: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """The values in pieces of about `ASKED_BYTES`."""
    portion: list[T] = []
    held = 0
    for value in values:
        if portion and held + size(value) > ASKED_BYTES:
            yield portion
            portion, held = [], 0
        portion.append(value)
        held += size(value)
    if portion:
        yield portion


async def _next(cursor: Any) -> bytes | None:
    try:
        piece: bytes = await cursor.next()
    except StopAsyncIteration:
        return None
    return piece
