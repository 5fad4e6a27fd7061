"""What may be wrong for a while, because somebody else did it and nobody can have noticed: the judge's list.

A fault of a connection or a process excuses nothing. An *outsider* may: whoever drops the mirror, edits it by hand
or closes a part of the source. The contract says how such a thing is found, and until then a claim is not a lie:

- `unnoticed`: something that has to be noticed in bounded time. What is false meanwhile is counted by itself.
- `unverified`: keys that nobody watches over; the next comparison of every record that began afterwards finds them.
- what the service itself names in `exceptions`: it may differ as long as it is named.

Everything else counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

NOTICED_SECONDS = 15.0
"""A mirror that was taken away has to be noticed in 5 s; three times that on a busy machine."""

Keys = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Named:
    """One entry of `exceptions`. An `unreadable` one stands for all that is below it, too."""

    key: str
    kind: str

    def names(self, key: str) -> bool:
        """Whether it excuses this key."""
        if key == self.key:
            return True
        return self.kind == "unreadable" and (self.key in ("", "/", "*") or key.startswith(self.key.rstrip("/") + "/"))


class Allowances:
    """Any thread may ask, the one that makes the faults tells. `now`: a monotonic clock, in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._unnoticed: list[tuple[float, float, Keys]] = []
        self._unverified: list[Keys] = []
        self._lock = threading.Lock()

    def unnoticed(self, keys: Keys = lambda key: True, seconds: float = NOTICED_SECONDS) -> None:
        """Says that something was done to these keys just now that has to be noticed within so many seconds."""
        with self._lock:
            self._unnoticed.append((self._now(), self._now() + seconds, keys))

    def unverified(self, keys: Keys) -> None:
        """Says that these keys may differ until a comparison that begins after `verified` was last waited for."""
        with self._lock:
            self._unverified.append(keys)

    @property
    def awaits_comparison(self) -> bool:
        """Whether there is something that only a comparison of every record finds."""
        with self._lock:
            return bool(self._unverified)

    def verified(self) -> None:
        """Says that a comparison which began after everything that was done has ended, with all of it repaired."""
        with self._lock:
            self._unverified.clear()

    @property
    def unnoticed_seconds(self) -> float:
        """How long something may stay unnoticed yet; 0 when all of it has to have been noticed."""
        with self._lock:
            return max((end - self._now() for _, end, _ in self._unnoticed), default=0.0)

    def unnoticed_for(self, key: str) -> float | None:
        """For how many seconds what is wrong with the key was not noticed; `None` when it had to be by now."""
        with self._lock:
            now = self._now()
            return min((now - begin for begin, end, keys in self._unnoticed if now <= end and keys(key)), default=None)

    def is_unverified(self, key: str) -> bool:
        """Whether only a comparison would find it."""
        with self._lock:
            return any(keys(key) for keys in self._unverified)


def among(keys: Collection[str]) -> Keys:
    """Exactly these."""
    kept = frozenset(keys)
    return lambda key: key in kept


def at_and_below(root: str) -> Keys:
    """A path and everything in it."""
    return lambda key: key == root or key.startswith(root.rstrip("/") + "/")
