"""Which subtrees may not be read, why, and which of them are looked at again next. No I/O.

ZooKeeper sends no event for what an access list hides, nor for a change of an access list. So hidden
roots are asked for again and again, some at a time, each in its turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from types import MappingProxyType

LOOK_AT = 1000
"""Roots that are looked at again at a time."""


class Hidden:
    """Root → why it may not be read. Steps are as many as there are roots that change, or are looked at."""

    def __init__(self) -> None:
        self._why: dict[str, str] = {}
        self._turns: deque[str] = deque()
        self._turn_of: set[str] = set()
        self._told: set[str] = set()
        self._noted: dict[str, str | None] | None = None
        self.live: Mapping[str, str] = MappingProxyType(self._why)
        """Root → why, as it is now."""

    def note(self, root: str, why: str, *, again: bool) -> None:
        """This may not be read. `again`: whether that may change without an event, so that it is looked at again."""
        self._why[root] = why
        if again and root not in self._turn_of:
            self._turn_of.add(root)
            self._turns.append(root)
        if self._noted is not None:
            self._noted[root] = why

    def seen(self, root: str) -> bool:
        """This was read, or is not there; tells whether it was hidden before."""
        if self._noted is not None:
            self._noted[root] = None
        return self._why.pop(root, None) is not None

    def listing_begins(self) -> None:
        """From now on, what is noted is newer than the listing."""
        self._noted = {}

    def listing_ended(self, forbidden: Iterable[str], why: str, too_long: Mapping[str, str]) -> None:
        """Takes in a complete listing: what it did not find hidden is hidden no more, save what was noted since."""
        newer = self._noted or {}
        self._noted = None
        found = dict.fromkeys(forbidden, why)
        for root in newer:
            found.pop(root, None)
        self._turns = deque(found)
        self._turn_of = set(found)
        self._told.clear()
        self._why.clear()
        self._why.update(found)
        self._why.update((root, reason) for root, reason in too_long.items() if root not in newer)
        for root, noted in newer.items():
            if noted is not None:
                self.note(root, noted, again=True)

    def listing_dropped(self) -> None:
        """The listing ended before it was complete: it changes nothing."""
        self._noted = None

    def told(self, root: str) -> None:
        """A listing is owed because of this one: until that has ended, it is not looked at again."""
        self._told.add(root)

    def next_turn(self) -> list[str]:
        """Up to `LOOK_AT` hidden roots that were not looked at for the longest time; they come last from now on."""
        roots: list[str] = []
        for _ in range(min(LOOK_AT, len(self._turns))):
            root = self._turns.popleft()
            if root in self._why:
                self._turns.append(root)
                if root not in self._told:
                    roots.append(root)
            else:
                self._turn_of.discard(root)
        return roots
