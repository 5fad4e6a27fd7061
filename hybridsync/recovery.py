"""How a resource comes back: the ladder from a lost connection to a full sync, as plain arithmetic.

Only consecutive abnormal failures count. Delays double from `first` to `cap` with full jitter, so
that many instances which lost one server do not return in step.
See https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ for why full jitter.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hybridsync.status import Trigger

HEALTHY_AFTER_SECONDS = 120.0
"""A watch that lived for so long ends the row of consecutive failures."""

OF_ONE_SECONDS = 0.5
"""A connection that is back sooner was lost by one client; an election takes every client's for longer."""

SPREAD_TIMES = 5.0
MAX_SPREAD_SECONDS = 5.0


def spread(away: float) -> float:
    """How long to wait, connected again after `away` seconds, before the whole source is read again.

    An outage of the servers ends for all clients in the same moment, and their back-offs, which ran beside
    it, are over by then. So the comparisons are spread over a time in proportion to the outage.
    """
    return 0.0 if away < OF_ONE_SECONDS else random.uniform(0.0, min(MAX_SPREAD_SECONDS, SPREAD_TIMES * away))


@dataclass(slots=True)
class Backoff:
    """Delays in seconds that double up to `cap`, each drawn between 0 and the bound of its turn."""

    first: float = 0.8
    cap: float = 4.0
    _failures: int = 0

    def next_delay(self) -> float:
        """The delay before the next try."""
        bound: float = min(self.cap, self.first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return random.uniform(0.0, bound)

    def reset(self) -> None:
        """Starts again from `first`."""
        self._failures = 0


@dataclass(slots=True)
class RecoveryLadder:
    """Counts abnormal failures of one informer and names the full sync that must follow.

    `max_reconnects`: more consecutive failures than this are reported as `max_reconnects`. The delays begin anew
    behind a watch that told of something, or lived for longer than the delay before it: balancers cut a connection
    every so often, however well it is.
    """

    max_reconnects: int
    backoff: Backoff = field(default_factory=Backoff)
    failures: int = 0
    _waited: float = 0.0
    _watching_since: float | None = None

    def watching(self, now: float) -> None:
        """Says that the watch is armed since `now` (monotonic seconds)."""
        self._watching_since = now

    def disconnected(self, now: float, *, delivered: bool = False) -> float:
        """Counts a lost or failed connection; returns the delay before the next try in seconds.

        `delivered`: whether the watch told of anything.
        """
        since, self._watching_since = self._watching_since, None
        if since is not None:
            if now - since >= HEALTHY_AFTER_SECONDS:
                self.reset()
            elif delivered or now - since > self._waited:
                self.backoff.reset()
        self.failures += 1
        self._waited = self.backoff.next_delay()
        return self._waited

    @property
    def exhausted(self) -> bool:
        """Whether there were more consecutive failures than allowed."""
        return self.failures > self.max_reconnects

    def trigger(self) -> Trigger:
        """What the full sync after a reconnect within the session is called."""
        return Trigger.MAX_RECONNECTS if self.exhausted else Trigger.RECONNECT

    def reset(self) -> None:
        """Forgets the failures."""
        self.failures = 0
        self.backoff.reset()


class ExpiryPace:
    """How long to wait before coming back after a position expired: not at all, unless it happens again and again.

    Two within a second are one expiry, told by the watch and by the connection. `backoff`: for those that
    follow, each within a second of the one before or of the wait for it.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._recent = 0
        self._until = 0.0

    def delay(self, now: float) -> float:
        """Seconds to wait after the expiry at `now`, in monotonic seconds."""
        if now > self._until:
            self._recent = 0
            self._backoff.reset()
        self._recent += 1
        seconds = self._backoff.next_delay() if self._recent > 2 else 0.0
        self._until = now + seconds + 1.0
        return seconds
