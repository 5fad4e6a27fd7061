"""The set of keys that changed at the source and are not yet acknowledged by the sink.

Level-triggered: an event only says "this key is dirty". A key that changes a hundred times is one
entry, so memory is bounded by distinct keys; past `limit` the set becomes one flag, `overflowed`,
and only a full sync helps. Keys leave in the order in which they came, so a *marker* taken at any
moment is settled once everything that was dirty at that moment is acknowledged.

Used on the event loop's thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from hybridsync.model import Dirty

Marker = int


class Taken(list[Dirty]):
    """One batch of keys that is out for reading and writing."""


class DirtySet:
    """Coalesces changed keys and knows what is still owed.

    `limit`: distinct keys held at most. `wake`: called whenever there is something new to look at.
    """

    def __init__(self, limit: int = 200_000, wake: Callable[[], None] = lambda: None) -> None:
        self.on_mark: Callable[[str, Any], None] | None = None
        """Told of every mark, also of a key that is dirty already: what is traced begins here."""
        self._limit = limit
        self._wake = wake
        self._waiting: dict[str, tuple[Marker, Any]] = {}
        self._taken: dict[int, dict[str, tuple[Marker, Any]]] = {}
        self._next: Marker = 0
        self._overflowed = False
        self.reason = ""
        """Why it is `overflowed`."""

    def __len__(self) -> int:
        """How many keys are not yet acknowledged."""
        return len(self._waiting) + sum(map(len, self._taken.values()))

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
        if self.on_mark is not None:
            self.on_mark(key, hint)
        known = self._waiting.get(key)
        if known is not None:
            if known[1] != hint:
                self._waiting[key] = (known[0], hint)
            return
        if self._overflowed:
            return
        if len(self._waiting) >= self._limit:
            self.overflow("too many changes are pending")
            return
        self._waiting[key] = (self._next, hint)
        self._next += 1
        self._wake()

    def overflow(self, reason: str) -> None:
        """Says that something changed that no key can name, so that only a full sync makes things right."""
        self._overflowed = True
        self.reason = reason
        self._waiting.clear()
        self._next += 1
        self._wake()

    def take(self, at_most: int) -> Taken:
        """Takes the oldest keys out for reading; `acknowledge` or `give_back` must follow.

        Several batches may be out at once; a key that is marked meanwhile may be in two of them.
        """
        taken = Taken(Dirty(key, hint) for key, (_, hint) in islice(self._waiting.items(), at_most))
        self._taken[id(taken)] = {key: self._waiting.pop(key) for key, _ in taken}
        return taken

    def acknowledge(self, taken: Taken | None = None) -> None:
        """Says that the sink has acknowledged a batch; without one, everything that was taken."""
        if taken is None:
            self._taken.clear()
        else:
            self._taken.pop(id(taken), None)

    def give_back(self, taken: Taken | None = None) -> None:
        """Puts a batch back in its old place, with the newest hints: it was not written."""
        batches = list(self._taken) if taken is None else [id(taken)]
        for batch in batches:
            for key, entry in self._taken.pop(batch, {}).items():
                newer = self._waiting.get(key)
                self._waiting[key] = entry if newer is None else (min(entry[0], newer[0]), newer[1])
        self._waiting = dict(sorted(self._waiting.items(), key=lambda item: item[1][0]))
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
        batches = (self._waiting, *self._taken.values())  # each with its oldest key first
        return all(next(iter(batch.values()))[0] >= marker for batch in batches if batch)
