"""What Prometheus sees of one manager.

Most families are read from the manager's memory at the moment of the scrape, so a figure here is the
same as in `/health/sync`. Durations that must not be lost between two scrapes are histograms, fed by
the manager's listeners. Every manager has a registry of its own.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from hybridsync.state import SyncStatus
from hybridsync.status import InformerState, ResourceStatus, SyncResult
from hybridsync.version import version

if TYPE_CHECKING:
    from hybridsync.manager import HybridSyncManager

SYNC_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
PROPAGATION_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

LAG_SAMPLE_SECONDS = 0.25
LAG_WINDOW = 60
"""Samples the lag gauge looks back on: the worst of the last 15 s survives until the next scrape."""


class Metrics:
    """The metrics of one manager. `sample_lag` is to run as a task next to it."""

    def __init__(self, manager: HybridSyncManager) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._lags: deque[float] = deque(maxlen=LAG_WINDOW)
        self._sync_duration = Histogram(
            "hybridsync_sync_duration_seconds",
            "Duration of full syncs.",
            ["resource", "trigger", "result"],
            buckets=SYNC_BUCKETS,
            registry=self.registry,
        )
        self._propagation = Histogram(
            "hybridsync_propagation_seconds",
            "From the change at the source to its acknowledgement by the mirror.",
            ["resource"],
            buckets=PROPAGATION_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_ManagerCollector(manager, self._lags))
        ProcessCollector(registry=self.registry)
        manager.add_sync_listener(self._on_sync)
        manager.add_propagation_listener(self._on_propagation)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its content type, in the format that an `Accept` header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    async def sample_lag(self) -> None:
        """Measures for ever how late the event loop wakes up."""
        while True:
            due = time.monotonic() + LAG_SAMPLE_SECONDS
            await asyncio.sleep(LAG_SAMPLE_SECONDS)
            self._lags.append(max(0.0, time.monotonic() - due))

    def _on_sync(self, resource: str, result: SyncResult) -> None:
        outcome = "success" if result.error is None else "failure"
        self._sync_duration.labels(resource, result.trigger.value, outcome).observe(result.duration_seconds)

    def _on_propagation(self, resource: str, seconds: float) -> None:
        # The two clocks are two machines' clocks: a change never arrives before it was made.
        self._propagation.labels(resource).observe(max(0.0, seconds))


class _ManagerCollector(Collector):
    def __init__(self, manager: HybridSyncManager, lags: Iterable[float]) -> None:
        self._manager = manager
        self._lags = lags

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        manager = self._manager
        yield _gauge("ready", "1 while the readiness probe answers 200.", float(manager.readiness().ready))
        yield _gauge("mongodb_reachable", "1 while MongoDB answers.", float(manager.mongodb_reachable))
        lag = max(self._lags, default=0.0)
        yield _gauge("event_loop_lag_seconds", "Longest delay of the event loop in the last 15 s.", lag)
        build = GaugeMetricFamily(
            "hybridsync_build_info", "Always 1; the labels tell the version.", labels=["version", "python"]
        )
        build.add_metric([version(), platform.python_version()], 1)
        yield build
        statuses = manager.statuses()
        yield from _resource_gauges(statuses)
        yield from _resource_words(statuses)
        yield from self._counters()

    def _counters(self) -> Iterator[Metric]:
        families = {field: _counter(name, text) for field, name, text in _COUNTERS}
        changes = _counter("changes", "Records written to, or found unchanged in, the mirror.", "operation")
        for resource, counters in self._manager.counters.items():
            for operation in ("inserted", "updated", "deleted", "unchanged"):
                changes.add_metric([resource, operation], getattr(counters, operation))
            for field, family in families.items():
                family.add_metric([resource], getattr(counters, field))
        yield changes
        yield from families.values()


_COUNTERS = (
    ("events", "events", "Change events of the watch."),
    ("reconnects", "informer_reconnects", "Abnormal ends of the watch that led to a reconnect."),
    ("expiries", "session_expiries", "Sessions that the source ended."),
    ("gaps", "gaps", "Times during which events may have been missed."),
    ("failed_documents", "failed_documents", "Documents that could not be stored."),
)
"""Field of `Counters`, name of the metric without prefix and `_total`, and what it counts."""


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"hybridsync_{name}", text, labels=["resource", *labels])


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"hybridsync_{name}", text, value=value)


def _resource_gauges(statuses: list[ResourceStatus]) -> Iterator[Metric]:
    """One number a resource. A moment that never was is 0, so that an alert on its age fires;
    a gap that is not there is absent, so that an alert on its age does not."""

    def family(name: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"hybridsync_{name}", text, labels=["resource"])

    last = family("last_sync_timestamp_seconds", "Last completed full sync, Unix time; 0 when none.")
    confirmed = family("confirmed_timestamp_seconds", "Every change before this Unix time is mirrored; 0: unknown.")
    gap = family("gap_since_timestamp_seconds", "Since when events may be missing, Unix time; absent when none.")
    stale = family("stale", "1 when the last completed full sync is too old or there is none.")
    in_sync = family("in_sync", "1 while watching, with no gap and nothing pending.")
    records = family("records", "Records read by the last completed full sync.")
    pending = family("pending_changes", "Changed keys that the mirror has not acknowledged yet.")
    for status in statuses:
        label = [status.name]
        last.add_metric(label, _timestamp(status.state.last_sync_time))
        confirmed.add_metric(label, _timestamp(status.confirmed_at))
        if status.gap_since is not None:
            gap.add_metric(label, _timestamp(status.gap_since))
        stale.add_metric(label, float(status.is_stale))
        in_sync.add_metric(label, float(status.in_sync))
        records.add_metric(label, float(status.state.last_sync_count or 0))
        pending.add_metric(label, float(status.pending))
    yield from (last, confirmed, gap, stale, in_sync, records, pending)


def _resource_words(statuses: list[ResourceStatus]) -> Iterator[Metric]:
    """What is a word in `/health/sync`: one series a possible word, 1 for the one that holds."""
    sync = GaugeMetricFamily(
        "hybridsync_resource_status", "1 for the status of the last full sync.", labels=["resource", "status"]
    )
    informer = GaugeMetricFamily(
        "hybridsync_informer_state", "1 for the state of the watch.", labels=["resource", "state"]
    )
    decision = GaugeMetricFamily(
        "hybridsync_decision_info",
        "Always 1; the labels tell what start-up decided.",
        labels=["resource", "mode", "action", "reason"],
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


def _timestamp(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()
