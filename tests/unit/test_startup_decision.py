"""Sync or skip at start-up: every row of the table, in the order in which the reasons win."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridsync.decision import CLOCKS_DIFFER_SECONDS, Action, Decision, Mode, Reason, age_seconds, decide, is_stale
from hybridsync.state import SyncState, SyncStatus
from tests.unit.engine import NOON

THRESHOLD = 3600.0
FRESH = SyncState(
    resource_type="r",
    status=SyncStatus.COMPLETED,
    last_sync_time=NOON - timedelta(seconds=60),
    last_sync_count=3,
    config_fingerprint="f",
)
NEVER_SYNCED = SyncState(resource_type="r")


def decided(state: SyncState | None, mode: Mode = Mode.AUTO, mirror_count: int = 3, now: datetime = NOON) -> Decision:
    return decide(mode, state, mirror_count=mirror_count, config_fingerprint="f", now=now, threshold_seconds=THRESHOLD)


def but(**changes: Any) -> SyncState:
    return replace(FRESH, **changes)


@pytest.mark.parametrize(
    ("state", "mirror_count", "reason"),
    [
        (None, 0, Reason.NO_STATE),
        (None, 3, Reason.NO_STATE),
        (NEVER_SYNCED, 3, Reason.INCOMPLETE),
        (but(status=SyncStatus.NEVER), 3, Reason.INCOMPLETE),
        (but(status=SyncStatus.IN_PROGRESS), 3, Reason.INCOMPLETE),
        (but(last_sync_time=None), 3, Reason.INCOMPLETE),
        (but(status=SyncStatus.FAILED, error="disk full"), 3, Reason.LAST_FAILED),
        (replace(NEVER_SYNCED, status=SyncStatus.FAILED), 0, Reason.LAST_FAILED),
        (but(config_fingerprint="other"), 3, Reason.CONFIG_CHANGED),
        (but(config_fingerprint=None), 3, Reason.CONFIG_CHANGED),
        (FRESH, 0, Reason.MIRROR_MISSING),
        (but(last_sync_count=0), 0, Reason.FRESH),
        (but(last_sync_count=0), 3, Reason.FRESH),
        (FRESH, 1, Reason.FRESH),
        (FRESH, 3, Reason.FRESH),
        (but(last_sync_time=NOON - timedelta(seconds=THRESHOLD + 0.001)), 3, Reason.STALE),
        (but(last_sync_time=NOON - timedelta(seconds=THRESHOLD)), 3, Reason.FRESH),
        (but(last_sync_time=NOON - timedelta(seconds=THRESHOLD - 0.001)), 3, Reason.FRESH),
        (but(last_sync_time=NOON + timedelta(seconds=CLOCKS_DIFFER_SECONDS)), 3, Reason.FRESH),
        (but(last_sync_time=NOON + timedelta(days=1)), 3, Reason.STALE),
        (but(partial=True), 3, Reason.INCOMPLETE),
        (but(mirror="A"), 3, Reason.FRESH),
    ],
)
def test_auto_decides_by_state_mirror_configuration_and_age(
    state: SyncState | None, mirror_count: int, reason: Reason
) -> None:
    decision = decided(state, mirror_count=mirror_count)

    assert decision.reason is reason
    assert decision.action is (Action.SKIP if reason is Reason.FRESH else Action.SYNC)


def test_of_several_reasons_the_gravest_is_named() -> None:
    """Everything is wrong at first; each step takes the named reason away and uncovers the next."""
    state = but(
        status=SyncStatus.FAILED, config_fingerprint="other", last_sync_time=NOON - timedelta(seconds=2 * THRESHOLD)
    )
    named = [decided(state, Mode.ALWAYS, 0), decided(state, Mode.NEVER, 0), decided(None, mirror_count=0)]
    named.append(decided(state, mirror_count=0))
    for change in (
        {"status": SyncStatus.IN_PROGRESS},
        {"status": SyncStatus.COMPLETED},
        {"config_fingerprint": "f"},
    ):
        state = replace(state, **change)
        named.append(decided(state, mirror_count=0))
    named.append(decided(state, mirror_count=3))

    assert [decision.reason for decision in named] == [
        Reason.ALWAYS,
        Reason.NEVER,
        Reason.NO_STATE,
        Reason.LAST_FAILED,
        Reason.INCOMPLETE,
        Reason.CONFIG_CHANGED,
        Reason.MIRROR_MISSING,
        Reason.STALE,
    ]


@pytest.mark.parametrize(
    ("state", "mirror_count", "said"),
    [
        (but(last_sync_time=NOON - timedelta(seconds=12)), 3, "last full sync 12 s ago, threshold 3600 s"),
        (but(last_sync_time=NOON - timedelta(seconds=7200)), 3, "last full sync 7200 s ago, threshold 3600 s"),
        (but(status=SyncStatus.FAILED, error="disk full"), 3, "the last full sync failed: disk full"),
        (but(status=SyncStatus.FAILED), 3, "the last full sync failed: no reason recorded"),
        (FRESH, 0, "the last full sync left 3 records, but the mirror is gone or empty"),
    ],
)
def test_the_detail_holds_the_inputs(state: SyncState, mirror_count: int, said: str) -> None:
    assert decided(state, mirror_count=mirror_count).detail == said


@pytest.mark.parametrize("ahead", [timedelta(seconds=1), timedelta(days=400)])
def test_a_clock_that_went_backwards_makes_no_age_negative(ahead: timedelta) -> None:
    state = but(last_sync_time=NOON + ahead)

    assert age_seconds(state, NOON) == 0.0
    assert not is_stale(state, NOON, THRESHOLD)


def test_without_a_completed_sync_there_is_no_age_and_everything_is_stale() -> None:
    for state in (None, NEVER_SYNCED):
        assert age_seconds(state, NOON) is None
        assert is_stale(state, NOON, THRESHOLD)


states = st.none() | st.builds(
    SyncState,
    resource_type=st.just("r"),
    status=st.sampled_from(SyncStatus),
    last_sync_time=st.none() | st.floats(-2 * THRESHOLD, 2 * THRESHOLD).map(lambda s: NOON - timedelta(seconds=s)),
    last_sync_count=st.none() | st.integers(0, 3),
    config_fingerprint=st.sampled_from([None, "f", "other"]),
    error=st.none() | st.just("why"),
)


@given(state=states, mirror_count=st.integers(0, 3))
def test_always_syncs_and_never_skips_whatever_is_known(state: SyncState | None, mirror_count: int) -> None:
    always, never = (decided(state, mode, mirror_count) for mode in (Mode.ALWAYS, Mode.NEVER))

    assert (always.action, always.reason) == (Action.SYNC, Reason.ALWAYS)
    assert (never.action, never.reason) == (Action.SKIP, Reason.NEVER)


@given(state=states, mirror_count=st.integers(0, 3))
def test_auto_skips_exactly_what_is_complete_unchanged_there_and_young(
    state: SyncState | None, mirror_count: int
) -> None:
    trustworthy = (
        state is not None
        and state.status is SyncStatus.COMPLETED
        and state.last_sync_time is not None
        and state.config_fingerprint == "f"
        and (mirror_count > 0 or not state.last_sync_count)
        and -CLOCKS_DIFFER_SECONDS <= (NOON - state.last_sync_time).total_seconds() <= THRESHOLD
    )

    decision = decided(state, mirror_count=mirror_count)

    assert decision.action is (Action.SKIP if trustworthy else Action.SYNC)
    assert (decision.reason is Reason.FRESH) == trustworthy


def blocking(state: SyncState | None, mirror_count: int = 3) -> bool:
    return decided(state, mirror_count=mirror_count).blocking


@pytest.mark.parametrize("status", [SyncStatus.FAILED, SyncStatus.IN_PROGRESS])
def test_a_mirror_that_was_made_whole_is_served_whatever_became_of_the_syncs_after_it(status: SyncStatus) -> None:
    assert not blocking(but(status=status))
    assert not blocking(FRESH), "where nothing is synced, nothing is waited for"


@pytest.mark.parametrize("status", [SyncStatus.FAILED, SyncStatus.IN_PROGRESS])
@pytest.mark.parametrize(
    "change",
    [
        {"last_sync_time": None},
        {"last_sync_time": NOON - timedelta(seconds=THRESHOLD + 1)},
        {"config_fingerprint": "other"},
        {"config_fingerprint": None},
        {"partial": True},
    ],
)
def test_what_is_old_or_of_another_configuration_or_half_made_is_not_served(
    status: SyncStatus, change: dict[str, Any]
) -> None:
    assert blocking(but(status=status, **change))


def test_an_empty_mirror_is_not_served_because_it_was_whole_once() -> None:
    assert blocking(but(status=SyncStatus.FAILED), mirror_count=0)


def test_a_collection_that_was_dropped_and_made_anew_is_not_the_mirror() -> None:
    def decision(state: SyncState, mirror: str | None) -> Decision:
        return decide(
            Mode.AUTO,
            state,
            mirror_count=3,
            mirror=mirror,
            config_fingerprint="f",
            now=NOON,
            threshold_seconds=THRESHOLD,
        )

    assert decision(but(mirror="A"), "A").reason is Reason.FRESH
    assert decision(but(mirror=None), "A").reason is Reason.FRESH, "an older version has not kept it"
    another = decision(but(mirror="A"), "B")
    assert (another.reason, another.blocking) == (Reason.MIRROR_MISSING, True)
    assert decision(but(mirror="A", status=SyncStatus.FAILED), "B").blocking
