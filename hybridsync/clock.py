"""Moments that a clock which is set, forwards or back, makes no later than they are.

The wall clock may step at any time, and the monotonic one knows no dates and may stand still while a machine
sleeps. A claim rests on both: `Instant.shown` is what the wall clock said then, or less, if the wall clock of
now says less of a moment so long ago.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

SLEWED_SECONDS: Final = 0.02
"""So much the clocks may differ without a step: they are read one after the other, and a clock is slewed."""

READ_AGAIN: Final = 5
AT_ONCE_SECONDS: Final = 0.001
"""Clocks are read again, so often at most, when they were not read within this time."""

_BOOT: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


def utc_now() -> datetime:
    """The wall clock, aware, in UTC."""
    return datetime.now(UTC)


def _since_boot() -> float:
    """Counts the sleep of a machine too, where there is such a clock."""
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)


@dataclass(frozen=True, slots=True, order=True)
class Instant:
    """One moment of this process, by every clock there is, in seconds. The monotonic one gives the order."""

    monotonic: float
    since_boot: float = field(compare=False)
    wall: datetime = field(compare=False)

    @classmethod
    def now(cls) -> Instant:
        """This moment. A pause while the clocks are read makes it earlier, never later."""
        for _ in range(READ_AGAIN):
            before = time.monotonic()
            wall = utc_now()
            monotonic = time.monotonic()
            if monotonic - before < AT_ONCE_SECONDS:
                break
        return cls(monotonic, _since_boot(), wall)

    @classmethod
    def at(cls, wall: datetime) -> Instant:
        """The moment to which the wall clock gives this time now; this one, if that lies ahead."""
        now = cls.now()
        ago = max(0.0, (now.wall - wall).total_seconds())
        return cls(now.monotonic - ago, now.since_boot - ago, min(wall, now.wall))

    def _age_at(self, now: Instant) -> float:
        return max(0.0, now.monotonic - self.monotonic, now.since_boot - self.since_boot)

    @property
    def age_seconds(self) -> float:
        """How long ago it was, whatever the wall clock did since."""
        return self._age_at(Instant.now())

    def shown_at(self, now: Instant) -> datetime:
        """The time to tell of it at a moment: never later than it was, nor than it can have been by the clock of then.

        What is told together is told of one moment, or a clock that was set would put it out of order.
        """
        ago = now.wall - timedelta(seconds=self._age_at(now))
        stepped_back = ago + timedelta(seconds=SLEWED_SECONDS) < self.wall
        return ago if stepped_back else min(self.wall, now.wall)

    @property
    def shown(self) -> datetime:
        """The time to tell of it now."""
        return self.shown_at(Instant.now())
