"""A mirror of a ZooKeeper tree in a MongoDB collection: the `Sink` that everything is written to.

The collection belongs to one mirror. Of what else may be in it, documents whose `_id` is a path at or
below the root count as the mirror's, whatever they look like: they are overwritten and swept. So are
documents of the mirror's shape at other paths, left over from a root that was configured before.
Everything else (ids that are no paths, or foreign documents beside the root) is left alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import InvalidDocument
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, PyMongoError

from hybridsync.errors import SinkError
from hybridsync.model import Applied, Change, Index, Put, Record, Remove
from hybridsync.mongodb import MongoDB, Session
from hybridsync.mongodb_errors import is_about_document, is_answer
from hybridsync.sinks.mirror_writes import (
    MALFORMED,
    MISPLACED,
    Outcome,
    PendingPut,
    Prepared,
    Write,
    below,
    nothing_but_refused,
    prepare_puts,
    remove_operations,
    settle_puts,
    version_in,
)
from hybridsync.sinks.write_lanes import WriteLanes
from hybridsync.sinks.znode_document import encode, encode_plain, same_content

BATCH_WRITES = 1000
BATCH_BYTES = 8 * 2**20
INDEX_PIECE = 10_000
INDEX_BUILD_SECONDS = 300.0

SHOWN_VERSION = {"version": 1, "stat.czxid": 1, "stat.mtime": 1}
"""What of a document tells its version."""

INLINE_BYTES = 64 * 2**10
"""Values up to this size in all are encoded on the event loop's thread: a few milliseconds."""

_LENIENT: CodecOptions[dict[str, Any]] = CodecOptions(
    unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_MS
)


class MongoMirror:
    """The `Sink` of one collection. `root` is the path that is mirrored; keys are paths at or below it."""

    def __init__(self, mongodb: MongoDB, collection: str, root: str) -> None:
        self._mongodb = mongodb
        self._name = collection
        self._root = root
        self._collection = mongodb.collection(collection)
        self._raw = self._collection.with_options(codec_options=CodecOptions(document_class=RawBSONDocument))
        self._lanes = WriteLanes(mongodb, self._collection)

    @property
    def description(self) -> str:
        """For people: where it is."""
        return f"MongoDB collection {self._name} at {self._mongodb.where}"

    @property
    def keeps_newest(self) -> bool:
        """Guards on the mzxid see to that."""
        return True

    async def prepare(self) -> None:
        """Creates the index on `parent` when it is missing. Raises `SinkUnavailable` or `SinkError`.

        A collection whose strings compare by a collation, a capped one or a view cannot hold a mirror.
        """
        info = await self._mongodb.collection_info(self._name)
        if info is not None:
            options = info.get("options", {})
            if info.get("type") != "collection" or options.get("capped") or "collation" in options:
                raise SinkError(
                    f"{self.description}: a mirror needs a plain collection (no view, not capped, no collation)"
                )
            indexes = await self._mongodb.retrying(self._collection.index_information)
            if any(index["key"] == [("parent", 1)] for index in indexes.values()):
                return
        await self._mongodb.run(lambda: self._collection.create_index("parent"), INDEX_BUILD_SECONDS)

    async def count(self) -> int:
        """How many records the mirror holds: 0 exactly when there is none, else about that many.

        MongoDB keeps an estimate, which an unclean shutdown may leave wrong.
        """
        one = await self._mongodb.retrying(lambda: self._collection.find_one({"_id": below("/")}, {"_id": 1}))
        if one is None:
            return 0
        return max(1, await self._mongodb.retrying(self._collection.estimated_document_count))

    async def index(self) -> AsyncGenerator[Index, None]:
        """Streams path → version, see the module for which documents. Raises `SinkUnavailable` or `SinkError`."""
        misplaced = await self._misplaced()
        cursor = self._collection.find_raw_batches({"_id": below("/")}, SHOWN_VERSION, batch_size=INDEX_PIECE)
        try:
            while (piece := await self._mongodb.run(lambda: _next(cursor))) is not None:
                yield await asyncio.to_thread(_index_piece, piece, self._root, misplaced)
        finally:
            with suppress(SinkError):  # the server forgets it by itself
                await self._mongodb.run(cursor.close)

    async def apply(self, changes: Sequence[Change]) -> Applied:
        """See `Sink.apply`. Puts come first: a removed subtree takes with it what was read in it before."""
        await self._lanes.settle()
        applied = Applied()
        puts = [change for change in changes if isinstance(change, Put)]
        synced_at = _now()
        start = 0
        while start < len(puts):
            prepared = await self._prepare(puts[start : start + BATCH_WRITES], synced_at)
            start += prepared.taken
            applied.failed.update(prepared.failed)
            applied.add(await self._put(prepared.pending, synced_at))
        writes = remove_operations(change for change in changes if isinstance(change, Remove))
        for first in range(0, len(writes), BATCH_WRITES):
            applied.deleted += await self._remove(writes[first : first + BATCH_WRITES])
        return applied

    async def held(self, keys: Sequence[str]) -> Index:
        """See `Sink.held`."""
        index: Index = {}
        for start in range(0, len(keys), BATCH_WRITES):
            wanted = {"_id": {"$in": list(keys[start : start + BATCH_WRITES])}}
            lenient = self._collection.with_options(codec_options=_LENIENT)
            documents = await self._mongodb.retrying(partial(_find_all, lenient, wanted, SHOWN_VERSION))
            index.update((document["_id"], version_in(document)) for document in documents)
        return index

    async def differing(self, records: Sequence[Record]) -> list[str]:
        """Keys of those records whose document is missing or not what the codec would write.

        A plainer encoding of the same bytes is no difference: the server may have refused the richer one.
        """
        keys: list[str] = []
        start = 0
        while start < len(records):
            piece = _slice(records, start)
            start += len(piece)
            found = await self._mongodb.retrying(partial(self._fetch, [record.key for record in piece]))
            keys += await asyncio.to_thread(_differing, piece, found, self._root)
        return keys

    async def close(self) -> None:
        """Nothing: the client is shared, and closed by who made it."""

    async def _fetch(self, keys: Sequence[str]) -> dict[str, bytes]:
        documents = await self._raw.find({"_id": {"$in": keys}}).to_list(None)
        return {document["_id"]: bytes(document.raw) for document in documents}

    async def _misplaced(self) -> set[str]:
        """Paths whose document has a parent although it is the root now, or none although it is not."""
        wanted = {
            "$or": [
                {"_id": self._root, "parent": {"$ne": None}},
                {"_id": {**below("/"), "$ne": self._root}, "parent": None},
            ]
        }
        documents = await self._mongodb.retrying(lambda: self._collection.find(wanted, {"_id": 1}).to_list(None))
        return {document["_id"] for document in documents}

    async def _prepare(self, puts: Sequence[Put], synced_at: int) -> Prepared:
        size = sum(len(put.record.value) for put in puts)
        if size <= INLINE_BYTES:
            return prepare_puts(puts, BATCH_BYTES, self._root, synced_at)
        return await asyncio.to_thread(prepare_puts, puts, BATCH_BYTES, self._root, synced_at)

    async def _put(self, pending: list[PendingPut], synced_at: int) -> Applied:
        """Writes until every put is stored, known to be outdated, or refused in every encoding."""
        applied = Applied()
        todo = [pending] if pending else []
        while todo:
            batch = todo.pop()
            outcome = await self._lanes.write(partial(self._bulk, [put.operation() for put in batch]))
            if outcome is None:  # refused as a whole, for one document in it
                middle = len(batch) // 2
                todo += [batch[:middle], batch[middle:]]
                continue
            counts, again = settle_puts(batch, outcome, self._root, synced_at)
            applied.add(counts)
            if again:
                todo.append(again)
        return applied

    async def _remove(self, writes: Sequence[Write]) -> int:
        outcome = await self._mongodb.retrying(lambda: self._bulk(writes))
        if outcome is None or outcome["writeErrors"]:
            raise SinkError(f"{self.description}: the server does not understand how documents are removed")
        removed: int = outcome["nRemoved"]
        return removed

    async def _bulk(self, writes: Sequence[Write], session: Session | None = None) -> Outcome | None:
        """One unordered bulk write; `None` when it was refused as a whole because of some document in it."""
        try:
            result = await self._collection.bulk_write(writes, ordered=False, session=session)
            return result.bulk_api_result
        except BulkWriteError as error:
            if not is_answer(error):
                raise
            return error.details or {}
        except (PyMongoError, InvalidDocument) as error:
            if not is_about_document(error):
                raise
            return None if len(writes) > 1 else nothing_but_refused(str(error))


def _now() -> int:
    """Milliseconds since 1970, as MongoDB keeps dates."""
    return time.time_ns() // 1_000_000


async def _find_all(collection: Any, wanted: Mapping[str, Any], shown: Mapping[str, int]) -> list[dict[str, Any]]:
    documents: list[dict[str, Any]] = await collection.find(wanted, shown).to_list(None)
    return documents


async def _next(cursor: Any) -> bytes | None:
    try:
        piece: bytes = await cursor.next()
    except StopAsyncIteration:
        return None
    return piece


def _slice(records: Sequence[Record], start: int) -> Sequence[Record]:
    """Records from `start` on whose values are about `BATCH_BYTES`, at least one."""
    size = 0
    for end in range(start, min(len(records), start + BATCH_WRITES)):
        size += len(records[end].value)
        if size >= BATCH_BYTES:
            return records[start : end + 1]
    return records[start : start + BATCH_WRITES]


def _index_piece(piece: bytes, root: str, misplaced: set[str]) -> Index:
    """What `index` makes of one raw batch."""
    index: Index = {}
    inside = below(root)["$gte"]
    for document in bson.decode_all(piece, _LENIENT):
        key, version = document["_id"], version_in(document)
        if version == MALFORMED and key != root and not key.startswith(inside):
            continue
        index[key] = version | MISPLACED if key in misplaced and version != MALFORMED else version
    return index


def _differing(records: Sequence[Record], found: Mapping[str, bytes], root: str) -> list[str]:
    return [record.key for record in records if not _is_held(record, found.get(record.key), root)]


def _is_held(record: Record, document: bytes | None, root: str) -> bool:
    if document is None:
        return False
    now = _now()
    if same_content(document, encode(record, root, now)):
        return True
    if same_content(document, encode_plain(record, root, now, "binary")):
        return True
    with suppress(UnicodeDecodeError):
        return same_content(document, encode_plain(record, root, now, "utf8"))
    return False
