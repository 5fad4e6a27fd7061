"""One open change stream of a MongoDB collection, and the times that its resume tokens stand for.

pymongo's own asyncio client is used here and not motor: a stream waits for events nearly all the time, and
with motor each would keep one of the few threads that every other request needs.

The manual's page "Change Streams" says that tokens of the hexadecimal kind sort in the order of the
events. What is read from a token here is its beginning, the cluster time (`KeyString`, type byte 0x82, then
64 bits). mongosh's `decodeResumeToken` reads the same.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from bson.errors import BSONError
from bson.timestamp import Timestamp
from pymongo.asynchronous.change_stream import AsyncCollectionChangeStream
from pymongo.errors import OperationFailure, PyMongoError

from hybridsync.errors import PositionExpired, SinkUnavailable, SourceDisconnected, SourceError, SourceUnsupported
from hybridsync.mongodb_errors import sink_error

ANSWER_SECONDS = 10.0
"""How long an answer may be overdue."""

CLOSE_SECONDS = 1.0

NO_STREAMS = {"view": "a view", "timeseries": "a time series collection"}
"""Kinds of collections, by their `type` in listCollections, that MongoDB has no change streams for."""

ENDS = {"drop": "dropped", "rename": "renamed", "dropDatabase": "dropped", "invalidate": "dropped or renamed"}

_NEEDS_REPLICA_SET = 40573
_UNAUTHORIZED = 13
_ON_VIEW = 166  # CommandNotSupportedOnView, said of time series collections too
_REFUSED = frozenset({_UNAUTHORIZED, 18})  # AuthenticationFailed
_HISTORY = frozenset(
    {
        260,  # InvalidResumeToken
        280,  # ChangeStreamFatalError
        286,  # ChangeStreamHistoryLost
        10334,  # BSONObjectTooLarge: an event of a document whose _id has megabytes; it would be met again and again
    }
)

_TOKEN = re.compile("82([0-9A-Fa-f]{16})(?:[0-9A-Fa-f]{2})*")


def as_number(time: Timestamp) -> int:
    """A cluster time as one integer that sorts as the times do."""
    return time.time << 32 | time.inc


def as_timestamp(number: int) -> Timestamp:
    """The cluster time behind `as_number`."""
    return Timestamp(number >> 32, number & 0xFFFFFFFF)


def token_time(token: str) -> int | None:
    """The cluster time of a resume token, see `as_number`; `None` for a token of another kind."""
    found = _TOKEN.fullmatch(token)
    return int(found[1], 16) if found else None


class CollectionGone(PositionExpired):
    """The stream told that the collection was dropped or renamed."""


class ChangeFeed:
    """An open change stream. Not usable after an error.

    `where`: the servers and the database. `await_seconds`: how long the server may wait for an event before it says
    that there is none.
    """

    def __init__(
        self, stream: AsyncCollectionChangeStream[Any], where: str, collection: str, await_seconds: float
    ) -> None:
        self._stream = stream
        self._where = where
        self._collection = collection
        self._patience = await_seconds + ANSWER_SECONDS

    @property
    def token(self) -> str:
        """Where a later stream may resume: everything before it was returned by `next`.

        Raises `SourceUnsupported` for a server whose tokens are not MongoDB's.
        """
        token = (self._stream.resume_token or {}).get("_data")
        if not isinstance(token, str) or token_time(token) is None:
            raise SourceUnsupported(
                f"MongoDB at {self._where}: its resume tokens tell no time; set poll_seconds in the source"
            )
        return token

    async def next(self) -> Mapping[str, Any] | None:
        """The next event, or `None` when there was none for a while.

        Raises `PositionExpired` when the history is gone, `CollectionGone` when the collection is, `SourceUnsupported`
        when it became a view, `SourceDisconnected` otherwise.
        """
        try:
            async with asyncio.timeout(self._patience):
                event: Mapping[str, Any] | None = await self._stream.try_next()
        except TimeoutError:
            raise SourceDisconnected(f"MongoDB at {self._where}: no answer within {self._patience:g} s") from None
        except (PyMongoError, BSONError) as error:
            raise stream_error(error, self._where, self._collection, resuming=False) from error
        if event is not None and event["operationType"] in ENDS:
            ended = ENDS[event["operationType"]]
            raise CollectionGone(f"MongoDB at {self._where}: the collection {self._collection} was {ended}")
        return event

    async def close(self) -> None:
        """Lets the server forget the stream. Never raises, takes at most `CLOSE_SECONDS`."""
        with suppress(TimeoutError, PyMongoError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._stream.close()


def stream_error(error: PyMongoError | BSONError, where: str, collection: str, *, resuming: bool) -> SourceError:
    """The error of our own tree for one of the driver's. `resuming`: it was said of a position that was given."""
    said = sink_error(error, where)
    if isinstance(error, OperationFailure):
        if error.code == _NEEDS_REPLICA_SET:
            return SourceUnsupported(no_replica_set(where))
        if error.code == _ON_VIEW:
            return SourceUnsupported(no_streams("a view or a time series collection", where, collection))
        if error.code == _UNAUTHORIZED:
            needed = f"to follow {collection} takes find and changeStream on it, which the role read includes"
            return SourceDisconnected(f"{said}; {needed}")
        unusable = resuming and not isinstance(said, SinkUnavailable) and error.code not in _REFUSED
        if error.code in _HISTORY or unusable:
            return PositionExpired(str(said))
    return SourceDisconnected(str(said))


def no_streams(kind: str, where: str, collection: str) -> str:
    """What to do about a collection without change streams. `kind`: see `NO_STREAMS`."""
    return (
        f"MongoDB at {where}: {collection} is {kind}, which has no change streams: set poll_seconds in the source, "
        "or publish the collection behind it"
    )


def no_replica_set(where: str) -> str:
    """What to do about a server without change streams."""
    return (
        f"MongoDB at {where} is no replica set, so it has no change streams: make it one (rs.initiate() on a "
        "single member is enough), or set poll_seconds in the source"
    )
