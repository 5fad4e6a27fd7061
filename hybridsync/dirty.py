"""The set of keys that changed at the source and are not yet acknowledged by the sink.

Level-triggered: an event only says "this key is dirty". A key that changes a hundred times is one
entry, so memory is bounded by distinct keys; past `limit` the set becomes one flag, `overflowed`,
and only a full sync helps. Keys leave in the order in which they came, so a *marker* taken at any
moment is settled once everything that was dirty at that moment is acknowledged.

Used on the event loop's thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hybridsync.model import Dirty

Marker = int


class DirtySet:
    """Coalesces changed keys and knows what is still owed.

    `limit`: distinct keys held at most. `wake`: called whenever there is something new to look at.
    """

    def __init__(self, limit: int = 200_000, wake: Callable[[], None] = lambda: None) -> None:
        self._limit = limit
        self._wake = wake
        self._waiting: dict[str, tuple[Marker, Any]] = {}
        self._taken: dict[str, tuple[Marker, Any]] = {}
        self._next: Marker = 0
        self._overflowed = False

    def __len__(self) -> int:
        """How many keys are not yet acknowledged."""
        return len(self._waiting) + len(self._taken)

    @property
    def waiting(self) -> int:
        """How many keys can be taken."""
        return len(self._waiting)

    @property
    def overflowed(self) -> bool:
        """Whether keys were forgotten, so that only a full sync makes things right."""
        return self._overflowed

    def mark(self, key: str, hint: Any = None) -> None:
        """Says that `key` changed. The newest hint wins; the place in the queue stays."""
        known = self._waiting.get(key)
        if known is not None:
            if known[1] != hint:
                self._waiting[key] = (known[0], hint)
            return
        if self._overflowed:
            return
        if len(self._waiting) >= self._limit:
            self._overflowed = True
            self._waiting.clear()
        else:
            self._waiting[key] = (self._next, hint)
        self._next += 1
        self._wake()

    def take(self, at_most: int) -> list[Dirty]:
        """Takes the oldest keys out for reading; `acknowledge` or `give_back` must follow."""
        keys: list[Dirty] = []
        for key in self._waiting:
            if len(keys) >= at_most:
                break
            keys.append(Dirty(key, self._waiting[key][1]))
        for key, _ in keys:
            self._taken[key] = self._waiting.pop(key)
        return keys

    def acknowledge(self) -> None:
        """Says that the sink has acknowledged everything that was taken."""
        self._taken.clear()

    def give_back(self) -> None:
        """Puts what was taken back in front: it was not written."""
        returned, self._taken = self._taken, {}
        for key, (_, hint) in self._waiting.items():
            returned[key] = (returned[key][0], hint) if key in returned else self._waiting[key]
        self._waiting = returned
        self._wake()

    def clear(self) -> None:
        """Forgets everything: a full sync that starts now will see it all."""
        self._waiting.clear()
        self._taken.clear()
        self._overflowed = False

    def marker(self) -> Marker:
        """Names this moment: everything marked so far comes before it."""
        return self._next

    def is_settled(self, marker: Marker) -> bool:
        """Whether everything marked before `marker` is acknowledged."""
        if self._overflowed:
            return False
        oldest = next(iter(self._taken.values()), None) or next(iter(self._waiting.values()), None)
        return oldest is None or oldest[0] >= marker
