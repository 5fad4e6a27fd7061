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

from bson.timestamp import Timestamp
from pymongo.asynchronous.change_stream import AsyncCollectionChangeStream
from pymongo.errors import OperationFailure, PyMongoError

from hybridsync.errors import PositionExpired, SinkUnavailable, SourceDisconnected, SourceError, SourceUnsupported
from hybridsync.mongodb_errors import sink_error

ANSWER_SECONDS = 10.0
"""How long an answer may be overdue."""

CLOSE_SECONDS = 1.0

ENDS = {"drop": "dropped", "rename": "renamed", "dropDatabase": "dropped", "invalidate": "dropped or renamed"}

_NEEDS_REPLICA_SET = 40573
_REFUSED = frozenset({13, 18})  # Unauthorized, AuthenticationFailed
_HISTORY = frozenset({260, 280, 286})  # InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost

_TOKEN = re.compile("82([0-9A-Fa-f]{16})(?:[0-9A-Fa-f]{2})*")


def as_number(time: Timestamp) -> int:
    """A cluster time as one integer that sorts as the times do."""
    return time.time << 32 | time.inc


def token_time(token: str) -> int | None:
    """The cluster time of a resume token, see `as_number`; `None` for a token of another kind."""
    found = _TOKEN.fullmatch(token)
    return int(found[1], 16) if found else None


class ChangeFeed:
    """An open change stream. Not usable after an error.

    `await_seconds`: how long the server may wait for an event before it says that there is none.
    """

    def __init__(self, stream: AsyncCollectionChangeStream[Any], where: str, await_seconds: float) -> None:
        self._stream = stream
        self._where = where
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

        Raises `PositionExpired` when the history or the collection is gone, `SourceDisconnected` otherwise.
        """
        try:
            async with asyncio.timeout(self._patience):
                event: Mapping[str, Any] | None = await self._stream.try_next()
        except TimeoutError:
            raise SourceDisconnected(f"MongoDB at {self._where}: no answer within {self._patience:g} s") from None
        except PyMongoError as error:
            raise stream_error(error, self._where, resuming=False) from error
        if event is not None and event["operationType"] in ENDS:
            raise PositionExpired(f"MongoDB at {self._where}: the collection was {ENDS[event['operationType']]}")
        return event

    async def close(self) -> None:
        """Lets the server forget the stream. Never raises, takes at most `CLOSE_SECONDS`."""
        with suppress(TimeoutError, PyMongoError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._stream.close()


def stream_error(error: PyMongoError, where: str, *, resuming: bool) -> SourceError:
    """The error of our own tree for one of the driver's. `resuming`: it was said of a position that was given."""
    said = sink_error(error, where)
    if isinstance(error, OperationFailure):
        if error.code == _NEEDS_REPLICA_SET:
            return SourceUnsupported(no_replica_set(where))
        unusable = resuming and not isinstance(said, SinkUnavailable) and error.code not in _REFUSED
        if error.code in _HISTORY or unusable:
            return PositionExpired(str(said))
    return SourceDisconnected(str(said))


def no_replica_set(where: str) -> str:
    """What to do about a server without change streams."""
    return (
        f"MongoDB at {where} is no replica set, so it has no change streams: make it one (rs.initiate() on a "
        "single member is enough), or set poll_seconds in the source"
    )
