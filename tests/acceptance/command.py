"""The command line as a user has it: processes, exit codes, stdout and stderr, HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0
STOP_SECONDS = 10.0
"""The contract: exit within ten seconds of the signal."""


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without hybridsync's variables, and `settings` with the prefix put on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HYBRIDSYNC_")}
    return kept | {"PYTHONPATH": str(ROOT)} | {f"HYBRIDSYNC_{name}": value for name, value in settings.items()}


def settings_for(zookeeper: str, mongodb: str, path: str, **more: str) -> dict[str, str]:
    """One resource, `services`, that mirrors `path`."""
    return {
        "ZOOKEEPER_HOSTS": zookeeper,
        "MONGODB_URI": mongodb,
        "RESOURCES": json.dumps({"services": {"source": {"type": "zookeeper", "path": path}}}),
        "HTTP_PORT": "0",
        "LOG_FORMAT": "json",
        **more,
    }


def hybridsync(
    *arguments: str, settings: Mapping[str, str] | None = None, cwd: Path | None = None, seconds: float = 100.0
) -> subprocess.CompletedProcess[str]:
    """One command, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "hybridsync", *arguments],
        env=environment(settings or {}),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"after {seconds:g} s still not so: {what}"
        time.sleep(0.02)
    return answer


class Running:
    """A command that goes on until it is told to stop."""

    def __init__(self, *arguments: str, settings: Mapping[str, str], cwd: Path | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hybridsync", *arguments],
            env=environment(settings),
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            threading.Thread(target=self._drain, args=(stream, lines), daemon=True).start()

    @staticmethod
    def _drain(stream: Any, lines: list[str]) -> None:
        with stream:
            lines.extend(iter(stream.readline, ""))

    @property
    def url(self) -> str:
        """Where it listens, as its log says."""
        return str(until(self._logged_url, "the service listens"))

    def _logged_url(self) -> str | None:
        assert self.process.poll() is None, "".join(self.err)
        for line in list(self.err):
            if line.startswith("{") and '"listening"' in line:
                return str(json.loads(line)["url"])
        return None

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, Any]:
        """Status and JSON of one request."""
        request = urllib.request.Request(self.url + path, data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def resource(self) -> dict[str, Any]:
        """The only resource's entry in `/health/sync`."""
        entry: dict[str, Any] = self.ask("/health/sync")[1]["sync"][0]
        return entry

    def until_in_sync(self) -> None:
        """Waits for the mirror to be equal."""
        until(lambda: self.ask("/health/ready")[0] == 200 and self.resource()["inSync"], "ready and in sync")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Sends the signal and returns the exit code and the seconds it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS), time.monotonic() - began


@contextmanager
def running(*arguments: str, settings: Mapping[str, str], cwd: Path | None = None) -> Iterator[Running]:
    """`hybridsync ARGUMENTS` for the length of a block; killed at the end if it still runs."""
    service = Running(*arguments, settings=settings, cwd=cwd)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.process.kill()
        service.process.wait(PATIENCE_SECONDS)
