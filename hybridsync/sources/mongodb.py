"""Documents of a MongoDB collection as a source: listed by find, watched by a change stream.

What is published for a document is said by `publish_rules`. Documents that break the rules are in
`invalid`: neither written nor swept, until they are corrected, switched off or deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

import structlog

from hybridsync.dirty import DirtySet
from hybridsync.errors import ListingFailed, PositionExpired, SourceDisconnected, SourceError, SourceUnsupported
from hybridsync.give_way import MANY_RECORDS
from hybridsync.model import ANY, Batch, Change, Dirty, Listing, Put, Record, Remove
from hybridsync.mongodb import MongoDB
from hybridsync.mongodb_stream import NO_STREAMS, no_replica_set, no_streams
from hybridsync.sources.base import Watch
from hybridsync.sources.mongodb_events import Hint
from hybridsync.sources.mongodb_memory import Memory
from hybridsync.sources.mongodb_poll import polling
from hybridsync.sources.mongodb_problems import Inspection, Problems
from hybridsync.sources.mongodb_reader import CollectionReader, Facts, as_source_error
from hybridsync.sources.mongodb_watch import ChangeStreamWatch, streaming
from hybridsync.sources.publish_judge import Verdict, by_key
from hybridsync.sources.publish_rules import PublishRules


class MongoSource:
    """The documents of `collection` that `rules` publish.

    `name`: of the resource, for the log. `poll_seconds`: compare by listing that often and use no change
    stream; `None`: a change stream, which needs a replica set. `await_seconds`: how long the server may
    wait for an event before it answers that there is none, which is also how long a proof takes.
    """

    def __init__(
        self,
        mongodb: MongoDB,
        collection: str,
        rules: PublishRules,
        *,
        name: str,
        poll_seconds: float | None = None,
        await_seconds: float = 1.0,
    ) -> None:
        self._mongodb = mongodb
        self._collection = collection
        self._rules = rules
        self._poll_seconds = poll_seconds
        self._await_seconds = await_seconds
        self._reader = CollectionReader(mongodb, collection, rules)
        self._log = structlog.get_logger("hybridsync").bind(resource=name)
        self._memory = Memory()
        self._problems = Problems(self._memory, self._log)
        self._facts: Facts | None = None
        self._cluster: str | None = None
        self._connected = self._advised = False

    @property
    def description(self) -> str:
        """Kind, collection and servers."""
        return f"MongoDB collection {self._collection} at {self._mongodb.where}"

    @property
    def invalid(self) -> Mapping[str, str]:
        """See `sources/base.py`. A document without a usable key is there under its `_id`."""
        return self._problems

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Nothing: a collection can be read or not."""
        return {}

    @property
    def trouble(self) -> str | None:
        """See `sources/base.py`."""
        return self._mongodb.trouble

    @property
    def place(self) -> str | None:
        """The collection by its UUID, which its name has only until it is dropped, and its replica set.

        What of the two may not be read is left out. MongoDB resumes after tokens of another cluster without a word.
        While there is no collection it is the one that was followed, whose end the stream has still to tell.
        """
        if not self._connected or self._poll_seconds is not None:
            return None
        gone = self._memory.collection or "none"
        uuid = gone if self._facts is None else self._facts.uuid or "unknown"
        return f"collection {uuid} of replica set {self._cluster or 'unknown'}"

    @property
    def removal_seen(self) -> bool:
        """See `sources/base.py`."""
        return self._memory.removal_seen

    @property
    def proof_seconds(self) -> float:
        """The wait of a change stream; polling may have to finish one comparison and make another."""
        return self._await_seconds if self._poll_seconds is None else 2 * self._poll_seconds

    async def connect(self) -> None:
        """Returns once the primary answers. Raises `SourceUnsupported` for one without change streams."""
        with as_source_error():
            clock = await self._mongodb.clock()
        facts = await self._reader.facts()
        if self._poll_seconds is None:
            if clock.cluster_time is None:
                raise SourceUnsupported(no_replica_set(self._mongodb.where))
            if facts is not None and facts.kind in NO_STREAMS:
                raise SourceUnsupported(no_streams(NO_STREAMS[facts.kind], self._mongodb.where, self._collection))
            self._cluster = await self._reader.cluster()
        elif facts is not None and facts.kind == "view" and facts.collation is not None:
            raise SourceUnsupported(
                f"MongoDB at {self._mongodb.where}: the view {self._collection} compares texts by the collation "
                f"{facts.collation}, which no request can change, and keys are compared byte by byte; make it without"
            )
        self._facts = facts
        self._connected = True

    async def _advise(self) -> None:
        """Names a missing index, once."""
        if not self._advised and not await self._reader.has_index():
            collated = self._facts is not None and self._facts.collation is not None
            options = ', {collation: {locale: "simple"}}' if collated else ""
            self._log.warning(
                "there is no index on the key: some changes make MongoDB look at every document",
                action=f"db.{self._collection}.createIndex({{{self._rules.key}: 1}}{options})",
            )
        self._advised = True

    @asynccontextmanager
    async def watch(self, dirty: DirtySet, resume: str | None = None) -> AsyncIterator[Watch]:
        """See `sources/base.py`. Raises `PositionExpired`, `SourceDisconnected` or `SourceUnsupported`."""
        if self._poll_seconds is not None:
            async with polling(self._reader, self._memory, dirty, self._poll_seconds, self._log) as polled:
                yield polled
            return
        same = self._memory.is_at(None if self._facts is None else self._facts.uuid, self._cluster)
        if resume is not None and not same:
            raise PositionExpired(f"{self.description}: it is another collection than the one that was followed")
        async with streaming(
            self._mongodb,
            self._collection,
            self._rules,
            self._reader,
            self._memory,
            dirty,
            resume=resume,
            await_seconds=self._await_seconds,
            log=self._log,
        ) as watch:
            await self._advise()
            examining = None
            if watch.resumed and not self._problems.complete:
                examining = watch.examining = asyncio.create_task(self._examine(watch), name="hybridsync-examining")
            try:
                yield watch
            finally:
                if examining is not None:
                    examining.cancel()
                    await asyncio.wait({examining})

    async def _examine(self, watch: ChangeStreamWatch) -> None:
        """Finds out which documents are invalid, where a position of another process spares the listing."""
        try:
            async for _ in self._inspected():
                pass
        except SourceError as error:
            watch.lose(SourceDisconnected(str(error)))
        except Exception as error:
            self._log.exception("the documents could not be examined", error=str(error))
            watch.lose(SourceDisconnected(f"{self.description}: the documents could not be examined"))

    async def _inspected(self) -> AsyncGenerator[list[Record], None]:
        """The records of all documents that are on and break no rule; what breaks rules is noted on the way."""
        with self._problems.inspection() as inspection:
            await inspection.broken_many(await self._reader.shared_keys())
            shared, seen = set(inspection.found), set[str]()
            nameless: dict[str, str] = {}
            async with aclosing(self._reader.verdicts()) as batches:
                async for verdicts in batches:
                    yield _sorted(verdicts, shared, seen, nameless, inspection)
            await inspection.complete()
            if not self._memory.watching:
                await self._memory.set_nameless(nameless, self._log)

    async def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
        """See `sources/base.py`. Documents that share a key are found first, so that none of them is taken."""
        with as_source_error():
            clock = await self._mongodb.clock()
        # What the stream has told by now is in the listing: from there a later watch may go on.
        position = self._memory.position if self._memory.watching else None
        before = await self._reader.facts()
        async with aclosing(self._inspected()) as batches:
            async for records in batches:
                yield Batch(records)
        self._existed(before, await self._reader.facts(), listing)
        clock_time = clock.local_time.isoformat() if clock.cluster_time is None else str(clock.cluster_time)
        listing.position = position or clock_time

    def _existed(self, before: Facts | None, after: Facts | None, listing: Listing) -> None:
        """Says whether the collection was there all the time. Raises `ListingFailed` when it became another one."""
        listing.root_missing = before is None or after is None
        if before is None or after is None:
            return
        if before.uuid != after.uuid:
            raise ListingFailed(f"{self.description}: it was replaced by another one while it was listed")
        self._memory.removal_seen = False
        if self._facts is None:
            self._facts = after  # created since the watch began, which has told of all that is in it
            self._memory.collection = after.uuid

    def outline(self, listing: Listing) -> None:
        """Nothing cheaper than a listing."""

    async def read(self, keys: Sequence[Dirty]) -> Sequence[Change]:
        """See `sources/base.py`. An invalid document yields nothing: what the sink holds stays."""
        hints = {key: hint for key, hint in keys if isinstance(hint, Hint)}
        verdicts = {verdict.key: verdict for verdict in await self._single_holders(keys)}
        doubtful = [key for key, _ in keys if key not in verdicts]
        found = await self._reader.by_key(doubtful)  # many, where many documents have one key
        verdicts |= _keyed(found) if len(found) < MANY_RECORDS else await asyncio.to_thread(_keyed, found)
        changes: list[Change] = []
        for key, _ in keys:
            verdict = verdicts.get(key)
            if verdict is not None and verdict.problem is not None:
                self._problems.broken(key, verdict.problem)
                continue
            self._problems.fine(key)
            if verdict is None or verdict.record is None:
                changes.append(Remove(key))
            else:
                committed = hints[key].committed if key in hints else None
                changes.append(Put(verdict.record._replace(meta=committed), ANY))
        return changes

    async def close(self) -> None:
        """Nothing to let go of: the client belongs to whoever made it."""

    async def _single_holders(self, keys: Sequence[Dirty]) -> Iterable[Verdict]:
        """Of those keys that one document alone is known to have, it still has and is on: read by `_id`."""
        if not self._memory.watching:
            return ()
        holders = {key: holder for key, _ in keys if (holder := self._memory.keys.only_holder(key)) is not None}
        found = await self._reader.by_id(list(holders.values()))
        return [one for one in by_key(found) if one.key is not None and holders.get(one.key) == one.document]


def _keyed(found: Sequence[Verdict]) -> dict[str | None, Verdict]:
    return {verdict.key: verdict for verdict in by_key(found)}


def _sorted(
    verdicts: Sequence[Verdict], shared: set[str], seen: set[str], nameless: dict[str, str], inspection: Inspection
) -> list[Record]:
    records: list[Record] = []
    for verdict in verdicts:
        if verdict.key is None:
            nameless[verdict.name] = verdict.problem or ""
        elif verdict.key in seen or verdict.key in shared:
            continue  # a second one that came while this listing went on has marked its key
        elif verdict.record is not None:
            seen.add(verdict.key)
            records.append(verdict.record)
        elif verdict.problem is not None:
            inspection.broken(verdict.key, verdict.problem)
    return records
