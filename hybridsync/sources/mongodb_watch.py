"""The watch of a collection by its change stream, and the proof that nothing was missed.

The proof: the primary is asked for a cluster time past everything that was committed (a linearizable
read). Once the stream's resume token says that it has told everything up to that time, every change
committed before the question has marked its key. The server gives such a token with every answer, also
with one that has no event in it (`postBatchResumeToken`; MongoDB manual, "Change Streams", and the drivers'
specification of change streams).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog

from hybridsync.dirty import DirtySet
from hybridsync.errors import PositionExpired, SourceDisconnected, SourceError
from hybridsync.give_way import give_way
from hybridsync.mongodb import MongoDB
from hybridsync.mongodb_stream import ANSWER_SECONDS, ChangeFeed, CollectionGone, token_time
from hybridsync.sources.key_map import KeyMap
from hybridsync.sources.mongodb_events import Effect, effect, hint, pipeline
from hybridsync.sources.mongodb_history import same_history
from hybridsync.sources.mongodb_memory import Memory
from hybridsync.sources.mongodb_reader import CollectionReader, as_source_error
from hybridsync.sources.publish_judge import nameless, shown
from hybridsync.sources.publish_rules import PublishRules
from hybridsync.sources.raw_documents import UNDECODED

TOLD_KEYS = 20
CANCEL_AGAIN_SECONDS = 0.05
TURN_EVENTS = 50
"""So many events at once; then others on the loop get their turn."""


class ChangeStreamWatch:
    """An open change stream. `read_until`: the cluster time up to which the keys were known when it began.

    `examining`: what has to be over before a proof, since it finds out which documents are invalid.
    """

    def __init__(
        self,
        feed: ChangeFeed,
        mongodb: MongoDB,
        collection: str,
        rules: PublishRules,
        memory: Memory,
        dirty: DirtySet,
        *,
        resumed: bool,
        read_until: int,
        await_seconds: float,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost.add_done_callback(lambda future: future.exception())
        self._feed = feed
        self._mongodb = mongodb
        self._collection = collection
        self._rules = rules
        self._memory = memory
        self._dirty = dirty
        self._resumed = resumed
        self._read_until = read_until
        self._await_seconds = await_seconds
        self._log = log
        self._position = feed.token
        self._told = 0
        self._moved = asyncio.Event()
        self._deleted: list[str] = []
        self._ending = False
        self.examining: asyncio.Future[None] | None = None

    @property
    def position(self) -> str:
        """The resume token behind the last event that has marked its key."""
        return self._position

    @property
    def resumed(self) -> bool:
        """See `sources/base.py`."""
        return self._resumed

    async def follow(self) -> None:
        """Marks keys until the stream ends; then the watch is lost."""
        try:
            while not self._ending:
                for _ in range(TURN_EVENTS):
                    await self._step()
                    if self._ending:
                        return
                await give_way()
        except SourceError as error:
            self.lose(error)
        except Exception as error:
            self.lose(self._unforeseen("the change stream could not be followed", error))
        finally:
            if not self._ending:  # also when the driver took a cancellation for its own
                self.lose(SourceDisconnected(f"MongoDB at {self._mongodb.where}: the change stream ended"))

    async def catch_up(self) -> None:
        """Marks what happened since the position to resume from, up to where the keys were read.

        Only there a key may turn out to be unknown, and then it is better to say so before the watch is armed.
        Raises `SourceDisconnected` for a stream that does not come any further.
        """
        steps, clock = 0, asyncio.get_running_loop().time
        before, moved = self._told, clock()
        while self._resumed and self._told < self._read_until:
            try:
                await self._step()
            except CollectionGone:
                self._memory.removal_seen = True
                raise
            if self._told > before:
                before, moved = self._told, clock()
            elif clock() - moved > self._await_seconds + ANSWER_SECONDS:
                raise self._silent()
            steps += 1
            if steps % TURN_EVENTS == 0:
                await give_way()

    async def end(self, following: asyncio.Task[None]) -> None:
        """Ends `follow`. pymongo may take a cancellation for itself when an answer comes at that moment."""
        self._ending = True
        while not following.done():
            following.cancel()
            await asyncio.wait({following}, timeout=CANCEL_AGAIN_SECONDS)

    def lose(self, error: SourceError) -> None:
        """Ends the watch."""
        if not self.lost.done():
            if isinstance(error, CollectionGone):
                self._memory.removal_seen = True
            self.lost.set_exception(error)
        self._moved.set()

    async def probe(self) -> None:
        """See `sources/base.py`. The deadline is 10 s beyond what the answers normally take.

        A question that the primary does not answer is in vain; a stream that does not come up to the answer is lost.
        """
        try:
            if self.examining is not None:  # each of its requests has a deadline, and its end loses the watch
                await asyncio.wait({self.examining, self.lost}, return_when=asyncio.FIRST_COMPLETED)
            if not self.lost.done():
                with as_source_error():
                    asked = await self._mongodb.committed_time(self._collection)
                async with asyncio.timeout(self._await_seconds + ANSWER_SECONDS):
                    while self._told < asked and not self.lost.done():
                        self._moved.clear()
                        await self._moved.wait()
        except TimeoutError:
            self.lose(self._silent())
        except SourceError:
            raise
        except Exception as error:
            raise self._unforeseen("the proof failed", error) from error
        if self.lost.done():
            self.lost.result()

    def _silent(self) -> SourceDisconnected:
        return SourceDisconnected(f"MongoDB at {self._mongodb.where}: the change stream fell silent")

    def _unforeseen(self, what: str, error: Exception) -> SourceDisconnected:
        self._log.error(what, error=str(error), exc_info=error)
        return SourceDisconnected(f"MongoDB at {self._mongodb.where}: {what} ({type(error).__name__})")

    async def _step(self) -> None:
        event = await self._feed.next()
        token = self._feed.token
        time = token_time(token) or 0
        if event is None:
            self._tell_deleted()
        else:
            self._take(event)
            self._memory.last_event = event["_id"]["_data"]
            time -= 1  # there may be more events of that very time
        self._memory.position = self._position = token
        self._told = max(self._told, time)
        self._moved.set()

    def _take(self, event: Any) -> None:
        result = effect(event, self._memory.keys, self._rules, read_until=self._read_until, resumed=self._resumed)
        if result.lost:
            raise PositionExpired(
                f"MongoDB at {self._mongodb.where}: a document of {self._collection} was deleted or got another "
                "key while nobody watched, and its key is not known"
            )
        for key in result.marked:
            self._dirty.mark(key, hint(event))
        self._note_nameless(result)
        if result.deleted_live is not None:
            self._deleted.append(result.deleted_live)
            if len(self._deleted) >= TURN_EVENTS:
                self._tell_deleted()

    def _note_nameless(self, result: Effect) -> None:
        if result.after is not None and result.after.live and result.after.key is None:
            name = nameless(result.document)
            problem = self._rules.no_key(long=result.after.long)
            if self._memory.nameless.get(name) != problem:
                self._log.warning("a document is not published", key=name, problem=problem)
            self._memory.nameless[name] = problem
        elif self._memory.nameless:
            self._memory.nameless.pop(nameless(result.document), None)

    def _tell_deleted(self) -> None:
        if self._deleted:
            self._log.warning(
                "documents were deleted that were not switched off before: what is published for them goes too",
                count=len(self._deleted),
                keys=list(map(shown, self._deleted[:TOLD_KEYS])),
            )
            self._deleted = []


@asynccontextmanager
async def streaming(
    mongodb: MongoDB,
    collection: str,
    rules: PublishRules,
    reader: CollectionReader,
    memory: Memory,
    dirty: DirtySet,
    *,
    resume: str | None,
    await_seconds: float,
    log: structlog.stdlib.BoundLogger,
) -> AsyncIterator[ChangeStreamWatch]:
    """Opens the stream first and reads the keys after it, so that no change is between the two."""
    if resume is not None and memory.last_event is not None:
        await same_history(mongodb, collection, memory.last_event, await_seconds)
    feed = await mongodb.follow(
        collection, pipeline(rules), resume=resume, await_seconds=await_seconds, options=UNDECODED
    )
    try:
        read_until = await _known_until(mongodb, reader, memory, rules, feed.token, resume, log)
        watch = ChangeStreamWatch(
            feed,
            mongodb,
            collection,
            rules,
            memory,
            dirty,
            resumed=resume is not None,
            read_until=read_until,
            await_seconds=await_seconds,
            log=log,
        )
        await watch.catch_up()
        memory.watching = True
        following = asyncio.create_task(watch.follow(), name="hybridsync-change-stream")
        try:
            yield watch
        finally:
            memory.watching = False
            await watch.end(following)
    finally:
        await feed.close()


async def _known_until(
    mongodb: MongoDB,
    reader: CollectionReader,
    memory: Memory,
    rules: PublishRules,
    token: str,
    resume: str | None,
    log: structlog.stdlib.BoundLogger,
) -> int:
    """Makes the keys known, and returns up to which cluster time they are. Raises `PositionExpired`."""
    if resume is not None and memory.position is not None:
        known, wanted = token_time(memory.position) or 0, token_time(resume) or 0
        if wanted <= known:
            return known if resume != memory.position else 0
    memory.last_event = None
    memory.keys = await reader.key_map()
    memory.position = token
    with as_source_error():
        now = (await mongodb.clock()).cluster_time
    # A new stream begins right behind what was committed, so its token may be one step ahead of the clock.
    if now is None or (token_time(token) or 0) > now + 1:
        raise PositionExpired(f"MongoDB at {mongodb.where}: its history does not reach the position to resume from")
    await memory.set_nameless(await asyncio.to_thread(_nameless, memory.keys, rules), log)
    return now


def _nameless(keys: KeyMap, rules: PublishRules) -> dict[str, str]:
    return {nameless(document): rules.no_key(long=long) for document, long in keys.live_without_key().items()}
