"""One request under way, and what becomes of it: an answer, or an error in our own words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from kazoo.exceptions import ConnectionClosedError, ConnectionLoss, SessionExpiredError

from hybridsync.errors import ListingFailed, PositionExpired, SourceDisconnected, SourceError, SourceUnsupported
from hybridsync.zookeeper import codes
from hybridsync.zookeeper.connection import Link
from hybridsync.zookeeper.limits import Weight

_T = TypeVar("_T")


class Answer(NamedTuple):
    """What the server answered, and the last transaction it had applied when it did."""

    value: Any
    zxid: int


class Call:
    """One request under way, and the sink that kazoo puts its answer into."""

    __slots__ = ("_answered", "completed", "epoch", "future", "link", "name", "sent_at", "timer", "weight")

    def __init__(self, name: str, weight: Weight, link: Link, epoch: int, answered: Callable[..., None]) -> None:
        self.name = name
        self.weight = weight
        self.sent_at = time.monotonic()
        self.link = link
        self.epoch = epoch
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.future.add_done_callback(retrieved)
        self.timer: asyncio.TimerHandle | None = None
        self.completed = False
        self._answered = answered

    def set(self, value: Any) -> None:
        """Called by kazoo on its thread, right after it noted the zxid of this answer."""
        self.link.post(self._answered, self, Answer(value, self.link.last_zxid), None)

    def set_exception(self, error: Exception) -> None:
        """Called by kazoo, on its thread or within `Link.call`; perhaps twice."""
        self.link.post(self._answered, self, None, error)

    def fail(self, error: SourceError) -> None:
        """Tells the waiter; kazoo may still be busy with the request."""
        if not self.future.done():
            self.future.set_exception(error)


def translated(where: str, name: str, error: Exception | None) -> SourceError:
    """What kazoo told about the call `name`, in the words of `errors.py`; `where` names the server."""
    if isinstance(error, (ConnectionLoss, ConnectionClosedError)):
        return SourceDisconnected(f"the connection to {where} was lost")
    if isinstance(error, SessionExpiredError):
        return PositionExpired(f"the session with {where} is over")
    if isinstance(error, codes.Refusal):
        return _refused(where, name, error.code)
    detail = f": {error}" if str(error) else ""
    return ListingFailed(f"{where} answered {name} with {type(error).__name__}{detail}")


class AnswerTooLong(ListingFailed):
    """The answer was longer than we take; nothing else is wrong."""


def _refused(where: str, name: str, code: int) -> SourceError:
    """What an error code of a whole reply means for the call `name`."""
    if code == codes.UNIMPLEMENTED:
        return SourceUnsupported(f"{where} is older than 3.6: it does not know {name}; allowed is 3.6 or newer")
    if code in codes.END_OF_SESSION:
        return PositionExpired(f"the session with {where} is over: {codes.reason(code)}")
    if code in codes.END_OF_CONNECTION:
        return SourceDisconnected(f"the connection to {where} was lost: {codes.reason(code)}")
    if code == codes.NO_AUTH:
        return ListingFailed(f"{where} does not permit {name}: {codes.in_words(code)}")
    failed = AnswerTooLong if code == codes.ANSWER_TOO_LONG else ListingFailed
    return failed(f"{where} answered {name} with {codes.in_words(code)}")


def retrieved(future: asyncio.Future[_T]) -> None:
    """Keeps asyncio from complaining about failures that nobody was left to hear."""
    if not future.cancelled():
        future.exception()
