"""The MongoDB room: the client, its deadlines and its retries. The only module that imports motor.

Change streams have a client of their own, pymongo's for asyncio (`mongodb_stream.py` says why).

motor runs pymongo's blocking calls in a pool of threads, and a thread cannot be called back: what is
given up here may still be written there, later. So every operation carries the same deadline in its
thread (`pymongo.timeout`), nobody cancels one half way, and the sinks guard every write by version.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import pymongo
from bson.binary import Binary
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.int64 import Int64
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession, AsyncIOMotorCollection
from pymongo.errors import PyMongoError
from pymongo.read_preferences import ReadPreference
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from hybridsync.addresses import check_mongodb_uri, mongodb_database
from hybridsync.errors import ConfigurationError, SinkError, SinkUnavailable, SourceDisconnected
from hybridsync.mongodb_errors import one_line, sink_error
from hybridsync.mongodb_stream import ChangeFeed, as_number, as_timestamp, stream_error

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

_GRACE_SECONDS = 0.5
"""How much later than its thread a waiting coroutine gives up, so that normally the thread is done."""

_DEFAULTS: dict[str, Any] = {
    "appname": "hybridsync",
    "w": "majority",
    "journal": True,
    "retryWrites": True,
    "readConcernLevel": "majority",
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 20_000,
}
_ALIASES = {"j": "journal"}


class ServerClock(NamedTuple):
    """What a server says of itself. `cluster_time` (see `as_number`) is `None` where there is no replica set."""

    cluster_time: int | None
    local_time: datetime


class MongoDB:
    """One client and one database.

    `uri` as in MONGODB_URI; options the user put into it win over ours, except that what nobody
    acknowledges (`w=0`) is refused. Raises `ConfigurationError`. The loop is the one that is running at first use.
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
        try:
            if _options(uri).get("w") == "0":
                raise ValueError("w=0 cannot be used: every write must be acknowledged")
            check_mongodb_uri(uri)
            self._client: Any = AsyncIOMotorClient(uri, tz_aware=True, **_defaults_beside(uri))
            self.name = mongodb_database(uri)
        except (PyMongoError, ValueError) as error:
            raise ConfigurationError(f"HYBRIDSYNC_MONGODB_URI: {_without_credentials(str(error), uri)}") from None
        self.where = f"{_hosts(uri)}/{self.name}"

    def collection(self, name: str) -> Collection:
        """A collection, read from the primary: what a secondary says may be older than our own writes."""
        found: Collection = self._client[self.name].get_collection(name, read_preference=ReadPreference.PRIMARY)
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
        """Whether a late write can be told by its number: not on a standalone server, and not without retryWrites.

        Asked once. Raises `SinkUnavailable` or `SinkError`.
        """
        if self._numbers_writes is None:
            said = await self.retrying(lambda: self._client[self.name].command("hello"))
            self._numbers_writes = _replicates(said) and self._client.options.retry_writes
        return self._numbers_writes

    async def collection_info(self, name: str) -> dict[str, Any] | None:
        """What `listCollections` says about one collection; `None` when it does not exist."""
        database = self._client[self.name]
        infos = await self.retrying(lambda: _to_list(database, name))
        return infos[0] if infos else None

    async def ping(self, deadline: float = 2.0) -> None:
        """Returns when a primary answers within `deadline` seconds; raises `SinkError` otherwise."""
        await self.run(lambda: self._client.admin.command("ping"), deadline)

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
            raise sink_error(error, self.where) from error

    async def retrying(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Runs `operation`, again and again while MongoDB is unavailable, for about 15 s in all.

        The pauses are random, up to 0.1 s first and 2 s later. Raises `SinkUnavailable` or `SinkError`.
        """
        end = time.monotonic() + self._retry_seconds
        attempts = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, SinkUnavailable) and not self._closed),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(self._retry_seconds - 1),
            reraise=True,
        )

        async def attempt() -> T:
            return await self.run(operation, max(1.0, min(self._operation_seconds, end - time.monotonic())))

        return await attempts(attempt)

    # -- what a source needs ----------------------------------------------------------------------

    async def clock(self) -> ServerClock:
        """The times of the primary; its cluster time is at or past all that was committed. Raises `SinkError`."""
        said = await self.run(lambda: self._client[self.name].command("hello"))
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
        said = await self.run(lambda: self._client[self.name].command(command, read_preference=ReadPreference.PRIMARY))
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
            self._streaming = pymongo.AsyncMongoClient(self._uri, tz_aware=True, **_defaults_beside(self._uri))
        source = self._streaming[self.name].get_collection(
            collection, codec_options=options, read_preference=ReadPreference.PRIMARY
        )
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

    def _over(self, running: asyncio.Future[Any]) -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # seen, also when nobody waits any more

    def _interrupt(self) -> None:
        """Wakes the threads that still wait for an answer, because the interpreter waits for them at its end.

        pymongo has no public call for it: this is what it does itself when a monitor finds a server dead.
        """
        with contextlib.suppress(Exception):
            for server in list(self._client.delegate._topology._servers.values()):
                server.pool.reset(interrupt_connections=True)


def id_of(session: Session) -> Binary:
    """The id by which the server knows the session."""
    found: Binary = session.delegate.session_id["id"]
    return found


def next_number(session: Session) -> Int64:
    """A number for the next retryable write of the session, above those of all before it.

    For a command that pymongo does not know as a write. Raises `SinkError`, see `never_again`.
    """
    own = _server_session(session)
    own.inc_transaction_id()
    return Int64(own.transaction_id)


def never_again(session: Session, session_id: Binary | None = None, number: int = 0) -> None:
    """Keeps pymongo from using the server session behind `session` for anything else later.

    With `session_id`, the session becomes that one first, and its next write has a number above `number`.

    Both are pymongo's own affair (`ClientSession._server_session`): its public API neither continues a session
    that somebody else began nor keeps one out of the pool from which every call without a session is served.
    From 4.9 to 4.20 the names are the same; in 4.18 the class moved to `client_session_shared`. Raises
    `SinkError` when a pymongo has other names.
    """
    own = _server_session(session)
    own.dirty = True
    if session_id is not None:
        own.session_id = {"id": session_id}
        own._transaction_id = number


def _server_session(session: Session) -> Any:
    id_of(session)  # until it is asked for, there is only a placeholder
    own: Any = session.delegate._server_session
    names = ("session_id", "_transaction_id", "dirty", "inc_transaction_id", "transaction_id")
    if not all(hasattr(own, name) for name in names):
        raise SinkError(f"pymongo {pymongo.version} keeps sessions in another way: late writes cannot be fenced")
    return own


def _replicates(hello: Mapping[str, Any]) -> bool:
    return "setName" in hello or hello.get("msg") == "isdbgrid"


async def _to_list(database: Any, name: str) -> list[dict[str, Any]]:
    cursor = await database.list_collections(filter={"name": name})
    found: list[dict[str, Any]] = await cursor.to_list(None)
    return found


def _defaults_beside(uri: str) -> dict[str, Any]:
    """Our options without those that the user has set."""
    given = {_ALIASES.get(name, name) for name in _options(uri)}
    return {name: value for name, value in _DEFAULTS.items() if name.lower() not in given}


def _options(uri: str) -> dict[str, str]:
    return {name.lower(): value for name, value in parse_qsl(uri.partition("?")[2], keep_blank_values=True)}


def _hosts(uri: str) -> str:
    return uri.partition("://")[2].partition("?")[0].rpartition("@")[2].partition("/")[0]


def _without_credentials(text: str, uri: str) -> str:
    """`text` as one line, or a general one when it repeats a piece of the user name or the password."""
    credentials = uri.partition("://")[2].rpartition("@")[0]
    if any(piece in text for piece in credentials.replace("/", ":").split(":") if piece):
        return "cannot be used; user name and password must be percent-encoded"
    return one_line(text)
