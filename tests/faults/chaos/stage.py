"""The stage of a chaos run: two servers, the scene between them, the writer, and a recorder of every answer.

Faults are done to it; it keeps what was found on the way: false claims of the service, tasks that crashed,
exits that were not clean. What a source has of its own is in a stage of each pair.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from types import TracebackType
from typing import Any, Self

from hybridsync.embedded import MongoServer
from tests.faults.chaos.writer import Writer
from tests.faults.recorder import Recorder
from tests.faults.service_scene import ServiceScene, now

STATIC_RECORDS = 1_200
BULK_RECORDS = 3_000
# No sweep guard: the writer deletes more at once than a mirror of this size allows.
SETTINGS = {"SWEEP_LIMIT_PERCENT": "100"}
_POLL_SECONDS = 0.02


class Stage(ABC):
    """Use as `with`: then a service is in step with a source that a writer changes.

    The servers run, and the stage may do with them what it likes. `claims`: false claims so far; `crashes`:
    tracebacks, dead tasks and unclean exits so far. `recorder`: of the service that runs. `pace`: of the schedule;
    at 0.5 faults last half as long.
    """

    pair: str
    """Its name."""

    def __init__(self, scene: ServiceScene, mongodb: MongoServer) -> None:
        self.scene = scene
        self.mongodb = mongodb
        self.claims: list[str] = []
        self.crashes: list[str] = []
        self.log: list[str] = []
        self.pace = 1.0
        self.answers = 0
        self.promises = 0
        self.recorder: Recorder | None = None
        self.writer: Writer
        self._bulk = False
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self.scene)
            self.writer = self._populated()
            undo.callback(self._end_recorder)
            undo.callback(self.writer.stop)
            self.start_service()
            self.scene.wait_confirmed()
            self.writer.start()
            self._exits = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    # -- what each source has of its own ----------------------------------------------------------

    @abstractmethod
    def _populated(self) -> Writer:
        """Makes `STATIC_RECORDS` that nobody changes, and the one who writes beside them."""

    @abstractmethod
    def _grow_bulk(self) -> None:
        """Creates `BULK_RECORDS` beside those of the writer."""

    @abstractmethod
    def _fell_bulk(self) -> None:
        """Deletes them."""

    @abstractmethod
    def _calm_source(self) -> None:
        """Ends whatever a fault may have left behind at the source."""

    @abstractmethod
    def lose_history(self) -> None:
        """After this a service that was disconnected has to compare everything."""

    @abstractmethod
    def differences(self) -> list[str]:
        """One line for each record that is not in the mirror as the contract says. Both sides are at rest."""

    # -- the service ------------------------------------------------------------------------------

    def start_service(self) -> None:
        """Starts a service in the place of the one that ended, and records its answers."""
        self.scene.restart_service()
        self.recorder = self.scene.recorder().start()

    def kill_service(self) -> None:
        """SIGKILL."""
        self.scene.service.kill()
        self._end_recorder()

    def terminate_service(self) -> None:
        """SIGTERM; it has to end in good order whatever else is going on."""
        code = self.scene.service.terminate()
        if code != 0:
            self.crashes.append(f"SIGTERM ended with exit code {code}")
        self._end_recorder()

    def renew_recorder(self) -> None:
        """Begins to record anew, so that what was recorded can go."""
        self._end_recorder()
        self.recorder = self.scene.recorder().start()

    def _end_recorder(self) -> None:
        recorder, self.recorder = self.recorder, None
        if recorder is None:
            return
        self.claims += recorder.stop()
        self.answers += len(recorder.answers)
        self.promises += recorder.checked_promises
        lines = list(self.scene.service.stderr_lines)
        self.log += [f"-- service {self.scene.service.pid}", *lines]
        self.crashes += [line for line in lines if "Traceback" in line or "a task died" in line]
        self.scene.service.stderr_lines.clear()

    @contextmanager
    def without_service(self, end: Callable[[], None]) -> Iterator[None]:
        """No service in the block, a new one afterwards."""
        end()
        yield
        self.start_service()

    def trigger(self) -> None:
        """Asks for a full sync, if there is somebody to ask; it has to be accepted."""
        if self.scene.service.running:
            status, body = self.scene.service.post("/health/sync/trigger")
            if status != 202 or [self.scene.resource] not in body.values():
                self.claims.append(f"a trigger was answered with {status}: {body}")

    def entry(self) -> dict[str, Any]:
        """What the service says of the resource now."""
        return self.scene.service.resource()

    # -- the servers ------------------------------------------------------------------------------

    def grow_or_fell_bulk(self, *, fell: bool) -> None:
        """Creates, or deletes, thousands of records beside those of the writer, unless that was done."""
        if fell != self._bulk:
            return
        if fell:
            self._fell_bulk()
        else:
            self._grow_bulk()
        self._bulk = not fell

    def calm_down(self) -> None:
        """Ends whatever a fault may have left behind."""
        for proxy in (self.scene.source_proxy, self.scene.mongo_proxy):
            proxy.delay(0.0)
            proxy.resume()
            proxy.accept_again()
        self._calm_source()
        assert self.mongodb.running, "MongoDB is gone"
        if not self.scene.service.running:
            self.crashes.append("the service ended by itself")
            self.start_service()

    # -- time -------------------------------------------------------------------------------------

    def hold(self, seconds: float) -> None:
        """Lets things go on as they are, for that time of the schedule."""
        threading.Event().wait(seconds * self.pace)

    def until(self, condition: Callable[[], object], seconds: float) -> bool:
        """Returns when the condition is true, or when the time is over: other faults may be in its way."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if condition():
                    return True
            except (OSError, HTTPException, AssertionError):
                pass  # no service, or it does not listen yet
            time.sleep(_POLL_SECONDS)
        return False

    def wait_in_sync(self, seconds: float) -> None:
        """Returns when the service says that all before this moment is in the mirror."""
        self.scene.service.wait_in_sync(now(), seconds)
