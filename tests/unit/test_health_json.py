"""Status as JSON, key for key as the contract writes it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

from hybridsync.exceptions import Exceptions
from hybridsync.health_json import (
    iso,
    one_line,
    progress_json,
    resource_json,
    result_json,
    summary_json,
    sync_json,
    verify_json,
)
from hybridsync.state import SyncState, SyncStatus
from hybridsync.status import InformerState, Progress, VerifyOutcome
from tests.unit.fake_manager import a_result, a_state, a_status, at

CONTRACT = """
{
  "ready": true,
  "instance": "host-1234",
  "summary": {"total": 1, "completed": 1, "failed": 0, "inProgress": 0, "never": 0, "stale": 0},
  "sync": [{
    "resourceType": "services",
    "status": "completed",
    "lastSyncTime": "2026-11-20T21:00:00.000Z",
    "lastSyncDuration": 1.84,
    "lastSyncCount": 100000,
    "resourceVersion": "4294967299",
    "error": null,
    "informerReconnectCount": 0,
    "isStale": false,
    "ageSeconds": 12.5,
    "inSync": true,
    "confirmedAt": "2026-11-20T21:00:14.000Z",
    "gapSince": null,
    "decision": {"mode": "auto", "action": "skip", "reason": "fresh", "blocking": false,
                 "detail": "last full sync 12 s ago, threshold 86400 s"},
    "exceptions": {"unreadable": 0, "refused": 0, "invalid": 0, "first": []},
    "informer": {"state": "watching", "since": "2026-11-20T21:00:02.000Z", "lastEventTime": null, "pending": 0},
    "progress": null,
    "lastResult": {"trigger": "startup", "read": 100000, "inserted": 0, "updated": 3, "deleted": 1,
                   "unchanged": 99996},
    "lastVerify": null
  }]
}
"""


ADDED = {"invalid": {"count": 0, "first": []}}
"""What an entry shows beyond the contract's example."""


def excepted(unreadable: int = 0, refused: int = 0, invalid: int = 0, why: str = "no\nreason") -> Exceptions:
    return Exceptions(
        lambda: {f"/u{number}": why for number in range(unreadable)},
        lambda: {f"/r{number}": why for number in range(refused)},
        lambda: {f"/i{number}": why for number in range(invalid)},
    )


def test_exceptions_are_counted_by_kind_and_the_first_twenty_named() -> None:
    shown = resource_json(a_status(exceptions=excepted(unreadable=2, refused=30, invalid=25)))

    told = shown["exceptions"]
    assert (told["unreadable"], told["refused"], told["invalid"]) == (2, 30, 25)
    assert len(told["first"]) == 20
    assert {one["kind"] for one in told["first"]} == {"unreadable", "refused", "invalid"}, "each kind is among them"
    assert told["first"][0] == {"key": "/u0", "kind": "unreadable", "why": "no reason"}
    assert (shown["invalid"]["count"], len(shown["invalid"]["first"])) == (25, 20)
    assert shown["invalid"]["first"][0] == {"key": "/i0", "message": "no reason"}


def test_a_long_key_and_a_long_reason_are_shortened_and_stay_apart() -> None:
    exceptions = Exceptions(dict, lambda: {"/" + "a" * 5_000_000 + end: "b" * 5_000_000 for end in "xy"}, dict)
    first, second = resource_json(a_status(exceptions=exceptions))["exceptions"]["first"]

    assert first["key"] != second["key"]
    assert len(json.dumps([first, second])) < 2_000


def test_the_contracts_example_comes_out_as_it_stands_there() -> None:
    expected = json.loads(CONTRACT)
    expected["sync"][0]["lastResult"]["durationSeconds"] = 1.84
    expected["sync"][0] |= ADDED

    assert sync_json(True, "host-1234", [a_status()]) == expected


def test_a_resource_that_never_synced_shows_nulls_and_no_missing_key() -> None:
    status = a_status(
        state=SyncState(resource_type="services"),
        is_stale=True,
        age_seconds=None,
        in_sync=False,
        confirmed_at=None,
        decision=None,
        informer_state=InformerState.CONNECTING,
        last_result=None,
    )

    shown = resource_json(status)

    assert shown.keys() == json.loads(CONTRACT)["sync"][0].keys() | ADDED.keys()
    assert shown["status"] == "never"
    empty = ("lastSyncTime", "lastSyncDuration", "lastSyncCount", "resourceVersion", "ageSeconds", "confirmedAt")
    assert [shown[key] for key in (*empty, "decision", "lastResult")] == [None] * 8


def test_a_running_sync_shows_its_progress() -> None:
    progress = Progress(read=5, inserted=4, updated=1, deleted=0, unchanged=0, elapsed_seconds=0.25)

    assert progress_json(progress) == {
        "read": 5,
        "inserted": 4,
        "updated": 1,
        "deleted": 0,
        "unchanged": 0,
        "elapsedSeconds": 0.25,
        "total": None,
    }


def test_what_could_not_be_read_or_stored_is_a_warning() -> None:
    result = a_result(
        unreadable_count=3, unreadable=("/a", "/b"), failed_documents=1, failed_samples=("/x: too\nlarge",)
    )

    assert result_json(result)["warnings"] == {
        "unreadable": 3,
        "unreadableRoots": ["/a", "/b"],
        "failedDocuments": 1,
        "failedSamples": ["/x: too large"],
    }


def test_a_failed_sync_tells_its_error_on_one_line() -> None:
    status = a_status(
        state=a_state(status=SyncStatus.FAILED, error="first line\n  second line"),
        last_result=a_result(error="first line\n  second line"),
    )

    shown = resource_json(status)

    assert shown["error"] == "first line second line"
    assert shown["lastResult"]["error"] == "first line second line"


def test_the_last_periodic_comparison_is_told_with_its_samples() -> None:
    outcome = VerifyOutcome(
        finished_at=at(3), compared=9, missing=1, different=2, repaired=3, samples={"missing": ("/a",)}
    )

    assert resource_json(a_status(last_verify=outcome))["lastVerify"] == {
        "finishedAt": "2026-11-20T21:00:03.000Z",
        "compared": 9,
        "missing": 1,
        "extra": 0,
        "different": 2,
        "repaired": 3,
        "unreadable": 0,
        "samples": {"missing": ["/a"]},
        "error": None,
    }


def test_a_periodic_comparison_that_failed_tells_its_error_on_one_line() -> None:
    shown = verify_json(VerifyOutcome(finished_at=at(3), error="the source\n  is away"))

    assert (shown["error"], shown["compared"]) == ("the source is away", 0)


def test_the_summary_counts_every_status_and_staleness_by_itself() -> None:
    kinds = [SyncStatus.COMPLETED, SyncStatus.COMPLETED, SyncStatus.FAILED, SyncStatus.IN_PROGRESS, SyncStatus.NEVER]
    statuses = [a_status(state=a_state(status=kind), is_stale=number < 3) for number, kind in enumerate(kinds)]

    assert summary_json(statuses) == {"total": 5, "completed": 2, "failed": 1, "inProgress": 1, "never": 1, "stale": 3}


def test_times_are_utc_with_milliseconds_and_never_later_than_the_truth() -> None:
    berlin = timezone(timedelta(hours=1))

    assert iso(datetime(2026, 11, 20, 22, 0, 0, 999_999, tzinfo=berlin)) == "2026-11-20T21:00:00.999Z"
    assert iso(at(1)) == "2026-11-20T21:00:01.000Z"
    assert iso(None) is None


def test_a_very_long_error_is_cut() -> None:
    shown = one_line("x" * 10_000)

    assert shown is not None
    assert len(shown) == 500
