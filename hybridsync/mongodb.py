"""The MongoDB room: the client, its deadlines and its retries. The only module that imports motor.

Change streams have a client of their own, pymongo's for asyncio (`mongodb_stream.py` says why).

motor runs pymongo's blocking calls in a pool of threads, and a thread cannot be called back: what is
given up here may still be written there, later. So every operation carries the same deadline in its
thread (`pymongo.timeout`), nobody cancels one half way, and the sinks guard every write by version.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias, TypeVar

import pymongo
import structlog
from bson.binary import Binary
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession, AsyncIOMotorCollection
from pymongo.errors import PyMongoError
from pymongo.read_preferences import ReadPreference
from pymongo.topology_description import TopologyDescription
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from hybridsync.addresses import check_mongodb_uri, mongodb_database, mongodb_options
from hybridsync.errors import ConfigurationError, SinkError, SinkUnavailable, SourceDisconnected
from hybridsync.mongodb_errors import is_refusal, one_line, sink_error
from hybridsync.mongodb_options import PLAIN, READS, WRITES, client_options, not_obeyed
from hybridsync.mongodb_sessions import never_again
from hybridsync.mongodb_signs import SignsOfLife
from hybridsync.mongodb_stream import ChangeFeed, as_number, as_timestamp, stream_error
from hybridsync.mongodb_topology import VARIABLE, pools, renew_connections, trouble_of

log = structlog.get_logger("hybridsync")

T = TypeVar("T")
Session: TypeAlias = AsyncIOMotorClientSession
Collection: TypeAlias = AsyncIOMotorCollection[Any]

OPERATION_SECONDS = 10.0
"""One request, the search for a server included."""

RETRY_SECONDS = 15.0
"""All attempts of one request."""

CLOSE_SECONDS = 2.0

EVENTS_AT_ONCE = 500
"""Events of a change stream in one answer, which is taken in on the event loop."""
RENEW_SECONDS = 1.0
"""Connections are made anew that often at most, see `mongodb_topology.renew_connections`."""

_GRACE_SECONDS = 0.5
"""How much later than its thread a waiting coroutine gives up, so that normally the thread is done."""


class ServerClock(NamedTuple):
    """What a server says of itself. `cluster_time` (see `as_number`) is `None` where there is no replica set."""

    cluster_time: int | None
    local_time: datetime


class MongoDB:
    """One client and one database.

    `uri` as in MONGODB_URI; which of its options count is said in `mongodb_options.py`. Raises `ConfigurationError`.
    The loop is the one that is running at first use.
    """

    def __init__(
        self, uri: str, *, operation_seconds: float = OPERATION_SECONDS, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self._operation_seconds = operation_seconds
        self._retry_seconds = retry_seconds
        self._running: set[asyncio.Future[Any]] = set()
        self._closed = False
        self._numbers_writes: bool | None = None
        self._uri = uri
        self._streaming: pymongo.AsyncMongoClient[dict[str, Any]] | None = None
        self._renewed = -math.inf
        try:
            check_mongodb_uri(uri)
            given = mongodb_options(uri)
            self._options = client_options(given)
            self._client: Any = AsyncIOMotorClient(uri, tz_aware=True, **self._options)
            self.name = mongodb_database(uri)
            self._database: Any = self._client.get_database(
                self.name, PLAIN, ReadPreference.PRIMARY, write_concern=WRITES, read_concern=READS
            )
        except (PyMongoError, ValueError) as error:
            raise ConfigurationError(f"{VARIABLE}: {_without_credentials(str(error), uri)}") from None
        self.where = f"{_hosts(uri)}/{self.name}"
        self._signs = SignsOfLife(lambda deadline: self.run(self._hello, deadline), self._topology, self.where)
        if ignored := not_obeyed(given):
            log.info("options of the MongoDB URI are not used as they are", variable=VARIABLE, options=ignored)

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written at this moment, as far as is known without asking; see `Sink.trouble`."""
        if self._closed:
            return None
        return trouble_of(self._topology(), self.where) or self._signs.missing

    def collection(self, name: str) -> Collection:
        """A collection, read from the primary: what a secondary says may be older than our own writes.

        What is read is what a majority has, what is acknowledged is there for good, whatever the URI says.
        """
        found: Collection = self._database.get_collection(name)
        return found

    async def new_session(self) -> Session:
        """A session for writes that must not overtake each other. Raises `SinkError`."""
        return await self.retrying(self._client.start_session)

    async def session_of_another(self, session_id: Binary, number: int) -> Session:
        """Somebody else's session, in which the next writes have numbers above `number`. Raises `SinkError`."""
        session = await self.new_session()
        never_again(session, session_id, number)
        return session

    async def numbers_writes(self) -> bool:
        """Whether a late write can be told by its number: on a replica set or a sharded cluster.

        Asked once. Raises `SinkUnavailable` or `SinkError`.
        """
        if self._numbers_writes is None:
            said = await self.retrying(self._hello)
            self._numbers_writes = _replicates(said)
        return self._numbers_writes

    async def collection_infos(self, names: Sequence[str], deadline: float | None = None) -> list[dict[str, Any]]:
        """What `listCollections` says about those of the collections that exist. One attempt; raises `SinkError`."""
        return await self.run(lambda: _to_list(self._database, {"name": {"$in": list(names)}}), deadline)

    async def command(self, command: Mapping[str, Any], deadline: float | None = None) -> Mapping[str, Any]:
        """One command on the database that is no read, acknowledged by a majority. One attempt; raises `SinkError`."""
        concern = {"writeConcern": WRITES.document}
        return await self.run(lambda: self._database.command({**command, **concern}, codec_options=PLAIN), deadline)

    async def ping(self, deadline: float = 2.0) -> None:
        """Returns when a server that takes writes answers within `deadline` seconds; raises `SinkError` otherwise.

        It does not wait for the deadline once it is known that no server can be reached.
        """
        await self._signs.ask(deadline)

    def _topology(self) -> TopologyDescription:
        found: TopologyDescription = self._client.delegate.topology_description
        return found

    async def _hello(self) -> Mapping[str, Any]:
        said: Mapping[str, Any] = await self._database.command("hello", codec_options=PLAIN)
        return said

    async def run(self, operation: Callable[[], Awaitable[T]], deadline: float | None = None) -> T:
        """One attempt, given up after `deadline` seconds.

        Raises `SinkUnavailable` when it may be tried again, `SinkError` when not. An operation
        that is given up is left to itself, not cancelled.
        """
        seconds = self._operation_seconds if deadline is None else deadline
        if self._closed:
            raise SinkUnavailable(f"MongoDB at {self.where}: the connection is closed")
        with pymongo.timeout(seconds):  # motor carries it into the thread
            running: asyncio.Future[T] = asyncio.ensure_future(operation())
        self._running.add(running)
        running.add_done_callback(self._over)
        await asyncio.wait({running}, timeout=seconds + _GRACE_SECONDS)
        if not running.done():
            raise SinkUnavailable(f"MongoDB at {self.where}: no answer within {seconds:g} s")
        try:
            return running.result()
        except (PyMongoError, BSONError) as error:
            if is_refusal(error):
                await self._renew_connections()
            raise sink_error(error, self.where) from error

    async def retrying(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Runs `operation`, again and again while MongoDB is unavailable, for about 15 s in all.

        The pauses are random, up to 0.1 s first and 2 s later. Raises `SinkUnavailable` or `SinkError`.
        """
        end = time.monotonic() + self._retry_seconds

        async def attempt() -> T:
            return await self.run(operation, max(1.0, min(self._operation_seconds, end - time.monotonic())))

        return await self.repeated(attempt)

    async def repeated(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Like `retrying`, for what makes its requests by `run` or `command`, with deadlines of their own."""
        attempts = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, SinkUnavailable) and not self._closed),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(self._retry_seconds - 1),
            reraise=True,
        )

        async def attempted() -> T:  # tenacity wants a coroutine function
            return await attempt()

        return await attempts(attempted)

    # -- what a source needs ----------------------------------------------------------------------

    async def clock(self) -> ServerClock:
        """The times of the primary; its cluster time is at or past all that was committed. Raises `SinkError`."""
        said = await self.run(self._hello)
        time_ = as_number(said["operationTime"]) if _replicates(said) and "operationTime" in said else None
        return ServerClock(time_, said.get("localTime") or datetime.now(UTC))

    async def committed_time(self, collection: str) -> int:
        """A cluster time (see `as_number`) past every change that was committed before the call. Raises `SinkError`.

        A linearizable read: the primary writes an empty entry into its oplog and answers once a majority
        has it, so one that was deposed and does not know it yet cannot answer. Manual, "Linearizable Read Concern".
        """
        command = {
            "find": collection,
            "filter": {"_id": None},
            "limit": 1,
            "singleBatch": True,
            "readConcern": {"level": "linearizable"},
            "maxTimeMS": int(self._operation_seconds * 1000),
        }
        said = await self.run(lambda: self._database.command(command, codec_options=PLAIN))
        if "operationTime" not in said:
            raise SinkError(f"MongoDB at {self.where}: it tells no cluster time")
        return as_number(said["operationTime"])

    async def follow(
        self,
        collection: str,
        pipeline: Sequence[Mapping[str, Any]],
        *,
        resume: str | None,
        await_seconds: float,
        options: CodecOptions[Any],
        since: int | None = None,
    ) -> ChangeFeed:
        """Opens a change stream, at the resume token, at the cluster time `since`, or from now on.

        `options` decode its events.

        Raises `PositionExpired`, `SourceUnsupported` or `SourceDisconnected`.
        """
        if self._closed:
            raise SourceDisconnected(f"MongoDB at {self.where}: the connection is closed")
        if self._streaming is None:
            self._streaming = pymongo.AsyncMongoClient(self._uri, tz_aware=True, **self._options)
        source = self._streaming[self.name].get_collection(collection, options, ReadPreference.PRIMARY, WRITES, READS)
        try:
            async with asyncio.timeout(self._operation_seconds):
                stream = await source.watch(
                    pipeline,
                    resume_after=None if resume is None else {"_data": resume},
                    batch_size=EVENTS_AT_ONCE,
                    start_at_operation_time=None if since is None else as_timestamp(since),
                    max_await_time_ms=max(1, round(await_seconds * 1000)),
                )
        except TimeoutError:
            raise SourceDisconnected(
                f"MongoDB at {self.where}: no answer within {self._operation_seconds:g} s"
            ) from None
        except (PyMongoError, BSONError) as error:
            if is_refusal(error):
                await self._renew_connections()
            raise stream_error(error, self.where, collection, resuming=resume is not None) from error
        return ChangeFeed(stream, self.where, collection, await_seconds)

    async def close(self) -> None:
        """Lets go of all connections. Never raises, takes at most `CLOSE_SECONDS`; may be called twice."""
        if self._closed:
            return
        self._closed = True
        over = asyncio.Event()
        loop = asyncio.get_running_loop()

        def close() -> None:
            with contextlib.suppress(Exception), pymongo.timeout(CLOSE_SECONDS / 2):
                self._client.close()
            with contextlib.suppress(RuntimeError):  # the loop has not waited for us
                loop.call_soon_threadsafe(over.set)

        if self._running:
            self._interrupt()
        # A thread of our own, and a daemon: motor's threads may all be waiting for a frozen server.
        threading.Thread(target=close, name="hybridsync-mongodb-close", daemon=True).start()
        with contextlib.suppress(TimeoutError, PyMongoError):
            async with asyncio.timeout(CLOSE_SECONDS):
                if self._streaming is not None:
                    await self._streaming.close()
                await over.wait()

    async def _renew_connections(self) -> None:
        """After a refusal: the next requests are made as the user who is there then, with the rights of then."""
        now = time.monotonic()
        if now - self._renewed < RENEW_SECONDS:  # one refusal seldom comes alone
            return
        self._renewed = now
        await renew_connections(self._client.delegate)
        if self._streaming is not None:
            await renew_connections(self._streaming)

    def _over(self, running: asyncio.Future[Any]) -> None:
        self._running.discard(running)
        _seen(running)

    def _interrupt(self) -> None:
        """Wakes the threads that still wait for an answer, because the interpreter waits for them at its end.

        pymongo has no public call for it: this is what it does itself when a monitor finds a server dead.
        """
        with contextlib.suppress(Exception):
            for pool in pools(self._client.delegate):
                pool.reset(interrupt_connections=True)


def _seen(done: asyncio.Future[Any]) -> None:
    """Also when nobody waits any more."""
    if not done.cancelled():
        done.exception()


def _replicates(hello: Mapping[str, Any]) -> bool:
    return "setName" in hello or hello.get("msg") == "isdbgrid"


async def _to_list(database: Any, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    cursor = await database.list_collections(filter=wanted)
    found: list[dict[str, Any]] = await cursor.to_list(None)
    return found


def _hosts(uri: str) -> str:
    return uri.partition("://")[2].partition("?")[0].rpartition("@")[2].partition("/")[0]


def _without_credentials(text: str, uri: str) -> str:
    """`text` as one line, or a general one when it repeats a piece of the user name or the password."""
    credentials = uri.partition("://")[2].rpartition("@")[0]
    if any(piece in text for piece in credentials.replace("/", ":").split(":") if piece):
        return "cannot be used; user name and password must be percent-encoded"
    return one_line(text)
