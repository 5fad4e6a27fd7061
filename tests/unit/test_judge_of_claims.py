"""The judge of fault tests: which claims of a service are lies, which are allowed meanwhile, and none is overlooked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from pymongo.collection import Collection

from tests.faults.allowances import Allowances, among, at_and_below
from tests.faults.chaos.clock import Clock, Offsets
from tests.faults.histories import Histories
from tests.faults.recorder import Recorder
from tests.service import Service

_PAGE = 2
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


class Told:
    """A service that says what the test has it say. `exceptions`: key and kind of each, all of them."""

    ending = False

    def __init__(self) -> None:
        self.started_at = now() - timedelta(days=1)
        self.confirmed_at: datetime | None = None
        self.in_sync = False
        self.synced_at = now()
        self.exceptions: list[tuple[str, str]] = []

    def get(self, path: str) -> tuple[int, Any]:
        url = urlsplit(path)
        if url.path == "/health/sync":
            return 200, {"sync": [self._entry()]}
        if url.path == "/health/sync/exceptions":
            after = parse_qs(url.query).get("after", [""])[0]
            rest = sorted(one for one in self.exceptions if one[0] > after)
            page = rest[:_PAGE]
            return 200, {"exceptions": _shown(page), "next": page[-1][0] if rest[_PAGE:] else None}
        return 200, {"ready": True, "status": "ok"}

    def _entry(self) -> dict[str, Any]:
        counts = {kind: sum(one[1] == kind for one in self.exceptions) for kind in ("unreadable", "refused", "invalid")}
        return {
            "resourceType": "services",
            "status": "completed",
            "inSync": self.in_sync,
            "confirmedAt": None if self.confirmed_at is None else self.confirmed_at.isoformat(),
            "gapSince": None,
            "lastSyncTime": self.synced_at.isoformat(),
            "decision": None,
            "informer": {"state": "watching", "pending": 0},
            "exceptions": {**counts, "first": _shown(sorted(self.exceptions)[:_PAGE])},
        }


def _shown(exceptions: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"key": key, "kind": kind, "why": "said so"} for key, kind in exceptions]


class Written(Histories[int]):
    """Versions that were written an hour ago, and a mirror that the test fills."""

    def __init__(self) -> None:
        super().__init__()
        self.mirror: dict[str, int] = {}

    def held(self, collection: Collection[dict[str, Any]]) -> Mapping[str, int]:
        return dict(self.mirror)

    def write(self, key: str, version: int | None) -> None:
        self._acknowledged(self._begun(key, version), version)


class SetClock:
    """A clock that is off by `offset`; `passed`: what it was off by for an instant, and when."""

    def __init__(self) -> None:
        self.offset = timedelta(0)
        self.passed: list[tuple[datetime, timedelta]] = []

    def offsets(self, start: datetime, end: datetime) -> Offsets:
        found = [self.offset, *(offset for at, offset in self.passed if start <= at <= end)]
        return Offsets(min(found), max(found))


class Court:
    """A judge with everything around it."""

    def __init__(self) -> None:
        self.time = 0.0
        self.service = Told()
        self.written = Written()
        self.clock = SetClock()
        self.allowances = Allowances(lambda: self.time)
        self.recorder = Recorder(
            cast(Service, self.service),
            cast("Collection[dict[str, Any]]", object()),
            self.written,
            clock=cast(Clock, self.clock),
            allowances=self.allowances,
        )

    def claim(self, confirmed_at: datetime) -> list[str]:
        """What is found wrong with the service's saying so."""
        self.service.confirmed_at = confirmed_at
        self.recorder.ask()
        found, self.recorder.violations = self.recorder.violations, []
        return found

    def claim_now(self) -> list[str]:
        return self.claim(now() + self.clock.offset)


@pytest.fixture
def court() -> Court:
    return Court()


# -- exceptions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unreadable", "refused"])
def test_in_sync_while_something_is_unreadable_or_refused_is_a_lie(court: Court, kind: str) -> None:
    court.service.in_sync = True
    court.service.exceptions = [("/a", kind)]
    assert "unreadable or refused" in court.claim_now()[0]


def test_in_sync_while_something_is_invalid_is_none(court: Court) -> None:
    court.service.in_sync = True
    court.service.exceptions = [("/a", "invalid")]
    assert court.claim_now() == []


def test_what_is_named_may_differ_on_whatever_page_it_is_and_nothing_else_may(court: Court) -> None:
    for name in "abcde":
        court.written.write(f"/{name}", 1)
    court.service.exceptions = [(f"/{name}", "refused") for name in "abcd"]
    (lie,) = court.claim_now()
    assert "/e: the mirror holds None" in lie
    assert court.recorder.excused == 1


def test_an_unreadable_root_stands_for_what_is_below_it_and_a_refused_key_does_not(court: Court) -> None:
    for key in ("/a", "/a/b", "/ab", "/c/d"):
        court.written.write(key, 1)
    court.service.exceptions = [("/a", "unreadable"), ("/c", "refused")]
    assert sorted(line.split(" is false: ")[1].split(":")[0] for line in court.claim_now()) == ["/ab", "/c/d"]


def test_what_is_no_longer_named_has_to_be_right(court: Court) -> None:
    court.written.write("/a", 1)
    court.service.exceptions = [("/a", "refused")]
    assert court.claim_now() == []
    court.service.exceptions = []
    assert court.claim_now()


# -- outsiders ------------------------------------------------------------------------------------


def test_what_an_outsider_did_is_counted_by_itself_until_it_has_to_be_noticed_and_a_lie_from_then_on(
    court: Court,
) -> None:
    court.written.write("/a", 1)
    court.allowances.unnoticed(seconds=15)
    court.time = 15.0
    assert court.claim_now() == []
    assert (court.recorder.unnoticed, court.recorder.longest_unnoticed) == (1, 15.0)
    court.time = 15.1
    assert court.claim_now()


def test_what_an_outsider_did_to_some_keys_excuses_no_others(court: Court) -> None:
    court.written.write("/a/b", 1)
    court.written.write("/ab", 1)
    court.allowances.unnoticed(at_and_below("/a"))
    (lie,) = court.claim_now()
    assert "/ab: the mirror holds None" in lie


def test_what_was_edited_by_hand_may_differ_until_every_record_was_compared(court: Court) -> None:
    court.written.write("/a", 1)
    court.written.mirror["/a"] = 7
    court.allowances.unverified(among(["/a"]))
    court.time = 1_000.0
    assert court.claim_now() == []
    assert court.allowances.awaits_comparison
    court.allowances.verified()
    assert not court.allowances.awaits_comparison
    assert court.claim_now()


# -- the clock ------------------------------------------------------------------------------------


def test_a_claim_that_outlives_a_step_back_is_in_the_future(court: Court) -> None:
    before = now()
    assert court.claim(before) == []
    court.clock.offset = -HOUR
    assert "confirmedAt is in the future" in court.claim(before)[0]


def test_a_claim_goes_back_with_the_clock_and_not_without_it(court: Court) -> None:
    start = now()
    court.clock.offset = HOUR
    assert court.claim(start + HOUR) == []
    court.clock.offset = -HOUR
    assert court.claim(start - HOUR) == []
    assert "confirmedAt went back" in court.claim(start - HOUR - SECOND)[0]


def test_a_claim_may_go_back_when_the_clock_was_set_back_and_forth_between_two_answers(court: Court) -> None:
    """What was proven meanwhile is told by the clock of then: older than need be, and true."""
    start = now()
    assert court.claim(start) == []
    court.clock.passed.append((now(), -HOUR))
    assert court.claim(start - HOUR) == []
    assert "confirmedAt went back" in court.claim(start - HOUR - SECOND)[0]


def test_a_claim_that_stands_while_the_clock_is_stepped_forward_is_old_and_true(court: Court) -> None:
    before = now()
    assert court.claim(before) == []
    court.written.write("/a", 1)
    court.clock.offset = HOUR
    assert court.claim(before) == []


@pytest.mark.parametrize("offset", [-HOUR, HOUR])
def test_a_promise_is_read_by_the_clock_of_the_moment_in_which_it_is_shown(court: Court, offset: timedelta) -> None:
    before = now()
    court.written.write("/a", 1)
    court.clock.offset = offset
    assert court.claim(before + offset) == [], "it speaks of the time before the write"
    (lie,) = court.claim_now()
    assert "/a: the mirror holds None" in lie


def test_ready_after_a_sync_whose_time_is_that_of_a_clock_that_was_set_back(court: Court) -> None:
    court.service.started_at = now()
    court.clock.offset = -HOUR
    court.service.synced_at = now() - HOUR
    assert court.claim_now() == []


# -- a source that is put back --------------------------------------------------------------------


def test_after_a_source_was_put_back_only_what_it_held_then_is_the_truth(court: Court) -> None:
    court.written.write("/a", 1)
    remembered = court.written.remembered()
    court.written.write("/a", 2)
    court.written.write("/new", 3)
    before = now()
    court.written.mirror = {"/a": 2, "/new": 3}
    court.written.put_back(remembered)
    assert court.claim(before) == [], "as it was promised before"
    assert len(court.claim_now()) == 2
    court.written.mirror = {"/a": 1}
    assert court.claim_now() == []
