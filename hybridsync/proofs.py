"""Asks a source for proof again and again, and remembers how far the proof reaches.

What is proven is in `freshness`; this room adds the asking, and keeps the position to resume from in
the state, so that the next life of the process may go on from there.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

from hybridsync.dirty import DirtySet
from hybridsync.errors import SourceError
from hybridsync.freshness import Freshness
from hybridsync.refused_keys import RefusedKeys
from hybridsync.sources.base import Watch
from hybridsync.state_keeper import StateKeeper
from hybridsync.status import utc_now

IDLE_SAVE_SECONDS = 60.0
"""How often a position that moved on without any change of ours is remembered."""


class Proofs:
    """The proofs of one resource. `interval_seconds`: between an answer and the next question."""

    def __init__(self, dirty: DirtySet, keeper: StateKeeper, refused: RefusedKeys, interval_seconds: float) -> None:
        self.freshness = Freshness(utc_now())
        self._dirty = dirty
        self._keeper = keeper
        self._refused = refused
        self._interval_seconds = interval_seconds
        self._last = 0.0
        self._written = False
        self._saved = 0.0

    def overdue(self, proof_seconds: float) -> bool:
        """Whether the next proof should have been here, from a source that takes `proof_seconds` for it."""
        return time.monotonic() - self._last > 2 * self._interval_seconds + 0.5 + proof_seconds

    async def ask(self, watch: Watch) -> None:
        """Asks until the watch is lost."""
        while True:
            asked = utc_now()
            try:
                await watch.probe()
            except SourceError:
                await asyncio.wait({watch.lost})
                return
            self._last = time.monotonic()
            self.freshness.answered(asked, self._dirty.marker(), watch.position)
            self._settle()
            await asyncio.sleep(self._interval_seconds)

    def written(self) -> None:
        """Says that the sink has acknowledged some changes."""
        self._written = True
        self._settle()

    def sync_succeeded(self, listed_from: datetime) -> None:
        """Says that a full sync succeeded whose listing began at `listed_from`, under an armed watch."""
        self._last = time.monotonic()
        self.freshness.close_gap(listed_from, self._keeper.state.resume_from)

    def reached(self) -> dict[str, object]:
        """What of the state the watch moves on; nowhere to resume from while a record waits for its storing."""
        position, confirmed_at = self.freshness.position, self.freshness.confirmed_at
        if position is None or len(self._refused):
            return {"confirmed_at": confirmed_at, "resume_from": None}
        return {"confirmed_at": confirmed_at, "resource_version": position, "resume_from": position}

    def _settle(self) -> None:
        before = self.freshness.position
        self.freshness.settle(self._dirty)
        position = self.freshness.position
        due = self._written or time.monotonic() - self._saved > IDLE_SAVE_SECONDS
        if position is not None and position != before and due and self._keeper.completed:
            self._written = False
            self._saved = time.monotonic()
            self._keeper.save_soon(**self.reached())
