"""Documents of a MongoDB collection as a source: listed by find, watched by a change stream.

What is published for a document is said by `publish_rules`. Documents that break the rules are in
`invalid`: neither written nor swept, until they are corrected, switched off or deleted.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

import structlog

from hybridsync.dirty import DirtySet
from hybridsync.errors import SourceUnsupported
from hybridsync.model import ANY, Batch, Change, Dirty, Listing, Put, Record, Remove
from hybridsync.mongodb import MongoDB
from hybridsync.mongodb_stream import no_replica_set
from hybridsync.sources.base import Watch
from hybridsync.sources.mongodb_events import Hint
from hybridsync.sources.mongodb_memory import TOLD_PROBLEMS, Memory
from hybridsync.sources.mongodb_poll import polling
from hybridsync.sources.mongodb_reader import CollectionReader, as_source_error
from hybridsync.sources.mongodb_watch import streaming
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
        self._broken: dict[str, str] = {}
        self._memory = Memory()
        self._invalid = ChainMap(self._broken, self._memory.nameless)
        self._advised = False

    @property
    def description(self) -> str:
        """Kind, collection and servers."""
        return f"MongoDB collection {self._collection} at {self._mongodb.where}"

    @property
    def invalid(self) -> Mapping[str, str]:
        """See `sources/base.py`. A document without a usable key is there under its `_id`."""
        return self._invalid

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Nothing: a collection can be read or not."""
        return {}

    @property
    def trouble(self) -> str | None:
        """See `sources/base.py`."""
        return None

    @property
    def place(self) -> str | None:
        """A token of another cluster is refused by the server."""
        return None

    @property
    def removal_seen(self) -> bool:
        """See `sources/base.py`."""
        return False

    @property
    def proof_seconds(self) -> float:
        """The wait of a change stream; polling may have to finish one comparison and make another."""
        return self._await_seconds if self._poll_seconds is None else 2 * self._poll_seconds

    async def connect(self) -> None:
        """Returns once the primary answers. Raises `SourceUnsupported` for one without change streams."""
        with as_source_error():
            clock = await self._mongodb.clock()
        if clock.cluster_time is None and self._poll_seconds is None:
            raise SourceUnsupported(no_replica_set(self._mongodb.where))

    async def _advise(self) -> None:
        """Names a missing index, once."""
        if not self._advised and not await self._reader.has_index():
            self._log.warning(
                "there is no index on the key: some changes make MongoDB look at every document",
                action=f"db.{self._collection}.createIndex({{{self._rules.key}: 1}})",
            )
        self._advised = True

    @asynccontextmanager
    async def watch(self, dirty: DirtySet, resume: str | None = None) -> AsyncIterator[Watch]:
        """See `sources/base.py`. Raises `PositionExpired`, `SourceDisconnected` or `SourceUnsupported`."""
        if self._poll_seconds is not None:
            async with polling(self._reader, self._memory, dirty, self._poll_seconds, self._log) as polled:
                yield polled
            return
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
            yield watch

    async def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
        """See `sources/base.py`. Documents that share a key are found first, so that none of them is taken."""
        with as_source_error():
            clock = await self._mongodb.clock()
        # What the stream has told by now is in the listing: from there a later watch may go on.
        position = self._memory.position if self._memory.watching else None
        found = await self._reader.shared_keys()
        shared, seen, told = set(found), set[str](), 0
        nameless: dict[str, str] = {}
        for key, problem in found.items():
            told += self._complain(key, problem, quiet=told >= TOLD_PROBLEMS)
        async with aclosing(self._reader.verdicts()) as batches:
            async for verdicts in batches:
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
                        found[verdict.key] = verdict.problem
                        told += self._complain(verdict.key, verdict.problem, quiet=told >= TOLD_PROBLEMS)
                yield Batch(records)
        self._forget(key for key in list(self._broken) if key not in found)
        if not self._memory.watching:
            self._memory.set_nameless(nameless, self._log)
        if told > TOLD_PROBLEMS:
            self._log.warning("more documents are not published", count=told - TOLD_PROBLEMS)
        clock_time = clock.local_time.isoformat() if clock.cluster_time is None else str(clock.cluster_time)
        listing.position = position or clock_time

    def outline(self, listing: Listing) -> None:
        """Nothing cheaper than a listing."""

    async def read(self, keys: Sequence[Dirty]) -> Sequence[Change]:
        """See `sources/base.py`. An invalid document yields nothing: what the sink holds stays."""
        hints = {key: hint for key, hint in keys if isinstance(hint, Hint)}
        verdicts = {verdict.key: verdict for verdict in await self._single_holders(keys)}
        doubtful = [key for key, _ in keys if key not in verdicts]
        verdicts |= {verdict.key: verdict for verdict in by_key(await self._reader.by_key(doubtful))}
        changes: list[Change] = []
        for key, _ in keys:
            verdict = verdicts.get(key)
            if verdict is not None and verdict.problem is not None:
                self._complain(key, verdict.problem)
                continue
            self._forget([key])
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

    def _complain(self, key: str, problem: str, *, quiet: bool = False) -> bool:
        """Notes a problem; true when it is a new one."""
        if self._broken.get(key) == problem:
            return False
        self._broken[key] = problem
        if not quiet:
            self._log.warning("a document is not published", key=key, problem=problem)
        return True

    def _forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            if self._broken.pop(key, None) is not None:
                self._log.info("no longer invalid", key=key)
