"""How much one request may hold, learnt from connections that were lost over it. No I/O.

A server drops the connection at a request longer than its jute.maxbuffer, without a word, and something in
between may do so at an answer. So a connection that is lost while a request is under way that is larger
than any that was answered may be a sign, and the second in a row is taken for one: requests are halved from then
on. What cannot be halved (one znode) is sent with nothing beside it, and after three losses it is refused.

Batches never grow again in one process: they cost next to nothing when they are small, and a lost
connection costs a source a whole comparison. What was refused is tried once more after ten minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import structlog

REQUEST_BYTES: Final = 512 * 1024
"""A request is cut here. A server drops the connection at 1,048,575 bytes by default."""

ANSWER_BYTES: Final = 2 * 1024 * 1024
"""Aim for one answer. A single value or list of children may be larger."""

LEAST_REQUEST_BYTES: Final = 4 * 1024
LEAST_ANSWER_BYTES: Final = 64 * 1024
"""What is smaller than these is never suspected."""

RIGHT_AFTER_SECONDS: Final = 5.0
"""A connection that is lost later than this after the request was sent was lost over something else."""

LOSSES: Final = 2
LOSSES_ALONE: Final = 3
REFUSED_SECONDS: Final = 600.0

_log = structlog.get_logger("hybridsync")


class Weight(NamedTuple):
    """Of one request: bytes, expected bytes of its answer, and whether it could be cut into several."""

    request: int
    answer: int = 0
    divisible: bool = True


class Limits:
    """What one session after the other has learnt. `where` names the servers; `clock` in seconds."""

    def __init__(self, where: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.request_bytes = REQUEST_BYTES
        self.answer_bytes = ANSWER_BYTES
        self._where = where
        self._clock = clock
        self._good_request = LEAST_REQUEST_BYTES
        self._good_answer = LEAST_ANSWER_BYTES
        self._losses = 0
        self._alone: dict[int, int] = {}
        self._refused: int | None = None
        self._refused_at = 0.0

    @property
    def refused_bytes(self) -> int | None:
        """A single request of so many bytes, or more, is not worth a connection; `None` when that is not known."""
        if self._refused is not None and self._clock() - self._refused_at >= REFUSED_SECONDS:
            self._alone = {self._refused: LOSSES_ALONE - 1}  # one more loss is enough
            self._refused = None
        return self._refused

    def answered(self, weight: Weight) -> None:
        """So much is no problem."""
        self._losses = 0 if self._is_larger(weight) else self._losses
        self._good_request = max(self._good_request, weight.request)
        self._good_answer = max(self._good_answer, weight.answer)
        if self._alone and weight.request >= min(self._alone):
            self._alone.clear()

    def lost(self, under_way: Iterable[tuple[Weight, float]]) -> None:
        """The connection was lost with these requests under way; each with the time at which it was sent."""
        soon = self._clock() - RIGHT_AFTER_SECONDS
        recent = [weight for weight, sent in under_way if sent >= soon]
        suspects = [weight for weight in recent if self._is_larger(weight)]
        if not suspects:
            if any(weight.request > LEAST_REQUEST_BYTES or weight.answer > LEAST_ANSWER_BYTES for weight in recent):
                self._good_request, self._good_answer = LEAST_REQUEST_BYTES, LEAST_ANSWER_BYTES  # perhaps no longer
                self._losses = 0
            return
        longest = max(suspects)
        if not longest.divisible and longest.request > self.request_bytes:
            self._lost_alone(longest.request)
            return
        self._losses += 1
        if self._losses >= LOSSES:
            self._halve(longest.request, max(weight.answer for weight in suspects))

    def _is_larger(self, weight: Weight) -> bool:
        return weight.request > self._good_request or weight.answer > self._good_answer

    def _halve(self, request: int, answer: int) -> None:
        least = (LEAST_REQUEST_BYTES, LEAST_ANSWER_BYTES)
        before = (self.request_bytes, self.answer_bytes)
        self.request_bytes = max(least[0], min(self.request_bytes, request) // 2)
        self.answer_bytes = max(least[1], min(self.answer_bytes, answer or self.answer_bytes) // 2)
        if (self.request_bytes, self.answer_bytes) != before:
            _log.warning(
                "ZooKeeper drops the connection at long requests: they are halved. Is its jute.maxbuffer a small one?",
                servers=self._where,
                request_bytes=self.request_bytes,
                answer_bytes=self.answer_bytes,
            )

    def _lost_alone(self, request: int) -> None:
        self._alone[request] = self._alone.get(request, 0) + 1
        if self._alone[request] < LOSSES_ALONE:
            return
        self._refused = request if self._refused is None else min(self._refused, request)
        self._refused_at = self._clock()
        self._alone.clear()
        _log.error(
            "ZooKeeper drops the connection at a request that cannot be cut: such are refused for a while. "
            "Raise its jute.maxbuffer",
            servers=self._where,
            request_bytes=request,
        )


def refused(size: int, limit: int) -> str:
    """Why a znode that needs a request of `size` bytes is left out."""
    return (
        f"it needs a request of {size} bytes, and the server drops the connection at {limit}: "
        "raise jute.maxbuffer of ZooKeeper"
    )
