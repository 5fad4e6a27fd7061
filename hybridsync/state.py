"""`SyncState`: what is remembered about a resource across restarts, and the seam to where it is kept.

One document a resource in the collection `sync_states`; the field names are part of the outside
contract. `in_progress` is saved before a full sync writes anything, `completed` only after its last
write is acknowledged, so a process that dies in between leaves the truth behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class SyncStatus(StrEnum):
    """How the last full sync of a resource went."""

    NEVER = "never"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncState:
    """What is known of the full syncs of one resource. Times are aware and in UTC, durations in seconds.

    `last_sync_time`, `_duration`, `_count` and `resource_version` describe the last full sync that
    completed, also while a later one runs or has failed. Where the source can resume,
    `resource_version` moves on with the watch.
    """

    resource_type: str
    status: SyncStatus = SyncStatus.NEVER
    last_sync_time: datetime | None = None
    last_sync_duration: float | None = None
    last_sync_count: int | None = None
    resource_version: str | None = None
    error: str | None = None
    informer_reconnect_count: int = 0
    confirmed_at: datetime | None = None
    """Every change committed at the source before this moment was in the mirror when this was saved."""
    resume_from: str | None = None
    """Every change up to this position is in the mirror: a watch may go on from here without a listing.

    `None` when the source cannot, or when some record could not be stored and is to be tried again.
    """
    place: str | None = None
    """Whose position `resume_from` is, see `Source.place`; one of another place is worth nothing."""
    config_fingerprint: str | None = None
    """Of the options that decide what the mirror holds; another one calls for a sync."""
    mirror: str | None = None
    """What held the records when the last full sync completed, see `Sink.identity`."""
    partial: bool = False
    """A full sync began that makes another mirror of it (a changed configuration, or what held the records was taken
    away), and has not completed: until then the mirror is neither the old one nor the new one."""
    removal_seen: bool = False
    """A watch saw the root of the source go away, so a listing without it may empty the mirror."""


class StateStore(Protocol):
    """Where states are kept."""

    async def load(self, resource: str) -> SyncState | None:
        """The state of one resource; `None` when there is none. A document that cannot be understood
        is a state with status `never`. Raises `SinkUnavailable`."""

    async def save(self, state: SyncState) -> None:
        """Replaces the state and returns once it is acknowledged. Raises `SinkUnavailable`."""
