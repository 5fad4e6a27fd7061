"""Status as JSON: the one place where the names of the contract are made. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from hybridsync.clock import utc_now
from hybridsync.decision import Decision
from hybridsync.exceptions import Excepted, ExceptionKind, Exceptions
from hybridsync.state import SyncStatus
from hybridsync.status import Progress, Readiness, ResourceStatus, SyncResult, VerifyOutcome

Json: TypeAlias = dict[str, Any]

NO_STORE = {"Cache-Control": "no-store"}
"""The header of every answer: an old answer of a probe is worse than none."""

_EXCEPTIONS_SHOWN = 20

_LONGEST_LINE = 500
"""Characters of an error that are shown: a probe's answer stays readable."""


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and `Z`. Cut, not rounded: a promise is never dated too late.

    What lies ahead of a clock that was set back is told as now.
    """
    if moment is None:
        return None
    moment = min(moment, utc_now())
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(duration: float | None) -> float | None:
    """A duration in seconds, to the millisecond."""
    return None if duration is None else round(float(duration), 3)


def one_line(text: str | None) -> str | None:
    """The text on one line, shortened when very long."""
    if text is None:
        return None
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"


def decision_json(decision: Decision) -> Json:
    """What start-up decided, in the words that `plan`, the log and the metrics use too."""
    return {
        "mode": decision.mode.value,
        "action": decision.action.value,
        "reason": decision.reason.value,
        "blocking": decision.blocking,
        "detail": one_line(decision.detail),
    }


def exceptions_json(exceptions: Exceptions) -> Json:
    """How many records are not in the mirror as they should be, by kind, and some of them."""
    counts = {kind.value: exceptions.count(kind) for kind in ExceptionKind}
    return {**counts, "first": [excepted_json(one) for one in exceptions.first(_EXCEPTIONS_SHOWN)]}


def excepted_json(one: Excepted) -> Json:
    """One of them."""
    return {"key": one.key, "kind": one.kind.value, "why": one.why}


def invalid_json(exceptions: Exceptions) -> Json:
    """The invalid ones by themselves, in the words of versions that knew no other exceptions."""
    first = exceptions.first(_EXCEPTIONS_SHOWN, ExceptionKind.INVALID)
    return {
        "count": exceptions.count(ExceptionKind.INVALID),
        "first": [{"key": one.key, "message": one.why} for one in first],
    }


def progress_json(progress: Progress) -> Json:
    """How far a running full sync is."""
    return {
        "read": progress.read,
        "inserted": progress.inserted,
        "updated": progress.updated,
        "deleted": progress.deleted,
        "unchanged": progress.unchanged,
        "elapsedSeconds": seconds(progress.elapsed_seconds),
        "total": progress.total,
    }


def result_json(result: SyncResult) -> Json:
    """How a full sync ended. `warnings` and `error` are there only when there is something to say."""
    answer: Json = {
        "trigger": result.trigger.value,
        "read": result.read,
        "inserted": result.inserted,
        "updated": result.updated,
        "deleted": result.deleted,
        "unchanged": result.unchanged,
        "durationSeconds": seconds(result.duration_seconds),
    }
    if result.unreadable_count or result.failed_documents:
        answer["warnings"] = {
            "unreadable": result.unreadable_count,
            "unreadableRoots": list(result.unreadable),
            "failedDocuments": result.failed_documents,
            "failedSamples": [one_line(sample) for sample in result.failed_samples],
        }
    if result.error is not None:
        answer["error"] = one_line(result.error)
    return answer


def verify_json(outcome: VerifyOutcome) -> Json:
    """How the last periodic comparison of source and mirror ended."""
    return {
        "finishedAt": iso(outcome.finished_at),
        "compared": outcome.compared,
        "missing": outcome.missing,
        "extra": outcome.extra,
        "different": outcome.different,
        "repaired": outcome.repaired,
        "unreadable": outcome.unreadable,
        "samples": {kind: list(keys) for kind, keys in outcome.samples.items()},
        "error": one_line(outcome.error),
    }


def resource_json(status: ResourceStatus) -> Json:
    """One entry of `sync` in `GET /health/sync`."""
    state = status.state
    return {
        "resourceType": status.name,
        "status": state.status.value,
        "lastSyncTime": iso(state.last_sync_time),
        "lastSyncDuration": seconds(state.last_sync_duration),
        "lastSyncCount": state.last_sync_count,
        "resourceVersion": None if state.resource_version is None else str(state.resource_version),
        "error": one_line(state.error),
        "informerReconnectCount": state.informer_reconnect_count,
        "isStale": status.is_stale,
        "ageSeconds": seconds(status.age_seconds),
        "inSync": status.in_sync,
        "confirmedAt": iso(status.confirmed_at),
        "gapSince": iso(status.gap_since),
        "decision": None if status.decision is None else decision_json(status.decision),
        "exceptions": exceptions_json(status.exceptions),
        "informer": {
            "state": status.informer_state.value,
            "since": iso(status.informer_since),
            "lastEventTime": iso(status.last_event_time),
            "pending": status.pending,
        },
        "progress": None if status.progress is None else progress_json(status.progress),
        "lastResult": None if status.last_result is None else result_json(status.last_result),
        "lastVerify": None if status.last_verify is None else verify_json(status.last_verify),
        "invalid": invalid_json(status.exceptions),
    }


def summary_json(statuses: Sequence[ResourceStatus]) -> Json:
    """How many resources are in which status."""

    def having(status: SyncStatus) -> int:
        return sum(1 for each in statuses if each.state.status is status)

    return {
        "total": len(statuses),
        "completed": having(SyncStatus.COMPLETED),
        "failed": having(SyncStatus.FAILED),
        "inProgress": having(SyncStatus.IN_PROGRESS),
        "never": having(SyncStatus.NEVER),
        "stale": sum(1 for each in statuses if each.is_stale),
    }


def sync_json(ready: bool, instance: str, statuses: Sequence[ResourceStatus]) -> Json:
    """The whole answer of `GET /health/sync`."""
    return {
        "ready": ready,
        "instance": instance,
        "summary": summary_json(statuses),
        "sync": [resource_json(status) for status in statuses],
    }


def readiness_json(readiness: Readiness) -> Json:
    """The answer of `GET /health/ready`."""
    return {
        "ready": readiness.ready,
        "reason": one_line(readiness.reason),
        "waitingFor": list(readiness.waiting_for),
    }
