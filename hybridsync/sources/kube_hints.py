"""What watch events said of keys that are dirty, so that reading them needs no request.

Versions have no order, so an event that is older than what a listing or a request saw must not be taken for
news. So nothing is remembered while there is *doubt*: from the moment a watch is armed or a listing
begins until a proof that was asked for after that has come. What is not remembered is asked for.
"""

from __future__ import annotations

import time

from hybridsync.model import Change, Put, Record, Remove

LIMIT_BYTES = 32 * 2**20
OVERHEAD_BYTES = 1000


class Hints:
    """Key → what the newest event said. Bounded by bytes."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._known: dict[str, Change] = {}
        self._bytes = 0
        self._listings = 0
        self._doubt_until = 0.0

    @property
    def trusted(self) -> bool:
        """Whether what an event says is newer than everything that was read before."""
        return not self._listings and self._doubt_until == 0.0

    def remember(self, key: str, change: Record | None) -> None:
        """Takes what an event says: the record, or `None` for an object that is gone."""
        self.take(key)
        if not self.trusted:
            return
        size = _size(change)
        if self._bytes + size <= self._limit:
            self._known[key] = Remove(key) if change is None else Put(change)
            self._bytes += size

    def take(self, key: str) -> Change | None:
        """Hands over what is remembered of a key, and forgets it."""
        change = self._known.pop(key, None)
        if change is not None:
            self._bytes -= _size(change.record if isinstance(change, Put) else None)
        return change

    def doubt(self) -> None:
        """Forgets everything; events count again after a proof asked for from now on."""
        self._known.clear()
        self._bytes = 0
        self._doubt_until = time.monotonic()

    def listing_begins(self) -> None:
        """Says that a listing begins; `listing_ends` must follow."""
        self._listings += 1
        self.doubt()

    def listing_ends(self) -> None:
        """Says that a listing is over, complete or not."""
        self._listings -= 1
        self.doubt()

    def proven(self, asked: float) -> None:
        """Says that the watch has told everything up to the moment `asked` (monotonic seconds)."""
        if asked >= self._doubt_until:
            self._doubt_until = 0.0

    def nothing_older_follows(self) -> None:
        """Says that the watch begins where the last listing was."""
        self._doubt_until = 0.0


def _size(record: Record | None) -> int:
    return OVERHEAD_BYTES + (len(record.value) if record is not None else 0)
