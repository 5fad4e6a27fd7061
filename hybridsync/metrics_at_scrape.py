"""The metric families that are read from the manager's memory when Prometheus asks.

Label values come from closed sets (names of resources, words of the code), so the number of series is
bounded by the configuration. Counters have a series for each of their label values from the start on: a
count that begins at 1 would be no rise.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from hybridsync.exceptions import ExceptionKind
from hybridsync.state import SyncStatus
from hybridsync.status import Counters, InformerState, ResourceStatus, Trigger
from hybridsync.version import version

if TYPE_CHECKING:
    from hybridsync.manager import HybridSyncManager

WRITES = ("inserted", "updated", "deleted", "unchanged")
PROGRESS = ("read", *WRITES)
DRIFT = ("missing", "extra", "different")


class ManagerCollector(Collector):
    """What a manager says at the moment of the scrape. `lags`: the last delays of the event loop, in seconds."""

    def __init__(self, manager: HybridSyncManager, lags: Iterable[float]) -> None:
        self._manager = manager
        self._lags = lags
        self._counted_at = dict.fromkeys(manager.resource_names, 0)

    def counted(self, resource: str) -> None:
        """Says that a full sync has just counted the records of `resource`."""
        self._counted_at[resource] = _net(self._manager.counters[resource])

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are not checked against those of other collectors."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family, also those without a series at this moment."""
        manager = self._manager
        yield _gauge("ready", "1 while the readiness probe answers 200.", float(manager.readiness().ready))
        yield _gauge("mongodb_reachable", "1 while MongoDB answers.", float(manager.mongodb_reachable))
        lag = max(self._lags, default=0.0)
        yield _gauge("event_loop_lag_seconds", "Longest delay of the event loop in the last 15 s.", lag)
        build = _family("build_info", "Always 1; the labels tell the version.", "version", "python")
        build.add_metric([version(), platform.python_version()], 1)
        yield build
        statuses = manager.statuses()
        yield from _moments(statuses)
        yield from self._amounts(statuses)
        yield from _progress(statuses)
        yield from _verified(statuses)
        yield from _words(statuses)
        yield from self._counters()

    def _amounts(self, statuses: list[ResourceStatus]) -> Iterator[Metric]:
        stale = _per_resource("stale", "1 when the last completed full sync is too old or there is none.")
        in_sync = _per_resource("in_sync", "1 while watching, with no gap and nothing pending.")
        records = _per_resource("records", "Records in the mirror: counted by the last full sync, and changes since.")
        pending = _per_resource("pending_changes", "Changed keys that the mirror has not acknowledged yet.")
        invalid = _per_resource("invalid_records", "Records that break the rules of the resource and are held back.")
        exceptions = _family("exceptions", "Records that are not in the mirror as they should be.", "resource", "kind")
        counters = self._manager.counters
        for status in statuses:
            label = [status.name]
            since = _net(counters[status.name]) - self._counted_at[status.name]
            stale.add_metric(label, float(status.is_stale))
            in_sync.add_metric(label, float(status.in_sync))
            records.add_metric(label, float(max(0, (status.state.last_sync_count or 0) + since)))
            pending.add_metric(label, float(status.pending))
            invalid.add_metric(label, float(status.exceptions.count(ExceptionKind.INVALID)))
            for kind in ExceptionKind:
                exceptions.add_metric([status.name, kind.value], float(status.exceptions.count(kind)))
        yield from (stale, in_sync, records, pending, invalid, exceptions)

    def _counters(self) -> Iterator[Metric]:
        families = {field: _counter(name, text) for field, name, text in _COUNTERS}
        changes = _counter("changes", "Records written to, or found unchanged in, the mirror.", "operation")
        syncs = _counter("syncs", "Full syncs that ended, by what started them.", "trigger", "result")
        for resource, counters in self._manager.counters.items():
            for operation in WRITES:
                changes.add_metric([resource, operation], getattr(counters, operation))
            for trigger in Trigger:
                for result, succeeded in (("success", True), ("failure", False)):
                    syncs.add_metric([resource, trigger.value, result], counters.syncs.get((trigger, succeeded), 0))
            for field, family in families.items():
                family.add_metric([resource], getattr(counters, field))
        yield from (changes, syncs, *families.values())


_COUNTERS = (
    ("events", "events", "Change events of the watch."),
    ("reconnects", "informer_reconnects", "Abnormal ends of the watch that led to a reconnect."),
    ("expiries", "session_expiries", "Sessions that the source ended."),
    ("gaps", "gaps", "Times during which events may have been missed."),
    ("failed_documents", "failed_documents", "Documents that could not be stored."),
)
"""Field of `Counters`, name of the metric without prefix and `_total`, and what it counts."""


def _moments(statuses: list[ResourceStatus]) -> Iterator[Metric]:
    """A moment that never was is 0, so that an alert on its age fires; a gap that is not there is absent,
    so that an alert on its age does not."""
    last = _per_resource("last_sync_timestamp_seconds", "Last completed full sync, Unix time; 0 when none.")
    confirmed = _per_resource(
        "confirmed_timestamp_seconds", "Every change before this Unix time is mirrored; 0: unknown."
    )
    gap = _per_resource("gap_since_timestamp_seconds", "Since when events may be missing, Unix time; absent when none.")
    for status in statuses:
        last.add_metric([status.name], _timestamp(status.state.last_sync_time))
        confirmed.add_metric([status.name], _timestamp(status.confirmed_at))
        if status.gap_since is not None:
            gap.add_metric([status.name], _timestamp(status.gap_since))
    yield from (last, confirmed, gap)


def _progress(statuses: list[ResourceStatus]) -> Iterator[Metric]:
    records = _family(
        "sync_progress_records", "Records a running full sync has come to; absent when none.", "resource", "operation"
    )
    elapsed = _per_resource("sync_elapsed_seconds", "How long the running full sync has taken; absent when none.")
    for status in statuses:
        if status.progress is not None:
            for operation in PROGRESS:
                records.add_metric([status.name, operation], getattr(status.progress, operation))
            elapsed.add_metric([status.name], status.progress.elapsed_seconds)
    yield from (records, elapsed)


def _verified(statuses: list[ResourceStatus]) -> Iterator[Metric]:
    """Of the last comparison; absent before the first, and its counts when it found nothing and was not finished."""
    at = _per_resource("verify_timestamp_seconds", "When source and mirror were compared last, Unix time.")
    failed = _per_resource("verify_failed", "1 when the last comparison, or its repair, could not be finished.")
    compared = _per_resource("verify_compared_records", "Records of the source in the last comparison.")
    drift = _family("verify_drift_records", "Records that differed in the last comparison.", "resource", "kind")
    repaired = _per_resource("verify_repaired_records", "Of those, how many were repaired at once.")
    for status in statuses:
        last = status.last_verify
        if last is None:
            continue
        label = [status.name]
        at.add_metric(label, _timestamp(last.finished_at))
        failed.add_metric(label, float(last.error is not None))
        if last.error is None or last.missing + last.extra + last.different:
            compared.add_metric(label, last.compared)
            repaired.add_metric(label, last.repaired)
            for kind in DRIFT:
                drift.add_metric([status.name, kind], getattr(last, kind))
    yield from (at, failed, compared, drift, repaired)


def _words(statuses: list[ResourceStatus]) -> Iterator[Metric]:
    """What is a word in `/health/sync`: one series a possible word, 1 for the one that holds."""
    sync = _family("resource_status", "1 for the status of the last full sync.", "resource", "status")
    informer = _family("informer_state", "1 for the state of the watch.", "resource", "state")
    decision = _family(
        "decision_info", "Always 1; the labels tell what start-up decided.", "resource", "mode", "action", "reason"
    )
    for status in statuses:
        for word in SyncStatus:
            sync.add_metric([status.name, word.value], float(status.state.status is word))
        for state in InformerState:
            informer.add_metric([status.name, state.value], float(status.informer_state is state))
        if status.decision is not None:
            made = status.decision
            decision.add_metric([status.name, made.mode.value, made.action.value, made.reason.value], 1)
    yield from (sync, informer, decision)


def _net(counters: Counters) -> int:
    """How many records the mirror has gained since the process started."""
    return counters.inserted - counters.deleted


def _timestamp(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"hybridsync_{name}", text, value=value)


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"hybridsync_{name}", text, labels=labels)


def _per_resource(name: str, text: str) -> GaugeMetricFamily:
    return _family(name, text, "resource")


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"hybridsync_{name}", text, labels=["resource", *labels])
