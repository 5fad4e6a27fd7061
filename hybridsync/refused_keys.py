"""Keys whose records the sink refused: each is tried again after a while, because the reason may go away.

A document that is too large stays refused; a znode with children of somebody else's does not, nor does
one whose access list is corrected. Plain arithmetic on monotonic seconds, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

FIRST_SECONDS = 5.0
LARGEST_SECONDS = 600.0
MOST_KEYS = 10_000
"""More are not tried again by themselves; a full sync tries all."""


class RefusedKeys:
    """What waits, with the reason and the next try; doubling from 5 s to 10 minutes for each key."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[float, float, str]] = {}
        self._next = float("inf")

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def next_due(self) -> float:
        """When to look at `due` again; infinity when nothing waits."""
        return self._next

    def settle(self, keys: Iterable[str], failed: Mapping[str, str], now: float) -> list[str]:
        """Takes the outcome of one write of `keys`. Returns those that are refused for a new reason."""
        news: list[str] = []
        if self._waiting:
            for key in keys:
                if key not in failed:
                    self._waiting.pop(key, None)
        for key, reason in failed.items():
            _, delay, known = self._waiting.get(key, (0.0, FIRST_SECONDS / 2, ""))
            if reason != known:
                news.append(key)
            if key in self._waiting or len(self._waiting) < MOST_KEYS:
                delay = min(delay * 2, LARGEST_SECONDS)
                self._waiting[key] = (now + delay, delay, reason)
        self._schedule()
        return news

    def after_sync(self, failed: Mapping[str, str], now: float) -> None:
        """Takes the outcome of a full sync: it tried everything."""
        self.settle(list(self._waiting), failed, now)

    def due(self, now: float) -> list[str]:
        """Keys to try now; each is not due again before its outcome is known, or its next delay is over."""
        keys = [key for key, (at, _, _) in self._waiting.items() if at <= now]
        for key in keys:
            _, delay, reason = self._waiting[key]
            self._waiting[key] = (now + delay, delay, reason)
        self._schedule()
        return keys

    def _schedule(self) -> None:
        self._next = min((at for at, _, _ in self._waiting.values()), default=float("inf"))
