"""Sync or skip at start-up, and why: one pure function.

The words of `Reason` are part of the outside contract; `plan`, `/health/sync`, the log and the
metrics all show what is computed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hybridsync.state import SyncState, SyncStatus

CLOCKS_DIFFER_SECONDS = 300.0
"""So far the clocks of two machines may be apart."""


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
    """What start-up does with one resource. `detail` is one line for people, with the inputs.

    `blocking`: whether ready waits for the sync.
    """

    mode: Mode
    action: Action
    reason: Reason
    detail: str
    blocking: bool = False


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
    mirror: str | None = None,
    config_fingerprint: str,
    now: datetime,
    threshold_seconds: float,
) -> Decision:
    """Decides for one resource.

    `mirror_count` is the number of records the mirror holds now (0 when it is gone); any number
    above 0 says the same. `mirror` names what holds them, see `Sink.identity`. The first rule that applies
    decides, in the order written here.

    A mirror that was made whole once and is fresh may be served whatever became of the full syncs after it: then
    the sync that is owed blocks nothing.
    """
    if mode is Mode.NEVER:
        return Decision(mode, Action.SKIP, Reason.NEVER, "SYNC_ON_STARTUP is never")
    gone = None if state is None else missing(state, mirror_count, mirror)
    age = age_seconds(state, now)
    whole = _is_whole(state, config_fingerprint) and gone is None
    fresh = age is not None and age <= threshold_seconds and not _lies_ahead(state, now)

    def sync(reason: Reason, detail: str, *, blocking: bool = True) -> Decision:
        return Decision(mode, Action.SYNC, reason, detail, blocking)

    if mode is Mode.ALWAYS:
        return sync(Reason.ALWAYS, "SYNC_ON_STARTUP is always")
    if state is None:
        return sync(Reason.NO_STATE, "no state is recorded: this resource was never synced")
    served = whole and fresh
    if state.status is SyncStatus.FAILED:
        detail = f"the last full sync failed: {state.error or 'no reason recorded'}"
        return sync(Reason.LAST_FAILED, detail, blocking=not served)
    if state.status is SyncStatus.IN_PROGRESS:
        return sync(Reason.INCOMPLETE, "the last full sync was cut off before it completed", blocking=not served)
    if state.status is SyncStatus.NEVER or age is None:
        return sync(Reason.INCOMPLETE, "no full sync has completed yet")
    if state.config_fingerprint != config_fingerprint:
        return sync(Reason.CONFIG_CHANGED, "the source or the sink was configured differently at the last full sync")
    if gone is not None:
        return sync(Reason.MIRROR_MISSING, gone)
    if state.partial:
        return sync(Reason.INCOMPLETE, "a full sync that began to make another mirror of it has not completed")
    if _lies_ahead(state, now):
        return sync(Reason.STALE, "the last full sync is dated in the future: a clock was set, so its age is not known")
    detail = f"last full sync {age:.0f} s ago, threshold {threshold_seconds:.0f} s"
    if not fresh:
        return sync(Reason.STALE, detail)
    return Decision(mode, Action.SKIP, Reason.FRESH, detail)


def missing(state: SyncState, count: int, mirror: str | None) -> str | None:
    """Why what the last full sync has written is not there any more; `None` when nothing says so.

    `count` and `mirror`: see `decide`.
    """
    if state.last_sync_count and count == 0:
        return f"the last full sync left {state.last_sync_count} records, but the mirror is gone or empty"
    if state.mirror is not None and mirror is not None and mirror != state.mirror:
        return "the collection is another one than the last full sync has written: it was dropped and made anew"
    return None


def _is_whole(state: SyncState | None, config_fingerprint: str) -> bool:
    """Whether a completed sync of this configuration has made the mirror, and none has begun to make another of it."""
    return state is not None and state.config_fingerprint == config_fingerprint and not state.partial


def _lies_ahead(state: SyncState | None, now: datetime) -> bool:
    last = None if state is None else state.last_sync_time
    return last is not None and (last - now).total_seconds() > CLOCKS_DIFFER_SECONDS
