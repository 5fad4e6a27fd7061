"""Whether a MongoDB that was away has come back with the same history.

A data directory that is put back from a copy has the same collections, by their UUIDs, and an oplog that ends before
the position to resume from. By then its clock is past that position, so the server resumes there without a word,
and what it has lost is never noticed. But an event that was told of before the loss is not in such an oplog.
"""

from __future__ import annotations

import asyncio

from hybridsync.errors import PositionExpired, SourceDisconnected
from hybridsync.mongodb import MongoDB
from hybridsync.mongodb_stream import ANSWER_SECONDS, ChangeFeed, token_time
from hybridsync.sources.raw_documents import UNDECODED


async def same_history(mongodb: MongoDB, collection: str, event: str, await_seconds: float) -> None:
    """Returns when the event with this token is still in the history, or the oplog no longer reaches back to it.

    That lets no loss through: whatever a copy was made of, its oplog has nothing between its end and the moment it
    was put back, so it cannot begin in between. Raises `PositionExpired` when the event is not there, else as
    `MongoDB.follow` does.
    """
    time = token_time(event)
    if time is None:
        return
    shown = [{"$project": {"operationType": 1}}]
    try:
        async with asyncio.timeout(await_seconds + ANSWER_SECONDS):
            feed = await mongodb.follow(
                collection, shown, resume=None, since=time, await_seconds=await_seconds, options=UNDECODED
            )
            try:
                if await _tells(feed, event, time):
                    return
            finally:
                await feed.close()
    except PositionExpired:
        return  # the oplog begins later, or the collection is gone, which the stream itself tells again
    except TimeoutError:
        raise SourceDisconnected(f"MongoDB at {mongodb.where}: it does not tell what it remembers") from None
    raise PositionExpired(
        f"MongoDB at {mongodb.where}: it has another history than before (was it put back from a copy?)"
    )


async def _tells(feed: ChangeFeed, event: str, time: int) -> bool:
    while True:
        found = await feed.next()
        if found is not None and found["_id"]["_data"] == event:
            return True
        if (token_time(feed.token) or 0) > time:
            return False
