"""`Service`: `hybridsync run` as a process of its own, seen from outside only: HTTP, stderr, exit code."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from urllib.parse import urlsplit

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 60.0
REQUEST_SECONDS = 15.0


def settings_for(zookeeper_hosts: str, mongodb_uri: str, path: str, **more: str) -> dict[str, str]:
    """One resource, `services`, that mirrors `path`; `more` are variables without the prefix."""
    return {
        "ZOOKEEPER_HOSTS": zookeeper_hosts,
        "MONGODB_URI": mongodb_uri,
        "RESOURCES": json.dumps({"services": {"source": {"type": "zookeeper", "path": path}}}),
        **more,
    }


def wait_until(predicate: Callable[[], T | None], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """Asks until the answer is true, and returns it. An `AssertionError` means "not yet"."""
    deadline = time.monotonic() + seconds
    while True:
        last: Any
        try:
            last = predicate()
            if last:
                return cast(T, last)
        except AssertionError as error:
            last = error
        assert time.monotonic() < deadline, f"after {seconds:g} s still not so: {what}; last answer: {last!r}"
        time.sleep(0.02)


def moment(text: str) -> datetime:
    """A time of the contract (`2026-11-20T21:00:00.000Z`) as an aware datetime."""
    return datetime.fromisoformat(text)


class Service:
    """A service process. `settings`: variables without the prefix; `environ`: further ones, as they are.

    The port is chosen by the system and read from the log. Use it in a `with` block (which starts it,
    and kills what still runs at the end), or call `start` and `kill`.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        *,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        command: tuple[str, ...] = (sys.executable, "-m", "hybridsync", "run"),
    ) -> None:
        own = {"LOG_FORMAT": "json", "HTTP_PORT": "0", **settings}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HYBRIDSYNC_")}
        self._environ = kept | {"PYTHONPATH": str(ROOT)} | {f"HYBRIDSYNC_{k}": v for k, v in own.items()}
        self._environ |= environ or {}
        self._cwd = cwd
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self.stderr_lines: list[str] = []
        self.url = ""
        self.started_at = datetime.now(UTC)
        """When the process was started last."""
        self.ending = False
        """Whether the test has ended the process, or is about to."""

    @property
    def pid(self) -> int:
        """The id of the process that was started last."""
        assert self._process is not None, "the service was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Starts the process and returns once it listens; `stderr_lines` begins anew."""
        assert not self.running, "the service runs already"
        lines: list[str] = []
        self.stderr_lines = lines
        self.started_at = datetime.now(UTC)
        self.ending = False
        self._process = subprocess.Popen(
            self._command,
            env=self._environ,
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=_drain, args=(self._process, lines), daemon=True)
        self._reader.start()
        try:
            self.url = wait_until(self._logged_url, "the service listens")
        except BaseException:
            self.kill()
            raise
        return self

    def _logged_url(self) -> str | None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the service ended with {self._process.returncode}:\n{self.stderr}")
        return next((str(entry["url"]) for entry in self.logged("listening")), None)

    @property
    def stderr(self) -> str:
        """Everything it wrote to stderr so far."""
        return "\n".join(self.stderr_lines)

    def logged(self, message: str) -> list[dict[str, Any]]:
        """The JSON log lines with exactly this message, so far."""
        entries = [json.loads(line) for line in list(self.stderr_lines) if line.startswith("{")]
        return [entry for entry in entries if entry.get("message") == message]

    # -- HTTP -------------------------------------------------------------------------------------

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a GET."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Any = None, *, seconds: float = REQUEST_SECONDS) -> tuple[int, Any]:
        """Status and JSON of a POST; `body` is sent as JSON, `None` as no body."""
        return self._ask("POST", path, body, seconds)

    def _ask(self, method: str, path: str, body: Any, seconds: float = REQUEST_SECONDS) -> tuple[int, Any]:
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=seconds)
        try:
            sent = None if body is None else json.dumps(body)
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, sent, headers)
            response = connection.getresponse()
            text = response.read()
            is_json = "json" in (response.getheader("Content-Type") or "")
            return response.status, json.loads(text) if is_json else text.decode()
        finally:
            connection.close()

    def resource(self, name: str | None = None) -> dict[str, Any]:
        """One entry of `/health/sync`: that of `name`, or of the only resource."""
        entries: list[dict[str, Any]] = self.get("/health/sync")[1]["sync"]
        (entry,) = [each for each in entries if name in (None, each["resourceType"])]
        return entry

    # -- waiting ----------------------------------------------------------------------------------

    def wait_ready(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Returns once `/health/ready` says 200."""
        wait_until(self._is_ready, f"{self.url} is ready", seconds)

    def _is_ready(self) -> bool:
        status, body = self.get("/health/ready")
        assert status == 200, body
        return True

    def wait_in_sync(self, newer_than: datetime | None = None, seconds: float = PATIENCE_SECONDS) -> None:
        """Returns once every resource is in sync and confirmed later than `newer_than` (default: now).

        From then on everything that was acknowledged by the source before that moment is in the mirror.
        """
        since = newer_than or datetime.now(UTC)
        wait_until(lambda: self._is_in_sync(since), f"{self.url} is in sync and confirmed after {since}", seconds)

    def wait_confirmed(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Returns once every resource is confirmed later than now, whatever it excepts."""
        since = datetime.now(UTC)
        wait_until(lambda: self._is_confirmed(since), f"{self.url} is confirmed after {since}", seconds)

    def _is_confirmed(self, since: datetime) -> bool:
        for entry in self.get("/health/sync")[1]["sync"]:
            assert entry["gapSince"] is None, entry
            assert moment(entry["confirmedAt"]) > since, entry
        return True

    def _is_in_sync(self, since: datetime) -> bool:
        for entry in self.get("/health/sync")[1]["sync"]:
            assert entry["inSync"], entry
            assert moment(entry["confirmedAt"]) > since, entry
        return True

    # -- the end ----------------------------------------------------------------------------------

    def terminate(self, seconds: float = PATIENCE_SECONDS) -> int:
        """SIGTERM; returns the exit code once the process is gone."""
        assert self._process is not None, "the service was not started"
        self.ending = True
        self._process.terminate()
        return self._gone(seconds)

    def kill(self) -> None:
        """SIGKILL, and waits until the process is gone; does nothing when it is not there."""
        self.ending = True
        if self._process is not None:
            self._process.kill()
            self._gone(PATIENCE_SECONDS)

    def _gone(self, seconds: float) -> int:
        assert self._process is not None
        assert self._reader is not None
        code = self._process.wait(seconds)
        self._reader.join(seconds)
        return code

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if error is not None:
            error.add_note(f"the service wrote:\n{self.stderr[-6000:]}")


def _drain(process: subprocess.Popen[str], lines: list[str]) -> None:
    assert process.stderr is not None
    with process.stderr as stream:
        for line in stream:
            lines.append(line.rstrip("\n"))
