"""The stage of a chaos run: two servers, the scene between them, the writer, and a recorder of every answer.

Faults are done to it by `faults.py`; it keeps what was found on the way: false claims of the service,
tasks that crashed, exits that were not clean.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from types import TracebackType
from typing import Any, Self

from hybridsync.embedded import MongoServer, ZooKeeperServer
from tests.faults.chaos.writer import Writer
from tests.faults.recorder import Recorder
from tests.faults.scene import Scene, now

ROOT = "/services"
STATIC_ZNODES = 1_200
BULK_ZNODES = 3_000
_AT_ONCE = 500
_POLL_SECONDS = 0.02


class Stage:
    """Use as `with`: then a service is in step with a tree that a writer changes.

    `zookeeper` and `mongodb` run, and the stage may do with them what it likes. `claims`: false
    claims so far; `crashes`: tracebacks, dead tasks and unclean exits so far.
    `recorder`: of the service that runs.
    """

    def __init__(self, zookeeper: ZooKeeperServer, mongodb: MongoServer) -> None:
        self.zookeeper = zookeeper
        self.mongodb = mongodb
        # No sweep guard: the writer deletes more at once than a mirror of this size allows.
        self.scene = Scene(zookeeper.port, mongodb.port, "chaos", ROOT, SWEEP_LIMIT_PERCENT="100")
        self.claims: list[str] = []
        self.crashes: list[str] = []
        self.log: list[str] = []
        self.answers = 0
        self.promises = 0
        self.recorder: Recorder | None = None
        self._bulk = False
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self.scene)
            self.scene.populate(STATIC_ZNODES)
            self.writer = Writer(self.scene.journal, 0)
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

    # -- ZooKeeper --------------------------------------------------------------------------------

    @contextmanager
    def without_zookeeper(self, end: Callable[[], None]) -> Iterator[None]:
        """No ZooKeeper in the block; it is started again afterwards, and the writer goes on.

        A write that is under way when it ends has an unknown outcome, which the journal finds out.
        """
        end()
        self.scene.disconnect()
        with self.writer.held():
            yield
            self.zookeeper.start()
            self.scene.connect()

    @contextmanager
    def frozen_zookeeper(self) -> Iterator[None]:
        """ZooKeeper is frozen in the block. No write is under way, as it could happen much later."""
        with self.writer.held():
            self.zookeeper.pause()
            try:
                yield
            finally:
                self.zookeeper.resume()

    def grow_or_fell_bulk(self, *, fell: bool) -> None:
        """Creates, or deletes, thousands of znodes beside those of the writer."""
        if fell == self._bulk:
            self._many(self.scene.zk.transaction, fell=fell)
            self._bulk = not fell

    def _many(self, new_transaction: Callable[[], Any], *, fell: bool) -> None:
        top = f"{ROOT}/bulk"
        paths = [top, *(f"{top}/{number}" for number in range(BULK_ZNODES))]
        for start in range(0, len(paths), _AT_ONCE):
            transaction = new_transaction()
            for path in (paths[::-1] if fell else paths)[start : start + _AT_ONCE]:
                if fell:
                    transaction.delete(path)
                else:
                    transaction.create(path, b'{"bulk": true}')
            failed = [one for one in transaction.commit() if isinstance(one, Exception)]
            assert not failed, failed[:3]

    # -- time -------------------------------------------------------------------------------------

    def hold(self, seconds: float) -> None:
        """Lets things go on as they are."""
        threading.Event().wait(seconds)

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

    def entry(self) -> dict[str, Any]:
        """What the service says of the resource now."""
        return self.scene.service.resource()

    def calm_down(self) -> None:
        """Ends whatever a fault may have left behind."""
        for proxy in (self.scene.zk_proxy, self.scene.mongo_proxy):
            proxy.delay(0.0)
            proxy.resume()
            proxy.accept_again()
        assert self.zookeeper.running, "ZooKeeper is gone"
        assert self.mongodb.running, "MongoDB is gone"
        if not self.scene.service.running:
            self.crashes.append("the service ended by itself")
            self.start_service()

    def wait_in_sync(self, seconds: float) -> None:
        """Returns when the service says that all before this moment is in the mirror."""
        self.scene.service.wait_in_sync(now(), seconds)
