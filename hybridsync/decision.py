"""Sync or skip at start-up, and why: one pure function.

The words of `Reason` are part of the outside contract; `plan`, `/health/sync`, the log and the
metrics all show what is computed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hybridsync.state import SyncState, SyncStatus


class Mode(StrEnum):
    """`SYNC_ON_STARTUP`."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Action(StrEnum):
    """What start-up does with a resource before it counts as ready."""

    SYNC = "sync"
    SKIP = "skip"


class Reason(StrEnum):
    """Why."""

    ALWAYS = "always"
    NEVER = "never"
    NO_STATE = "no_state"
    INCOMPLETE = "incomplete"
    LAST_FAILED = "last_failed"
    CONFIG_CHANGED = "config_changed"
    MIRROR_MISSING = "mirror_missing"
    STALE = "stale"
    FRESH = "fresh"


@dataclass(frozen=True, slots=True)
class Decision:
    """What start-up does with one resource. `detail` is one line for people, with the inputs."""

    mode: Mode
    action: Action
    reason: Reason
    detail: str


def age_seconds(state: SyncState | None, now: datetime) -> float | None:
    """Seconds since the last completed full sync; `None` when there was none. Never negative."""
    if state is None or state.last_sync_time is None:
        return None
    return max(0.0, (now - state.last_sync_time).total_seconds())


def is_stale(state: SyncState | None, now: datetime, threshold_seconds: float) -> bool:
    """Whether there is no completed full sync, or the last one is older than the threshold."""
    age = age_seconds(state, now)
    return age is None or age > threshold_seconds


def decide(
    mode: Mode,
    state: SyncState | None,
    *,
    mirror_count: int,
    config_fingerprint: str,
    now: datetime,
    threshold_seconds: float,
) -> Decision:
    """Decides for one resource.

    `mirror_count` is the number of records the mirror holds now (0 when it is gone); any number
    above 0 says the same. The first rule that applies decides, in the order written here.
    """

    def sync(reason: Reason, detail: str) -> Decision:
        return Decision(mode, Action.SYNC, reason, detail)

    if mode is Mode.ALWAYS:
        return sync(Reason.ALWAYS, "SYNC_ON_STARTUP is always")
    if mode is Mode.NEVER:
        return Decision(mode, Action.SKIP, Reason.NEVER, "SYNC_ON_STARTUP is never")
    if state is None:
        return sync(Reason.NO_STATE, "no state is recorded: this resource was never synced")
    if state.status is SyncStatus.FAILED:
        return sync(Reason.LAST_FAILED, f"the last full sync failed: {state.error or 'no reason recorded'}")
    if state.status is SyncStatus.IN_PROGRESS:
        return sync(Reason.INCOMPLETE, "the last full sync was cut off before it completed")
    age = age_seconds(state, now)
    if state.status is SyncStatus.NEVER or age is None:
        return sync(Reason.INCOMPLETE, "no full sync has completed yet")
    if state.config_fingerprint != config_fingerprint:
        return sync(Reason.CONFIG_CHANGED, "the source or the sink was configured differently at the last full sync")
    if state.last_sync_count and mirror_count == 0:
        return sync(
            Reason.MIRROR_MISSING,
            f"the last full sync left {state.last_sync_count} records, but the mirror is gone or empty",
        )
    detail = f"last full sync {age:.0f} s ago, threshold {threshold_seconds:.0f} s"
    if age > threshold_seconds:
        return sync(Reason.STALE, detail)
    return Decision(mode, Action.SKIP, Reason.FRESH, detail)
