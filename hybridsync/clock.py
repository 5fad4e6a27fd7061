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

READ_AGAIN: Final = 3
"""So often the clocks are compared again before they are taken to differ."""

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
        """This moment."""
        wall = utc_now()  # first: a pause in between makes a moment earlier, never later
        return cls(time.monotonic(), _since_boot(), wall)

    @classmethod
    def at(cls, wall: datetime) -> Instant:
        """The moment to which the wall clock gives this time now; this one, if that lies ahead."""
        now = cls.now()
        ago = max(0.0, (now.wall - wall).total_seconds())
        return cls(now.monotonic - ago, now.since_boot - ago, min(wall, now.wall))

    @property
    def age_seconds(self) -> float:
        """How long ago it was, whatever the wall clock did since."""
        return max(0.0, time.monotonic() - self.monotonic, _since_boot() - self.since_boot)

    @property
    def shown(self) -> datetime:
        """The time to tell of it: never later than it was, nor than it can have been by the wall clock of now."""
        now = utc_now()
        ago = now - timedelta(seconds=self.age_seconds)  # behind `now`: a pause in between makes it earlier
        for _ in range(READ_AGAIN):
            if ago + timedelta(seconds=SLEWED_SECONDS) >= self.wall:
                return min(self.wall, now)
            now = utc_now()
            ago = max(ago, now - timedelta(seconds=self.age_seconds))
        return ago
