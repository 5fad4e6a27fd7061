"""Takes the samples of a soak: the process every few seconds, latencies all the time, in threads of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from kazoo.client import KazooClient
from pymongo.collection import Collection

from tests.service import Service
from tests.soak import process
from tests.soak.verdict import Sample

PROCESS_SECONDS = 2.0
PROBE_SECONDS = 0.25
PROPAGATION_SECONDS = 0.5
SCRAPE_SECONDS = 5.0
"""Between two of each."""

_LATE_SECONDS = 60.0
_POLL_SECONDS = 0.002
_MILLISECONDS = 1000


class Sampler:
    """Samples while the `with` block lasts; `samples` by the name of the figure. Errors are raised at its end.

    `canary` is a znode of the mirrored tree, `aside` one outside of it; nobody else writes them.
    """

    def __init__(
        self,
        service: Service,
        ports: tuple[int, int],
        zk: KazooClient,
        canary: str,
        aside: str,
        mirror: Collection[dict[str, Any]],
    ) -> None:
        self.samples: dict[str, list[Sample]] = {}
        self.began = time.monotonic()
        self._service = service
        self._zookeeper_port, self._mongodb_port = ports
        self._zk = zk
        self._canary = canary
        self._aside = aside
        self._mirror = mirror
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [
            self._thread(self._process, PROCESS_SECONDS),
            self._thread(self._probe, PROBE_SECONDS),
            self._thread(self._propagation, PROPAGATION_SECONDS),
            self._thread(self._scrape, SCRAPE_SECONDS),
        ]

    @property
    def elapsed(self) -> float:
        """Seconds since it was made: the time of the samples."""
        return time.monotonic() - self.began

    @property
    def failed(self) -> bool:
        """Whether a sample could not be taken: the soak need not go on."""
        return bool(self._errors)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * _LATE_SECONDS)
        if error is None and self._errors:
            raise self._errors[0]

    def _thread(self, take: Callable[[], None], seconds: float) -> threading.Thread:
        def run() -> None:
            try:
                while not self._stop.wait(seconds):
                    take()
            except BaseException as error:
                self._errors.append(error)

        return threading.Thread(target=run, name=take.__name__, daemon=True)

    def _note(self, name: str, value: float) -> None:
        self.samples.setdefault(name, []).append(Sample(self.elapsed, value))

    def _note_latency(self, name: str, began: float) -> None:
        taken = (time.monotonic() - began) * _MILLISECONDS
        self._note(f"{name} p50", taken)
        self._note(f"{name} p95", taken)

    def _process(self) -> None:
        pid = self._service.pid
        connections = process.connections(pid)
        self._note("resident memory", process.resident_mib(pid))
        self._note("threads", process.threads(pid))
        self._note("file descriptors", process.descriptors(pid))
        self._note("connections to ZooKeeper", connections[self._zookeeper_port])
        self._note("connections to MongoDB", connections[self._mongodb_port])

    def _probe(self) -> None:
        began = time.monotonic()
        status, body = self._service.get("/health/live")
        if status != 200:
            raise RuntimeError(f"/health/live answered {status}: {body}")
        self._note_latency("probe", began)

    def _propagation(self) -> None:
        """From before a `set` until a reader, who asks all the time, sees it; then both servers without the service."""
        began = time.monotonic()
        version = self._zk.set(self._canary, b'{"at": %d}' % int(began * _MILLISECONDS)).mzxid
        while (self._mirror.find_one({"_id": self._canary}, {"version": 1}) or {}).get("version") != version:
            if time.monotonic() > began + _LATE_SECONDS:
                raise RuntimeError(f"a change is not in the mirror after {_LATE_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)
        self._note_latency("propagation", began)
        began = time.monotonic()
        self._zk.set(self._aside, b"")
        self._mirror.find_one({"_id": self._canary}, {"version": 1})
        self._note_latency("both servers", began)

    def _scrape(self) -> None:
        """What Prometheus and people do: an answer that grows or leaks would show."""
        for path in ("/metrics", "/health/sync", "/health/ready"):
            status, body = self._service.get(path)
            if status != 200:
                raise RuntimeError(f"{path} answered {status}: {body}")
