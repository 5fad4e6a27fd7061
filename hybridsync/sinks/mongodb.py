"""A mirror in a MongoDB collection: the `Sink` that everything is written to.

The collection belongs to one mirror. What its documents are, and which of those it finds count as its own,
is the codec's to say; here they are written, deleted, listed and compared.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import bson
from bson.errors import InvalidDocument
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, PyMongoError

from hybridsync.errors import SinkError
from hybridsync.model import Applied, Change, Index, Put, Record, Remove
from hybridsync.mongodb import MongoDB, Session
from hybridsync.mongodb_errors import is_about_document, is_answer
from hybridsync.sinks.codec import LENIENT, MALFORMED, MISPLACED, Delete, Document, DocumentCodec, Shown
from hybridsync.sinks.mirror_collection import MirrorCollection
from hybridsync.sinks.mirror_watch import MirrorWatch
from hybridsync.sinks.mirror_writes import (
    Outcome,
    PendingPut,
    Prepared,
    inserts_and_replacements,
    nothing_but_refused,
    prepare_puts,
    settle_puts,
)
from hybridsync.sinks.short_work import ShortWork
from hybridsync.sinks.write_command import insert, update
from hybridsync.sinks.write_lanes import WriteLanes

BATCH_WRITES = 1000
BATCH_BYTES = 8 * 2**20
INDEX_PIECE = 10_000

RECORD_OVERHEAD_BYTES = 200
"""What else there is to encode of a record."""

_RAW = LENIENT.with_options(document_class=RawBSONDocument)

_NO_TEXT = "\ufffd"

_AS_IT_LIES = [("$natural", 1)]

S = TypeVar("S", bound=Session | None)


class MongoMirror:
    """The `Sink` of one collection, whose documents are what `codec` makes of records.

    `watch`: what looks after the collections of all mirrors in the database; whoever made it keeps it running.
    """

    def __init__(
        self, mongodb: MongoDB, collection: str, codec: DocumentCodec, watch: MirrorWatch | None = None
    ) -> None:
        self._mongodb = mongodb
        self._name = collection
        self._codec = codec
        self._collection = mongodb.collection(collection)
        self._place = MirrorCollection(mongodb, collection, watch or MirrorWatch(mongodb))
        self._prepared = self._place.generation
        self._raw = self._collection.with_options(codec_options=_RAW)
        self._lanes = WriteLanes(mongodb, self._collection)
        self._encoding = ShortWork()

    @property
    def description(self) -> str:
        """For people: where it is."""
        return f"MongoDB collection {self._name} at {self._mongodb.where}"

    @property
    def keeps_newest(self) -> bool:
        """Where versions have an order, guards see to that."""
        return self._codec.keeps_newest

    @property
    def generation(self) -> int:
        """Another one when the collection was dropped, renamed, made anew, or into what cannot hold a mirror."""
        return self._place.generation

    @property
    def trouble(self) -> str | None:
        """See `Sink.trouble`; also why nobody may see whether the collection is still there."""
        return self._mongodb.trouble or self._place.forbidden

    async def identity(self) -> str | None:
        """The UUID of the collection whose losses `generation` counts; asked for when it is not known.

        Raises `SinkUnavailable` or `SinkError`.
        """
        return await self._place.identity()

    async def prepare(self) -> None:
        """Creates the collection and missing indexes, and keeps late writes of others away.

        Raises `SinkUnavailable`, or `SinkError`, also when this collection cannot hold a mirror: the text says why.
        An index that cannot be made is logged, and tried again the next time.
        """
        await self._place.look()
        if self._place.generation != self._prepared:
            self._lanes.register_anew()  # the registrations may be gone, too: of a whole database, for instance
        await self._lanes.fence_others()  # before anybody compares: what came late would come after it
        await self._lanes.settle()
        await self._place.make_ready(self._codec.indexes)
        self._prepared = self._place.generation

    async def count(self) -> int:
        """How many records the mirror holds: 0 exactly when there is none, else about that many.

        MongoDB keeps an estimate, which an unclean shutdown may leave wrong.
        """
        one = await self._mongodb.retrying(lambda: self._collection.find_one(self._codec.inside, {"_id": 1}))
        if one is None:
            return 0
        return max(1, await self._mongodb.retrying(self._collection.estimated_document_count))

    async def index(self) -> AsyncGenerator[Index, None]:
        """Streams key → version. Raises `SinkUnavailable` or `SinkError`.

        While one batch is looked at, the next is on its way. The collection is read as it lies on the disk: by way
        of the keys it takes longer, and what is not `inside` is rare.
        """
        misplaced = await self._misplaced()
        inside, shown = self._codec.inside, self._codec.shown
        cursor = self._collection.find_raw_batches(inside, shown, batch_size=INDEX_PIECE, hint=_AS_IT_LIES)

        def ask() -> asyncio.Task[bytes | None]:
            return asyncio.create_task(self._mongodb.run(lambda: _next(cursor)))

        coming = ask()
        try:
            while (piece := await coming) is not None:
                coming = ask()
                yield await asyncio.to_thread(_index_piece, piece, self._codec, misplaced)
        finally:
            await asyncio.gather(coming, return_exceptions=True)  # a cursor is not for two threads at once
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
        if removes := [change for change in changes if isinstance(change, Remove)]:
            seen = await self._look(self._codec.to_look_at(removes))
            writes = self._codec.removal(removes, seen)
            for first in range(0, len(writes), BATCH_WRITES):
                applied.deleted += await self._remove(writes[first : first + BATCH_WRITES])
        return applied

    async def held(self, keys: Sequence[str]) -> Index:
        """See `Sink.held`."""
        version_in = self._codec.version_in
        return {key: version_in(document) for key, document in (await self._look(keys)).items()}

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
            keys += await asyncio.to_thread(_differing, piece, found, self._codec)
        return keys

    async def close(self) -> None:
        """Says that its lanes are done. The client is shared, and closed by who made it."""
        self._place.close()
        await self._lanes.close()

    async def _fetch(self, keys: Sequence[str]) -> dict[str, bytes]:
        documents = await self._raw.find({"_id": {"$in": keys}}).to_list(None)
        return {document["_id"]: bytes(document.raw) for document in documents}

    async def _look(self, keys: Sequence[str]) -> dict[str, Shown]:
        """The documents of those keys that are there, as far as they tell their version."""
        found: dict[str, Shown] = {}
        lenient = self._collection.with_options(codec_options=LENIENT)
        for start in range(0, len(keys), BATCH_WRITES):
            wanted = {"_id": {"$in": list(keys[start : start + BATCH_WRITES])}}
            documents = await self._mongodb.retrying(partial(_find_all, lenient, wanted, self._codec.shown))
            found.update((document["_id"], document) for document in documents)
        return found

    async def _misplaced(self) -> set[str]:
        wanted = self._codec.misplaced
        if wanted is None:
            return set()
        documents = await self._mongodb.retrying(lambda: self._collection.find(wanted, {"_id": 1}).to_list(None))
        return {document["_id"] for document in documents}

    async def _prepare(self, puts: Sequence[Put], synced_at: int) -> Prepared:
        size = sum([len(put.record.value) for put in puts]) + RECORD_OVERHEAD_BYTES * len(puts)
        work = partial(prepare_puts, self._codec, puts, BATCH_BYTES, synced_at)
        return await self._encoding.run(min(size, BATCH_BYTES), work)

    async def _put(self, pending: list[PendingPut], synced_at: int) -> Applied:
        """Writes until every put is stored, or refused in every encoding; of one that is outdated nothing is stored."""
        applied = Applied()
        todo = inserts_and_replacements(pending)
        while todo:
            batch = todo.pop()
            outcome = await self._write(batch)
            if outcome is None:  # refused as a whole, for one document in it
                middle = len(batch) // 2
                todo += [batch[:middle], batch[middle:]]
                continue
            counts, again = settle_puts(self._codec, batch, outcome, synced_at)
            applied.add(counts)
            todo += inserts_and_replacements(again)
        return applied

    async def _write(self, batch: Sequence[PendingPut]) -> Outcome | None:
        """Writes puts that are all inserted, or all replace; see `_outcome`."""
        numbered = await self._mongodb.numbers_writes()
        write: Callable[[Session], Awaitable[Outcome]]
        if batch[0].inserts:
            write = partial(insert, self._collection, [one.document for one in batch], numbered=numbered)
        else:
            updates = [{**self._codec.replacement(one.put, one.document), "upsert": True} for one in batch]
            write = partial(update, self._collection, updates, numbered=numbered)
        return await self._lanes.write(partial(_outcome, write, len(batch)))

    async def _remove(self, deletes: Sequence[Delete]) -> int:
        async def attempt(session: Session | None) -> Outcome:
            return (await self._collection.bulk_write(deletes, ordered=False, session=session)).bulk_api_result

        if self._codec.keeps_newest:
            outcome = await self._mongodb.retrying(lambda: _outcome(attempt, len(deletes), None))
        else:  # nothing in the delete itself stops it from taking what was written after it
            outcome = await self._lanes.write(partial(_outcome, attempt, len(deletes)))
        if outcome is None or outcome["writeErrors"]:
            raise SinkError(f"{self.description}: the server does not understand how documents are removed")
        removed: int = outcome["nRemoved"]
        return removed


async def _outcome(write: Callable[[S], Awaitable[Outcome]], count: int, session: S) -> Outcome | None:
    """One attempt of `count` unordered writes; `None` when they were refused as a whole because of one document."""
    try:
        return await write(session)
    except BulkWriteError as error:
        if not is_answer(error):
            raise
        return error.details or {}
    except (PyMongoError, InvalidDocument) as error:
        if not is_about_document(error):
            raise
        return None if count > 1 else nothing_but_refused(str(error), getattr(error, "code", None))


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


def _index_piece(piece: bytes, codec: DocumentCodec, misplaced: set[str]) -> Index:
    """What `index` makes of one raw batch."""
    index, others = codec.index_of(piece)
    for document in bson.decode_all(b"".join(others), LENIENT):
        key, version = document["_id"], codec.version_in(document)
        if _NO_TEXT in key:  # it stands for what is no UTF-8: no source has such a key, and no filter could name it
            continue
        if version != MALFORMED or codec.owns_malformed(key):
            index[key] = version
    for key in misplaced & index.keys():
        if index[key] != MALFORMED:
            index[key] |= MISPLACED
    return index


def _differing(records: Sequence[Record], found: Mapping[str, bytes], codec: DocumentCodec) -> list[str]:
    now = _now()
    documents = codec.documents([Put(record) for record in records], now)
    return [
        record.key
        for record, document in zip(records, documents, strict=True)
        if not _is_held(record, document, found.get(record.key), codec, now)
    ]


def _is_held(record: Record, document: Document | str, stored: bytes | None, codec: DocumentCodec, now: int) -> bool:
    if stored is None or isinstance(document, str):
        return False
    if codec.same_content(stored, document) or codec.same_content(stored, codec.plain(record, now, "binary")):
        return True
    with suppress(UnicodeDecodeError):
        return codec.same_content(stored, codec.plain(record, now, "utf8"))
    return False
