"""Keys whose records the sink refused: each is tried again after a while, because the reason may go away.

A document that is too large stays refused; a znode with children of somebody else's does not, nor does
one whose access list is corrected. Plain arithmetic on monotonic seconds, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from hybridsync.exceptions import shown_reason

FIRST_SECONDS = 5.0
LARGEST_SECONDS = 600.0
MOST_KEYS = 10_000
"""More are remembered, and not tried again by themselves; a full sync tries all."""


class Settled(NamedTuple):
    """What one outcome changed: keys that are refused now, for a new reason; keys that no longer are."""

    begun: list[str]
    ended: list[str]


class RefusedKeys:
    """What is refused, with the reason and the next try; doubling from 5 s to 10 minutes for each key."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        """Key → why, of all. Stays the same dict."""
        self._turns: dict[str, int] = {}
        self._tries: dict[str, tuple[float, float]] = {}
        self._queue: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self.reasons)

    @property
    def next_due(self) -> float:
        """When to look at `due` again; infinity when nothing waits."""
        while self._queue and not self._is_next(*self._queue[0]):
            heappop(self._queue)
        return self._queue[0][0] if self._queue else float("inf")

    def _is_next(self, at: float, key: str) -> bool:
        tried = self._tries.get(key)
        return tried is not None and tried[0] == at

    def settle(self, keys: Iterable[str], failed: Mapping[str, str], now: float, turn: int = 0) -> Settled:
        """Takes the outcome of one write of `keys`.

        `turn`: grows with each write that begins. One that ends late ends no refusal of a later one.
        """
        settled = Settled([], [])
        if self.reasons:
            for key in keys:
                if key in self.reasons and key not in failed and self._turns[key] <= turn:
                    settled.ended.append(key)
                    del self.reasons[key], self._turns[key]
                    self._tries.pop(key, None)
        for key, why in failed.items():
            reason = shown_reason(why)
            self._turns[key] = max(turn, self._turns.get(key, turn))
            if self.reasons.get(key) != reason:
                self.reasons[key] = reason
                settled.begun.append(key)
            if key in self._tries or len(self._tries) < MOST_KEYS:
                _, delay = self._tries.get(key, (0.0, FIRST_SECONDS / 2))
                self._try_after(key, min(delay * 2, LARGEST_SECONDS), now)
        return settled

    def after_sync(self, failed: Mapping[str, str], now: float, turn: int = 0) -> Settled:
        """Takes the outcome of a full sync: it tried everything, and nothing was written beside it."""
        return self.settle(list(self.reasons), failed, now, turn)

    def due(self, now: float) -> list[str]:
        """Keys to try now; each is not due again before its outcome is known, or its next delay is over."""
        keys: list[str] = []
        while self.next_due <= now:
            key = heappop(self._queue)[1]
            self._try_after(key, self._tries[key][1], now)
            keys.append(key)
        return keys

    def _try_after(self, key: str, delay: float, now: float) -> None:
        self._tries[key] = (now + delay, delay)
        heappush(self._queue, (now + delay, key))
        if len(self._queue) > 2 * len(self._tries) + 100:  # what is out of date goes, now and then
            self._queue = [(at, one) for one, (at, _) in self._tries.items()]
            heapify(self._queue)
