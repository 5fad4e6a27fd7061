"""Which sessions write to which mirror, kept in `sync_lanes`, so that those of the dead can be fenced.

One document a lane: `_id` is the id of its session, and `collection`, `instance` and `since` say whose it
is. `since` is the server's time, so the clocks of the instances need not agree.

A fence is a write in the session of the dead, with a number above all it can have used. Deleting the
registration is that write: unlike one that changes nothing it is replicated, so it still holds after an
election. Before it comes one that changes nothing in the mirror's collection, because behind mongos every
shard counts the numbers for itself. A session belongs to a user: that of another one cannot be fenced.
https://github.com/mongodb/specifications/blob/master/source/sessions/driver-sessions.md
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from bson import ObjectId
from bson.binary import Binary
from pymongo.errors import BulkWriteError, OperationFailure

from hybridsync.errors import SinkError
from hybridsync.mongodb import Collection, MongoDB, Session

T = TypeVar("T")

COLLECTION = "sync_lanes"

FORGOTTEN_SECONDS = 3600
"""The server keeps the numbers of a session for 30 minutes after its last write. A lane is registered anew every
ten minutes while it is used, so what is older than this has nothing to be fenced any more."""

UNAUTHORIZED = 13
TRANSACTION_TOO_OLD = 225

_FENCES_FROM = 1 << 62


class Overtaken(Exception):
    """A write came with a number below one its session has seen: somebody has fenced the session."""


def is_overtaken(error: OperationFailure) -> bool:
    """Whether MongoDB refused a write because of its number. https://www.mongodb.com/docs/manual/reference/error-codes/"""
    if isinstance(error, BulkWriteError):
        return any(one.get("code") == TRANSACTION_TOO_OLD for one in error.details.get("writeErrors", ()))
    return error.code == TRANSACTION_TOO_OLD


async def empty_write(collection: Collection, session: Session) -> None:
    """A write that changes nothing; it raises the number of the session."""
    await collection.update_one({"_id": ObjectId()}, {"$set": {"fence": 1}}, session=session)


class LaneRegistry:
    """The registrations of one mirror. Everything raises `SinkUnavailable` or `SinkError`."""

    def __init__(self, mongodb: MongoDB, mirror: Collection) -> None:
        self._mongodb = mongodb
        self._mirror = mirror
        self._lanes = mongodb.collection(COLLECTION)
        self._instance = f"{socket.gethostname()}-{os.getpid()}"

    async def add(self, lane: Binary) -> None:
        """Returns when the registration is acknowledged."""
        facts = {"collection": self._mirror.name, "instance": self._instance}
        change = {"$set": facts, "$currentDate": {"since": True}}
        await self._allowed(lambda: self._lanes.update_one({"_id": lane}, change, upsert=True))

    async def renew(self, lane: Binary, session: Session) -> None:
        """One attempt, in the lane's own session. Raises `Overtaken` when it is no longer registered."""
        done = await self._lanes.update_one({"_id": lane}, {"$currentDate": {"since": True}}, session=session)
        if not done.matched_count:
            raise Overtaken

    async def of_mirror(self) -> list[Binary]:
        """The lanes of all instances."""
        wanted = {"collection": self._mirror.name}
        found = await self._allowed(lambda: _ids(self._lanes, wanted))
        return [lane for lane in found if isinstance(lane, Binary) and (lane.subtype, len(lane)) == (4, 16)]

    async def fence(self, lane: Binary) -> None:
        """Returns when no write of that session can arrive any more; its registration is gone then."""
        session = await self._mongodb.session_of_another(lane, _FENCES_FROM + secrets.randbits(61))
        try:
            await self._allowed(lambda: _unless_overtaken(empty_write(self._mirror, session)))
            await self._allowed(lambda: _unless_overtaken(self._lanes.delete_one({"_id": lane}, session=session)))
        except Overtaken:  # somebody else fences it at this moment, with a higher number
            await self._allowed(lambda: self._lanes.delete_one({"_id": lane}))

    async def forget_old(self) -> None:
        """Removes registrations that are no use any more: of mirrors that nobody keeps now."""
        old = {"$expr": {"$lt": ["$since", {"$subtract": ["$$NOW", FORGOTTEN_SECONDS * 1000]}]}}
        await self._allowed(lambda: self._lanes.delete_many(old))

    async def remove(self, lanes: Sequence[Binary], deadline: float) -> None:
        """Of lanes whose every write is acknowledged. One attempt."""
        await self._mongodb.run(lambda: self._lanes.delete_many({"_id": {"$in": list(lanes)}}), deadline)

    async def _allowed(self, operation: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._mongodb.retrying(operation)
        except SinkError as error:
            cause = error.__cause__
            if isinstance(cause, OperationFailure) and cause.code == UNAUTHORIZED:
                raise SinkError(
                    f"MongoDB at {self._mongodb.where}: the user needs find, insert, update and remove on the "
                    f"collections {COLLECTION} and {self._mirror.name} (docs/operations.md has the role)"
                ) from error
            raise


async def _ids(collection: Collection, wanted: dict[str, Any]) -> list[object]:
    documents = await collection.find(wanted, {"_id": 1}).to_list(None)
    return [document["_id"] for document in documents]


async def _unless_overtaken(write: Awaitable[Any]) -> None:
    try:
        await write
    except OperationFailure as error:
        if is_overtaken(error):
            raise Overtaken from error
        raise
