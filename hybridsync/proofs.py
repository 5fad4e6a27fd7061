"""Asks a source for proof again and again, and remembers how far the proof reaches.

What is proven is in `freshness`; this room adds the asking, and keeps the position to resume from in
the state, so that the next life of the process may go on from there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from hybridsync.clock import Instant
from hybridsync.dirty import DirtySet
from hybridsync.errors import SourceDisconnected, SourceError, describe
from hybridsync.freshness import Freshness
from hybridsync.refused_keys import RefusedKeys
from hybridsync.sources.base import Watch
from hybridsync.state_keeper import StateKeeper

IDLE_SAVE_SECONDS = 60.0
"""How often a position that moved on without any change of ours is remembered."""

FAILURES_IN_A_ROW = 3
"""Proofs that fail on a connection which stays. Then the connection is not worth keeping."""


class Proofs:
    """The proofs of one resource. `interval_seconds`: between an answer and the next question.

    `failure`: why the last question was in vain, in one line; `on_failure` is told of each new reason.
    """

    def __init__(self, dirty: DirtySet, keeper: StateKeeper, refused: RefusedKeys, interval_seconds: float) -> None:
        self.freshness = Freshness(Instant.now())
        self.place: str | None = None
        """Whose position that of `freshness` is, see `Source.place`."""
        self.failure: str | None = None
        self.on_failure: Callable[[str], None] = lambda _: None
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
        """Asks until the watch is lost. A question in vain is asked again; a few in a row end the watch."""
        self.failure = None
        failures = 0
        while not watch.lost.done():
            asked = Instant.now()
            try:
                await watch.probe()
            except SourceError as error:
                failures += 1
                self._failed(watch, describe(error), failures)
            else:
                failures, self.failure = 0, None
                self._last = time.monotonic()
                self.freshness.answered(asked, self._dirty.marker(), watch.position)
                self._settle()
            await asyncio.wait({watch.lost}, timeout=self._interval_seconds)

    def _failed(self, watch: Watch, reason: str, failures: int) -> None:
        if watch.lost.done():
            return
        if reason != self.failure:
            self.on_failure(reason)
        self.failure = reason
        if failures >= FAILURES_IN_A_ROW:
            watch.lose(SourceDisconnected(f"{failures} proofs in a row failed: {reason}"))

    def written(self) -> None:
        """Says that the sink has acknowledged some changes."""
        self._written = True
        self._settle()

    def sync_succeeded(self, listed_from: Instant) -> None:
        """Says that a full sync succeeded whose listing began at `listed_from`, under an armed watch."""
        self._last = time.monotonic()
        self.freshness.close_gap(listed_from, self._keeper.state.resume_from)

    def reached(self) -> dict[str, object]:
        """What of the state the watch moves on; nowhere to resume from while a record waits for its storing."""
        position, confirmed = self.freshness.position, self.freshness.confirmed
        confirmed_at = None if confirmed is None else confirmed.shown
        if position is None or len(self._refused):
            return {"confirmed_at": confirmed_at, "resume_from": None}
        reached = {"resource_version": position, "resume_from": position, "place": self.place}
        return {"confirmed_at": confirmed_at, **reached}

    def _settle(self) -> None:
        before = self.freshness.position
        self.freshness.settle(self._dirty)
        position = self.freshness.position
        due = self._written or time.monotonic() - self._saved > IDLE_SAVE_SECONDS
        if position is not None and position != before and due and self._keeper.completed:
            self._written = False
            self._saved = time.monotonic()
            self._keeper.save_soon(**self.reached())
