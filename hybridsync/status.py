"""What is known about a resource at this moment, as plain data for every place that shows it.

`ResourceStatus` is what `/health/sync`, the metrics, the log and the command line read; the JSON
names of the contract are made from it in one place, `hybridsync/health.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from hybridsync.decision import Decision
from hybridsync.exceptions import Exceptions
from hybridsync.model import Applied
from hybridsync.state import SyncState


class InformerState(StrEnum):
    """Where the list-then-watch of a resource stands."""

    STOPPED = "stopped"
    CONNECTING = "connecting"
    WATCHING = "watching"
    DISCONNECTED = "disconnected"
    RESYNCING = "resyncing"


class Trigger(StrEnum):
    """What started a full sync."""

    STARTUP = "startup"
    CATCH_UP = "catch_up"
    MANUAL = "manual"
    PERIODIC = "periodic"
    EXPIRED = "expired"
    RECONNECT = "reconnect"
    MAX_RECONNECTS = "max_reconnects"
    VERIFY = "verify"


@dataclass(slots=True)
class Progress:
    """Counters of a running full sync, in records. `total` is the expected number, when known."""

    read: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    elapsed_seconds: float = 0.0
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """How a full sync ended. With `error` the counters say how far it came.

    `unreadable_count` and `unreadable` (the first few roots) tell of subtrees that may not be read
    and were kept as the mirror has them; `failed_documents` of documents that could not be stored.
    """

    trigger: Trigger
    read: int
    inserted: int
    updated: int
    deleted: int
    unchanged: int
    duration_seconds: float
    unreadable_count: int = 0
    unreadable: tuple[str, ...] = ()
    failed_documents: int = 0
    failed_samples: tuple[str, ...] = ()
    """The first few documents that could not be stored: `key: reason`."""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOutcome:
    """How the last periodic comparison of source and mirror ended, counted in records.

    `repaired` of those that differed are right again. `samples`: the first few keys by kind. With `error`,
    it did not come to its end, or the repair was refused.
    """

    finished_at: datetime
    compared: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    repaired: int = 0
    unreadable: int = 0
    samples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    error: str | None = None

    @property
    def left(self) -> int:
        """How many records still differ."""
        return self.missing + self.extra + self.different - self.repaired


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceStatus:
    """One resource at one moment."""

    name: str
    state: SyncState
    ready: bool
    is_stale: bool
    age_seconds: float | None
    in_sync: bool
    confirmed_at: datetime | None
    gap_since: datetime | None
    decision: Decision | None
    informer_state: InformerState
    informer_since: datetime
    last_event_time: datetime | None
    pending: int
    progress: Progress | None
    last_result: SyncResult | None
    exceptions: Exceptions = field(default_factory=lambda: Exceptions(dict, dict, dict))
    """What is not in the mirror as it should be. Live."""
    last_verify: VerifyOutcome | None = None
    """Of the periodic comparison; `None` until the first one ended."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """The answer of the readiness probe. `reason` is one line; `None` when ready."""

    ready: bool
    reason: str | None
    waiting_for: tuple[str, ...]


@dataclass(slots=True)
class Counters:
    """Monotonic counts of one resource since the process started, for the metrics."""

    events: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    failed_documents: int = 0
    reconnects: int = 0
    expiries: int = 0
    gaps: int = 0
    syncs: dict[tuple[Trigger, bool], int] = field(default_factory=dict)
    """(trigger, succeeded) → number of full syncs."""

    def count_changes(self, applied: Applied) -> None:
        """Counts what a sink did with watched changes."""
        self.inserted += applied.inserted
        self.updated += applied.updated
        self.deleted += applied.deleted
        self.unchanged += applied.unchanged
        self.failed_documents += len(applied.failed)

    def count_sync(self, result: SyncResult) -> None:
        """Counts a full sync that ended, and what it wrote."""
        ended = (result.trigger, result.error is None)
        self.syncs[ended] = self.syncs.get(ended, 0) + 1
        self.inserted += result.inserted
        self.updated += result.updated
        self.deleted += result.deleted
        self.unchanged += result.unchanged
        self.failed_documents += result.failed_documents
