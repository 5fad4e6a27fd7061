"""What Prometheus sees of one manager: the registry, the histograms, the event loop's lag.

Most families are read from the manager's memory at the moment of the scrape (`metrics_at_scrape.py`), so a
figure there is the same as in `/health/sync`. Durations that must not be lost between two scrapes are
histograms, fed as things happen. Every manager has a registry of its own; docs/operations.md lists all names.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

from hybridsync.metrics_at_scrape import ManagerCollector
from hybridsync.status import SyncResult

if TYPE_CHECKING:
    from hybridsync.manager import HybridSyncManager

SYNC_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
PROPAGATION_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
REQUEST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)

LAG_SAMPLE_SECONDS = 0.25
LAG_WINDOW = 60
"""Samples the lag gauge looks back on: the worst of the last 15 s survives until the next scrape."""


class Metrics:
    """The metrics of one manager. `sample_lag` is to run as a task next to it."""

    def __init__(self, manager: HybridSyncManager) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._lags: deque[float] = deque(maxlen=LAG_WINDOW)
        self._sync_duration = self._histogram(
            "sync_duration_seconds", "Duration of full syncs.", ("resource", "trigger", "result"), SYNC_BUCKETS
        )
        self._propagation = self._histogram(
            "propagation_seconds",
            "From the change at the source to its acknowledgement by the mirror.",
            ("resource",),
            PROPAGATION_BUCKETS,
        )
        self._requests = self._histogram(
            "http_request_duration_seconds", "Time to answer a request of a known route.", ("route",), REQUEST_BUCKETS
        )
        self._at_scrape = ManagerCollector(manager, self._lags)
        self.registry.register(self._at_scrape)
        ProcessCollector(registry=self.registry)
        for name in manager.resource_names:
            self._propagation.labels(name)  # a series from the start on: the first change is a rise
        manager.add_sync_listener(self._on_sync)
        manager.add_propagation_listener(self._on_propagation)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"hybridsync_{name}", text, labels, buckets=buckets, registry=self.registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its content type, in the format that an `Accept` header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def timed(self, route: str, handler: Handler) -> Handler:
        """The handler, with each of its answers measured. `route` is a path of ours, never what a caller sent."""
        histogram = self._requests.labels(route)

        async def measured(request: web.Request) -> web.StreamResponse:
            began = time.perf_counter()
            try:
                return await handler(request)
            finally:
                histogram.observe(time.perf_counter() - began)

        return measured

    async def sample_lag(self) -> None:
        """Measures for ever how late the event loop wakes up."""
        while True:
            due = time.monotonic() + LAG_SAMPLE_SECONDS
            await asyncio.sleep(LAG_SAMPLE_SECONDS)
            self._lags.append(max(0.0, time.monotonic() - due))

    def _on_sync(self, resource: str, result: SyncResult) -> None:
        outcome = "success" if result.error is None else "failure"
        self._sync_duration.labels(resource, result.trigger.value, outcome).observe(result.duration_seconds)
        if result.error is None:
            self._at_scrape.counted(resource)

    def _on_propagation(self, resource: str, seconds: float) -> None:
        # The two clocks are two machines' clocks: a change never arrives before it was made.
        self._propagation.labels(resource).observe(max(0.0, seconds))
