"""`hybridsync run` as a process of its own, seen from outside only: HTTP, log, /proc."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.rig import COLLECTION, ROOT, environ
from hybridsync.embedded.ports import LOOPBACK, free_port

PATIENCE_SECONDS = 600.0
STOP_SECONDS = 30.0
_REQUEST_SECONDS = 600.0
_RARELY_SECONDS = 0.05
"""Between two questions: answers cost the service time that is being measured."""

_MB = 1024


class Service:
    """One process, started by `with`; ended by SIGTERM, or by force when the block is left with an error.

    `began`: `time.monotonic()` right before it was started.
    """

    def __init__(self, settings: Mapping[str, str], log: Path) -> None:
        self.port = free_port()
        self.began = 0.0
        self._settings = {"HTTP_PORT": str(self.port), "LOG_FORMAT": "json", **settings}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self.began = time.monotonic()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hybridsync", "run"],
                env=environ(self._settings),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self.resume()
        self._process.send_signal(signal.SIGTERM if error is None else signal.SIGKILL)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if error is not None:
            error.add_note(f"the service wrote: {self._log.read_text(errors='replace')[-2000:]}")

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{LOOPBACK}:{self.port}"

    # -- HTTP -------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Status and text. Raises `OSError` while nobody listens."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=_REQUEST_SECONDS)
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def resource(self) -> dict[str, Any]:
        """Its entry in `/health/sync`."""
        entry: dict[str, Any] = json.loads(self.ask("GET", "/health/sync")[1])["sync"][0]
        return entry

    def resync(self) -> dict[str, Any]:
        """Triggers a full sync, waits for it, and returns its result."""
        status, text = self.ask("POST", "/health/sync/trigger", {"wait": True})
        result: dict[str, Any] = json.loads(text)["results"][COLLECTION]
        if status != 200 or "error" in result:
            raise RuntimeError(f"the full sync failed: {status} {text}")
        return result

    def counter(self, name: str) -> float:
        """The sum of a counter in `/metrics` over all its labels."""
        lines = self.ask("GET", "/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))

    # -- waiting ----------------------------------------------------------------------------------

    def wait_ready(self, pause: float = _RARELY_SECONDS) -> float:
        """Seconds from the start of the process to the first 200 of `/health/ready`, asked every `pause` seconds."""
        self.wait_until(lambda: self.ask("GET", "/health/ready")[0] == 200, "ready", pause)
        return time.monotonic() - self.began

    def wait_in_sync(self) -> dict[str, Any]:
        """Returns the resource's entry once it says `inSync`."""
        found: list[dict[str, Any]] = []

        def in_sync() -> bool:
            found[:] = [self.resource()]
            return bool(found[0]["inSync"])

        self.wait_until(in_sync, "in sync")
        return found[0]

    def wait_until(self, holds: Callable[[], bool], what: str, pause: float = _RARELY_SECONDS) -> None:
        """Asks again and again. Raises `RuntimeError` when the process ends or the time is over."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                if holds():
                    return
            except OSError:
                pass  # it does not listen yet
            time.sleep(pause)
        raise RuntimeError(f"the service is not {what}")

    # -- the process ------------------------------------------------------------------------------

    def peak_memory_mb(self) -> float:
        """The largest resident size so far (VmHWM), in MiB."""
        return peak_memory_mb(self.pid)

    def freeze(self) -> None:
        """Stops the process where it is; its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a frozen process run on."""
        assert self._process is not None
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGCONT)

    def logged(self, message: str) -> list[datetime]:
        """When lines with exactly this message were written."""
        entries = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [datetime.fromisoformat(entry["timestamp"]) for entry in entries if entry.get("message") == message]


def peak_memory_mb(pid: int) -> float:
    """The largest resident size of a process so far (VmHWM), in MiB. Raises `RuntimeError` where it is not told."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / _MB
    raise RuntimeError("/proc tells no VmHWM")
