"""After an outage of the servers, which ends for every instance in the same moment, the comparisons are spread."""

from __future__ import annotations

import time

import pytest

from hybridsync import informer
from hybridsync.owed_sync import OwedSync
from hybridsync.recovery import MAX_SPREAD_SECONDS, OF_ONE_SECONDS, spread
from hybridsync.status import Trigger
from tests.unit.engine import Engine, ScriptedSource, fast, running, synced


def test_a_connection_that_is_back_at_once_waits_for_nobody() -> None:
    assert {spread(OF_ONE_SECONDS / 2) for _ in range(100)} == {0.0}


def test_after_an_outage_the_delays_differ_and_grow_with_it_up_to_a_bound() -> None:
    short = [spread(OF_ONE_SECONDS) for _ in range(300)]
    long = [spread(3600.0) for _ in range(300)]

    assert max(short) <= 5 * OF_ONE_SECONDS < max(long) <= MAX_SPREAD_SECONDS
    assert min(short + long) >= 0.0
    assert len(set(short)) > 200


def test_what_is_put_off_is_due_later_and_the_next_debt_is_not_put_off() -> None:
    owed = OwedSync(periodic_hours=0)
    owed.owe(Trigger.RECONNECT)
    owed.put_off(13.0)

    assert (owed.is_due(12.9), owed.is_due(13.0), owed.next_due()) == (False, True, 13.0)
    owed.owe(Trigger.RECONNECT)
    assert owed.is_due(0.0)


@pytest.fixture
def _long_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informer, "spread", lambda away: 3600.0)


@pytest.mark.usefixtures("_long_spread")
async def test_while_the_comparison_waits_changes_flow_and_nothing_is_claimed() -> None:
    it = Engine(source=ScriptedSource(a=b"1", b=b"2"), options=fast())
    async with synced(it):
        it.source.disconnect()
        it.source.put("a", b"missed")
        await it.until(lambda: it.status.gap_since is not None, "the gap is seen")
        await it.until(lambda: it.status.informer_state == "watching", "it watches again")
        confirmed = it.status.confirmed_at
        it.source.put("b", b"seen")
        await it.until(lambda: it.sink.records["b"].value == b"seen", "what changes now is written")

        assert (it.triggers, it.status.in_sync, it.status.confirmed_at) == ([], False, confirmed)
        assert it.status.gap_since is not None
        await it.resource.request_sync()
        await it.in_sync()
        assert it.triggers == ["reconnect"], "who asks for it need not wait"


@pytest.mark.usefixtures("_long_spread")
async def test_the_first_full_sync_is_never_put_off() -> None:
    it = Engine(source=ScriptedSource(a=b"1"), options=fast())
    it.source.offline = True
    started = time.monotonic()
    async with running(it):
        await it.until(lambda: it.resource.counters.reconnects > 2, "it tries")
        it.source.offline = False
        await it.in_sync()

    assert it.triggers == ["startup"]
    assert time.monotonic() - started < 3600
