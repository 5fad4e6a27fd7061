"""The stage of a chaos run: two servers, the scene between them, the writer, and a recorder of every answer.

Faults are done to it; it keeps what was found on the way: false claims of the service, tasks that crashed,
exits that were not clean. What a pair has of its own is in a stage of each pair, in a folder of its name.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime
from http.client import HTTPException
from types import TracebackType
from typing import Any, Self

from tests.administered_mongo import ADMIN, AdministeredMongo
from tests.faults.chaos.clock import Clock
from tests.faults.chaos.rights import LOGIN, Rights
from tests.faults.chaos.writer import Writer
from tests.faults.recorder import Recorder
from tests.faults.service_scene import ServiceScene, now
from tests.proxy import TcpProxy
from tests.service import moment, wait_until

STATIC_RECORDS = 1_200
BULK_RECORDS = 3_000
# No sweep guard: the writer deletes more at once than a mirror of this size allows. And every record is compared
# every few seconds, as some of what outsiders do is found by nothing else.
SETTINGS = {"SWEEP_LIMIT_PERCENT": "100", "VERIFY_INTERVAL_HOURS": "0.0025"}
_POLL_SECONDS = 0.02


class Stage(ABC):
    """Use as `with`: then a service is in step with a source that a writer changes.

    The servers run, and the stage may do with them what it likes. `claims`: false claims so far; `crashes`:
    tracebacks, dead tasks and unclean exits so far. `recorder`: of the service that runs. `pace`: of the schedule;
    at 0.5 faults last half as long.
    """

    pair: str
    """Its name."""

    late_seconds = 4.0
    """Of delay to the sink, so that a dead service has writes under way. Some arrive when its successor has compared
    everything."""

    def __init__(self, scene: ServiceScene, mongodb: AdministeredMongo, clock: Clock) -> None:
        self.scene = scene
        self.mongodb = mongodb
        self.clock = scene.clock = clock
        self.allowances = scene.allowances
        scene.environ = clock.environ
        scene.login, scene.own_login = LOGIN, ADMIN
        self.claims: list[str] = []
        self.crashes: list[str] = []
        self.log: list[str] = []
        self.pace = 1.0
        self.answers = 0
        self.promises = 0
        self.unnoticed = 0
        self.excused = 0
        self.longest_unnoticed = 0.0
        self.recorder: Recorder | None = None
        self.writer: Writer
        self.rights: Rights
        self._bulk = False
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        self.mongodb.make_admin()
        with ExitStack() as undo:
            undo.enter_context(self.scene)
            self.rights = Rights(self.scene.database, self._role())
            self.rights.make()
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

    # -- what each pair has of its own ----------------------------------------------------------

    @property
    @abstractmethod
    def source_link(self) -> TcpProxy:
        """Between the service and the source."""

    @property
    @abstractmethod
    def sink_link(self) -> TcpProxy:
        """Between the service and the sink."""

    @abstractmethod
    def _role(self) -> dict[str, Any]:
        """What the service may do in MongoDB, no more than it has to."""

    @abstractmethod
    def no_write_to_mongodb(self) -> AbstractContextManager[None]:
        """A block in which the writer has nothing under way in MongoDB, which may go away meanwhile."""

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
    def _calm_servers(self) -> None:
        """Ends whatever a fault may have left behind at servers other than MongoDB."""

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
        self.unnoticed += recorder.unnoticed
        self.excused += recorder.excused
        self.longest_unnoticed = max(self.longest_unnoticed, recorder.longest_unnoticed)
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

    def unreadable(self) -> int:
        """How many roots it says that it may not read."""
        count: int = (self.entry().get("exceptions") or {}).get("unreadable", 0)
        return count

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
        for proxy in (self.source_link, self.sink_link):
            proxy.delay(0.0)
            proxy.resume()
            proxy.accept_again()
        self._calm_servers()
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
        """Returns when the service says that all before this moment is in the mirror.

        Where a sync was refused because it would delete too much, the contract wants a person: that is the stage.
        """
        since = now()
        wait_until(lambda: self._is_in_sync(since), f"in sync and confirmed after {since}", seconds)

    def _is_in_sync(self, since: datetime) -> bool:
        entry = self.entry()
        if "SWEEP_LIMIT_PERCENT" in (entry["error"] or ""):
            self.scene.service.post("/health/sync/trigger", {"allowSweep": True})
        assert entry["inSync"], entry
        assert self.clock.real(moment(entry["confirmedAt"])) > since, entry
        return True

    def wait_compared(self, seconds: float) -> None:
        """Returns when a comparison that began after this call has ended with all that differed repaired.

        Then nothing is excused any more that only a comparison finds.
        """
        began = looked = time.monotonic()
        known = len(self._comparisons())

        def ended() -> bool:
            nonlocal known, looked
            before, looked = looked, time.monotonic()
            found = self._comparisons()
            new, known = found[known:], len(found)
            return any(before - one["seconds"] >= began and one["drift"] == one["repaired"] for one in new)

        wait_until(ended, "every record is compared, and what differed is repaired", seconds)
        self.allowances.verified()

    def _comparisons(self) -> list[dict[str, Any]]:
        return self.scene.service.logged("source and mirror compared")
