"""The wall clock of the service alone, which a test may set; and the faults that set it.

The service runs with a small library preloaded (`wall_clock.c`) that adds what a file says to the wall clock. The
monotonic clock goes on undisturbed, as it does when somebody sets the clock of a machine.
"""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

_SOURCE = Path(__file__).with_name("wall_clock.c")
_FOR_EVER = datetime.max.replace(tzinfo=UTC)


class Offsets(NamedTuple):
    """The least and the greatest offset that the service's clock may have had in some span of time."""

    least: timedelta
    greatest: timedelta


@dataclass(slots=True)
class _Setting:
    offset: timedelta
    begins: datetime
    ends: datetime


class Clock:
    """The clock of the services that are started with `environ`. `directory` takes a library and a file."""

    def __init__(self, directory: Path) -> None:
        library, file = directory / "wall_clock.so", directory / "wall_clock"
        compiler = os.environ.get("CC") or "cc"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True, timeout=60)
        file.write_bytes(struct.pack("=q", 0))
        with file.open("r+b") as opened:
            self._page = mmap.mmap(opened.fileno(), 8)
        self.environ: Mapping[str, str] = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(file)}
        self._lock = threading.Lock()
        self._settings = [_Setting(timedelta(0), datetime.min.replace(tzinfo=UTC), _FOR_EVER)]

    @property
    def offset(self) -> timedelta:
        """The service's wall clock less the real one, now."""
        with self._lock:
            return self._settings[-1].offset

    def set(self, offset: timedelta) -> None:
        """From now on the service's wall clock is off by so much."""
        with self._lock:
            begins = datetime.now(UTC)
            self._page[:] = struct.pack("=q", int(offset / timedelta(microseconds=1)) * 1_000)
            self._settings[-1].ends = datetime.now(UTC)
            self._settings.append(_Setting(offset, begins, _FOR_EVER))

    def step(self, by: timedelta) -> None:
        """Sets it back (below 0) or forward."""
        self.set(self.offset + by)

    def offsets(self, start: datetime, end: datetime) -> Offsets:
        """Those that were in force at any moment between two of the real clock."""
        with self._lock:
            found = [one.offset for one in self._settings if one.begins <= end and one.ends >= start]
        return Offsets(min(found), max(found))

    def real(self, told: datetime) -> datetime:
        """What the service's clock calls `told` now, by the real clock."""
        return told - self.offset


@contextmanager
def stepped(clock: Clock, by: timedelta, before: Callable[[], object] = lambda: None) -> Iterator[None]:
    """The clock is set, and in the end set as it was: one step each way. `before`: done just before the first."""
    before()
    clock.step(by)
    yield
    clock.step(-by)
