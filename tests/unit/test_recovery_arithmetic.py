"""Delays, counts and debts on the way back: plain numbers, no clock."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from hybridsync.options import ResourceOptions
from hybridsync.owed_sync import NEVER, OwedSync
from hybridsync.recovery import HEALTHY_AFTER_SECONDS, Backoff, ExpiryPace, RecoveryLadder
from hybridsync.status import Trigger


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """The bounds of every random draw; the draw itself is the upper one."""
    bounds: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", draw)
    return bounds


def test_delays_double_to_the_cap_with_full_jitter(drawn: list[tuple[float, float]]) -> None:
    backoff = Backoff(first=0.8, cap=30.0)
    delays = [backoff.next_delay() for _ in range(8)]

    assert delays == pytest.approx([0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0])
    assert {low for low, _ in drawn} == {0.0}


@pytest.mark.usefixtures("drawn")
def test_after_ten_thousand_failures_the_delay_is_still_the_cap_and_reset_starts_anew() -> None:
    backoff = Backoff(first=0.8, cap=30.0)
    assert [backoff.next_delay() for _ in range(10_000)][-1] == 30.0
    backoff.reset()

    assert backoff.next_delay() == 0.8


def test_jitter_stays_within_its_bounds_and_is_not_always_the_same() -> None:
    delays = [Backoff(first=1.0, cap=30.0).next_delay() for _ in range(200)]

    assert all(0.0 <= delay <= 1.0 for delay in delays)
    assert len(set(delays)) > 100


def test_more_than_max_reconnects_consecutive_failures_are_named() -> None:
    ladder = RecoveryLadder(max_reconnects=2)
    named = []
    for _ in range(4):
        ladder.disconnected(0.0)
        named.append(ladder.trigger())

    assert named == [Trigger.RECONNECT, Trigger.RECONNECT, Trigger.MAX_RECONNECTS, Trigger.MAX_RECONNECTS]
    ladder.reset()
    assert (ladder.failures, ladder.exhausted) == (0, False)


def test_zero_reconnects_allowed_means_the_first_one_is_too_many() -> None:
    ladder = RecoveryLadder(max_reconnects=0)
    assert not ladder.exhausted
    ladder.disconnected(0.0)

    assert ladder.trigger() is Trigger.MAX_RECONNECTS


@pytest.mark.parametrize(
    ("watched", "failures", "delay"),
    [
        (3.9, 4, 8.0),
        (4.1, 4, 1.0),
        (HEALTHY_AFTER_SECONDS - 0.1, 4, 1.0),
        (HEALTHY_AFTER_SECONDS, 1, 1.0),
        (1e6, 1, 1.0),
    ],
)
@pytest.mark.usefixtures("drawn")
def test_what_a_long_watch_forgives(watched: float, failures: int, delay: float) -> None:
    """One that outlived the delay before it ends the delays; two healthy minutes end the row of failures."""
    ladder = RecoveryLadder(max_reconnects=5, backoff=Backoff(1.0, 30.0))
    for _ in range(3):
        ladder.disconnected(0.0)
    ladder.watching(1000.0)

    assert ladder.disconnected(1000.0 + watched) == delay
    assert ladder.failures == failures


@pytest.mark.usefixtures("drawn")
def test_a_watch_that_told_of_something_ends_the_delays_however_short_it_lived() -> None:
    ladder = RecoveryLadder(max_reconnects=5, backoff=Backoff(1.0, 30.0))
    for turn in range(3):
        ladder.watching(turn)
        assert ladder.disconnected(turn + 0.1, delivered=True) == 1.0
    assert ladder.failures == 3


def test_a_server_that_is_back_is_used_within_five_seconds_however_long_it_was_away() -> None:
    options = ResourceOptions()
    assert max(Backoff().cap, Backoff(*options.reconnect_backoff).cap) <= 4.0


def test_time_without_a_watch_is_not_healthy() -> None:
    ladder = RecoveryLadder(max_reconnects=5)
    ladder.watching(0.0)
    ladder.disconnected(1.0)
    ladder.disconnected(10_000.0)

    assert ladder.failures == 2


def test_nothing_is_owed_until_somebody_owes_it() -> None:
    owed = OwedSync(periodic_hours=0)
    owed.schedule(0.0)

    assert not owed.is_due(1e12)
    assert owed.next_due() == NEVER


def test_a_debt_keeps_its_name_unless_a_graver_one_takes_its_place() -> None:
    owed = OwedSync(periodic_hours=0)
    owed.owe(Trigger.STARTUP)
    owed.owe(Trigger.EXPIRED, instead_of=(Trigger.RECONNECT,))
    assert str(owed.trigger) == "startup"
    owed.succeeded()
    owed.owe(Trigger.RECONNECT)
    owed.owe(Trigger.EXPIRED, instead_of=(Trigger.RECONNECT,))

    assert owed.trigger is Trigger.EXPIRED
    assert owed.is_due(0.0)


@pytest.mark.usefixtures("drawn")
def test_a_failed_sync_stays_owed_and_is_put_off_further_each_time() -> None:
    owed = OwedSync(periodic_hours=0, retry=Backoff(2.0, 120.0))
    owed.owe(Trigger.EXPIRED)
    for now, delay in ((100.0, 2.0), (200.0, 4.0), (300.0, 8.0)):
        owed.failed(Trigger.EXPIRED, now)
        assert owed.next_due() == now + delay
        assert not owed.is_due(now + delay - 0.001)
        assert owed.is_due(now + delay)
        assert owed.trigger is Trigger.EXPIRED
    owed.succeeded()

    assert owed.next_due() == NEVER
    owed.failed(Trigger.MANUAL, 400.0)
    assert owed.next_due() == 402.0, "success forgave the failures before"


@pytest.mark.usefixtures("drawn")
def test_a_new_reason_does_not_wait_for_the_retry_of_an_old_one() -> None:
    owed = OwedSync(periodic_hours=0)
    owed.failed(Trigger.CATCH_UP, 100.0)
    owed.owe(Trigger.RECONNECT)

    assert owed.is_due(100.0)


@pytest.mark.parametrize("draw", [min, max])
def test_the_period_is_jittered_by_a_tenth(draw: Callable[..., float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", draw)
    owed = OwedSync(periodic_hours=0.5)
    owed.schedule(1000.0)
    due = 1000.0 + 1800 * draw(0.9, 1.1)

    assert owed.next_due() == pytest.approx(due)
    assert not owed.is_due(due - 0.001)
    assert owed.is_due(due + 0.001)
    assert owed.trigger is Trigger.PERIODIC
    assert not OwedSync(periodic_hours=0.5).is_due(1e9), "not before it is scheduled"


def test_the_next_period_starts_when_one_falls_due_and_a_debt_keeps_its_own_name() -> None:
    owed = OwedSync(periodic_hours=1.0)
    owed.schedule(0.0)
    owed.owe(Trigger.EXPIRED)
    assert owed.is_due(4000.0)
    assert owed.trigger is Trigger.EXPIRED
    owed.succeeded()

    assert not owed.is_due(4000.0)
    assert 4000.0 + 0.9 * 3600 <= owed.next_due() <= 4000.0 + 1.1 * 3600


def test_an_expiry_that_is_told_twice_is_come_back_from_at_once_and_more_are_not() -> None:
    pace = ExpiryPace(Backoff(1000.0, 1000.0))
    delays = [pace.delay(now) for now in (0.0, 0.5, 1.0)]
    assert delays[:2] == [0.0, 0.0]
    assert delays[2] > 0.0
    assert pace.delay(1.0 + delays[2]) > 0.0, "the wait itself is no calm"
    assert pace.delay(1e6) == 0.0


@pytest.mark.usefixtures("drawn")
def test_a_loss_that_a_full_sync_met_does_not_end_the_wait_for_the_next_try() -> None:
    """A source whose connection never lives as long as its listing is not listed again and again."""
    owed = OwedSync(periodic_hours=0, retry=Backoff(2.0, 120.0))
    owed.failed(Trigger.RECONNECT, 100.0)
    owed.owe(Trigger.RECONNECT, at_once=False)
    assert owed.next_due() == 102.0
    owed.failed(Trigger.RECONNECT, 200.0, soon=True)
    assert owed.next_due() == 200.8, "what failed at the sink has a wait of its own"
