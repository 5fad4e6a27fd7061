"""`Server`: one private server process with a directory and a port of its own.

The process runs in a session of its own, so a Ctrl-C at the terminal reaches only the parent, which
then stops it in good order. A guard kills it when the parent is gone, however the parent ended: the
process begins as a shell that leaves the guard behind, waiting on a pipe whose other end only the
parent holds, and then becomes the server. So there is no moment without it. PR_SET_PDEATHSIG would
fire when the *thread* that started the process ends, and servers are also started from pool threads.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hybridsync.embedded.ports import LOOPBACK, free_port
from hybridsync.errors import ConfigurationError, HybridSyncError

START_SECONDS = 90.0
"""How long a server may take to answer: a cold JVM on a busy machine takes its time."""

STOP_SECONDS = 20.0
"""How long a server may take to end in good order before it is killed."""

_POLL_SECONDS = 0.05
_LOG_LINES = 6
_PORT_ATTEMPTS = 5
_GUARDED = 'exec 3<&0; (read -r word <&3; kill -s KILL -- "-$$") >/dev/null 2>&1 & exec "$@" </dev/null 3<&-'
"""Any end of the wait kills the whole session, the guard itself included."""


class Server(ABC):
    """A server process that can be started, stopped, killed, paused and wiped any number of times.

    `directory` is created when missing and holds `data/`, the configuration and `server.log`.
    `port` 0 chooses a free loopback port, which is then kept for the life of this object.
    Not for use by several threads at once.
    """

    name: str
    """For people."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.directory = directory.absolute()
        self._port_is_free_to_choose = port == 0
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Writes what the server needs and returns its command line."""

    @abstractmethod
    def _answers(self) -> bool:
        """Asks the server once, with a short deadline, whether it serves its clients."""

    def _is_telling(self, line: str) -> bool:
        """Whether a line of the log helps to see why the server failed."""
        return bool(line.strip())

    @property
    def data(self) -> Path:
        """The folder that `wipe` empties."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """What the server itself says."""
        return self.directory / "server.log"

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while the process exists."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether the process exists; a paused one does."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout: float = START_SECONDS) -> None:
        """Starts the server and returns once it serves clients; does nothing when it runs.

        `timeout` in seconds. Raises `ConfigurationError` when the program is missing or the directory
        is in use, and `HybridSyncError` with the end of the log when the server does not come up.
        """
        if self.running:
            return
        failure = ""
        for _ in range(_PORT_ATTEMPTS):
            self._launch()
            if self._comes_up(timeout):
                self._port_is_free_to_choose = False
                return
            failure = self._failure(timeout)
            exited = not self.running
            self.kill()
            if not (exited and self._port_is_free_to_choose and self._lost_the_port()):
                break
            self.port = free_port()
        raise HybridSyncError(failure)

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Ends the server in good order, by force after `timeout` seconds; does nothing when it is down."""
        self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """Ends the server at once (SIGKILL), as a power cut would."""
        self._end(signal.SIGKILL, STOP_SECONDS)

    def restart(self) -> None:
        """Stops the server in good order and starts it again on the same port with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freezes the server (SIGSTOP): connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)
        deadline = time.monotonic() + STOP_SECONDS
        while not self._is_frozen() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS / 10)

    def resume(self) -> None:
        """Ends a pause."""
        self._signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Deletes all data of the stopped server; the next start begins with nothing."""
        if self.running:
            raise HybridSyncError(f"{self.name} in {self.directory} is running: stop it before its data is deleted")
        if self.data.exists():
            shutil.rmtree(self.data)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        lock = self._lock()
        try:
            command = self._command()
            with self.log.open("wb") as log:
                # The server inherits the lock, so the directory is taken exactly as long as it lives.
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", _GUARDED, "guarded", *command],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    cwd=self.directory,
                    start_new_session=True,
                    pass_fds=(lock,),
                )
        except OSError as error:
            raise ConfigurationError(f"{self.name} cannot be started: {error}") from error
        finally:
            os.close(lock)

    def _is_frozen(self) -> bool:
        """Whether every thread has stopped: the signal is only the beginning of that (`man 5 proc`)."""
        stats = Path(f"/proc/{self.pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats)

    def _lock(self) -> int:
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise ConfigurationError(f"{self.directory} is in use by another running {self.name}") from error
        return lock

    def _comes_up(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.running and time.monotonic() < deadline:
            if self._answers():
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def _lost_the_port(self) -> bool:
        return "address already in use" in self.log.read_text(errors="replace").lower()

    def _failure(self, timeout: float) -> str:
        status = self._process.poll() if self._process is not None else None
        how = f"did not answer within {timeout:.0f} s" if status is None else f"ended with exit code {status}"
        with self.log.open(errors="replace") as lines:
            last = list(deque((line.strip() for line in lines if self._is_telling(line)), maxlen=_LOG_LINES))
        return f"{self.name} on {self.address} {how}; {self.log} says: {' | '.join(last) or 'nothing'}"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or not self.running:
            raise HybridSyncError(f"{self.name} in {self.directory} is not running")
        self._process.send_signal(number)

    def _end(self, number: signal.Signals, timeout: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)  # a paused process takes no SIGTERM
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS)
        if process.stdin is not None:
            process.stdin.close()  # ends the guard, which holds the lock as well
        deadline = time.monotonic() + STOP_SECONDS
        while not self._is_free() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS / 10)

    def _is_free(self) -> bool:
        try:
            os.close(self._lock())
        except ConfigurationError:
            return False
        return True
