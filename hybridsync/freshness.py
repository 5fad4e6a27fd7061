"""What may be claimed about a mirror: `confirmedAt` and `gapSince`, and nothing beyond the proof.

A *gap* is a time in which events may have been missed. It opens when a connection is lost, and only a
full sync that started after the watch was armed again closes it. A *proof* is an answer of the source
on the watching connection: every event sent before the answer has marked its key (see
`sources/base.py`). Once everything marked by then is acknowledged, every change committed before the
question was asked is in the mirror, and a source that can resume may do so from where its watch was then.

A watch that resumes misses nothing: then the next proof closes the gap, and no full sync is needed.
"""

from __future__ import annotations

from hybridsync.clock import Instant
from hybridsync.dirty import DirtySet, Marker


class Freshness:
    """Tracks proofs and gaps of one resource. `gap_since`: what is known to be missed at the start."""

    def __init__(self, gap_since: Instant) -> None:
        self._confirmed: Instant | None = None
        self._gap_since: Instant | None = gap_since
        self._awaited: tuple[Instant, Marker, str | None] | None = None
        self._resumed = False
        self.position: str | None = None
        """Every change up to this position of the source is in the mirror; `None` when not known."""

    @property
    def confirmed(self) -> Instant | None:
        """Every change committed at the source before this moment is in the mirror."""
        return self._confirmed

    @property
    def gap_since(self) -> Instant | None:
        """Since when events may have been missed and not yet made good."""
        return self._gap_since

    def open_gap(self, now: Instant) -> None:
        """Says that events may be missed from here on.

        A lost connection is noticed late, so the gap reaches back to the last proof.
        """
        self._awaited = None
        self._resumed = False
        if self._gap_since is None:
            self._gap_since = min(self._confirmed or now, now)

    def withdraw(self, now: Instant) -> None:
        """Says that the mirror itself may be another, so that nothing at all is known of what it holds."""
        self.open_gap(now)
        self._confirmed = None
        self.position = None

    def close_gap(self, listed_from: Instant, position: str | None = None) -> None:
        """Says that a full sync succeeded whose listing began at `listed_from`, under an armed watch.

        `position`: what the listing was good for.
        """
        self._gap_since = None
        self._resumed = False
        self.position = position
        self._advance(listed_from)

    def resumed(self) -> None:
        """Says that the watch goes on exactly at `position`: the next proof covers the gap as well."""
        self._resumed = True

    def answered(self, asked: Instant, marker: Marker, position: str | None = None) -> None:
        """Takes an answer to a question asked at `asked`.

        `marker` and the watch's `position` were taken together when the answer arrived.
        """
        if self._awaited is None:
            self._awaited = (asked, marker, position)

    def settle(self, dirty: DirtySet) -> None:
        """Confirms the awaited answer if all that was dirty by then is acknowledged."""
        if self._awaited is None or (self._gap_since is not None and not self._resumed):
            return
        asked, marker, position = self._awaited
        if dirty.is_settled(marker):
            self._awaited = None
            self._gap_since = None
            self._resumed = False
            self.position = position
            self._advance(asked)

    def _advance(self, moment: Instant) -> None:
        if self._confirmed is None or moment > self._confirmed:
            self._confirmed = moment
