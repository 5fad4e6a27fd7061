"""Which full sync a resource owes, and when it is due: plain arithmetic on monotonic seconds."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hybridsync.recovery import Backoff
from hybridsync.status import Trigger

NEVER = float("inf")


@dataclass(slots=True)
class OwedSync:
    """A debt that only a successful full sync pays; a failed one is tried again after `retry`.

    `soon`: the wait after one that failed at the sink, which costs the source nothing.
    `periodic_hours`: how often one falls due by itself, jittered by ±10 %; 0 turns that off.
    """

    periodic_hours: float
    retry: Backoff = field(default_factory=Backoff)
    soon: Backoff = field(default_factory=Backoff)
    trigger: Trigger | None = None
    _retry_at: float = 0.0
    _periodic_at: float = NEVER

    def owe(self, trigger: Trigger, *, instead_of: tuple[Trigger, ...] = (), at_once: bool = True) -> None:
        """Owes a sync. One that is owed already keeps its name, unless it is in `instead_of`.

        Not `at_once`: the wait after a failure stands, since it was that failure which brought the debt.
        """
        if self.trigger is None or self.trigger in instead_of:
            self.trigger = trigger
        if at_once:
            self._retry_at = 0.0

    def forgive(self, *triggers: Trigger) -> None:
        """Drops the debt if it has one of these names: nothing was missed after all."""
        if self.trigger in triggers:
            self.trigger = None

    def put_off(self, until: float) -> None:
        """Keeps what is owed from running before `until`; the next debt is due at once again."""
        self._retry_at = max(self._retry_at, until)

    def schedule(self, now: float) -> None:
        """Starts the next period."""
        if self.periodic_hours > 0:
            self._periodic_at = now + self.periodic_hours * 3600 * random.uniform(0.9, 1.1)

    def is_due(self, now: float) -> bool:
        """Whether a sync should run now."""
        if now >= self._periodic_at:
            self.schedule(now)
            self.trigger = self.trigger or Trigger.PERIODIC
        return self.trigger is not None and now >= self._retry_at

    def next_due(self) -> float:
        """When to look again at the latest."""
        return min(self._periodic_at, self._retry_at if self.trigger is not None else NEVER)

    def succeeded(self) -> None:
        """Pays the debt."""
        self.trigger = None
        self.retry.reset()
        self.soon.reset()

    def failed(self, trigger: Trigger, now: float, *, soon: bool = False) -> None:
        """Keeps the debt and puts the next try off; `soon`: it cost the source nothing."""
        self.trigger = trigger
        self._retry_at = now + (self.soon if soon else self.retry).next_delay()
