"""A writer of znodes that knows what it wrote: every change with the moment ZooKeeper acknowledged it.

`Journal` is the only writer of its paths, on a connection of its own that no test disturbs, so the
history of each path is known exactly. A write whose answer never came may or may not have happened: both
are allowed until `resolve` has asked.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from kazoo.client import KazooClient
from pymongo.collection import Collection

from tests.faults.histories import Histories, State
from tests.znodes import create_many, delete_many, set_many

_UNKNOWN = -1
"""The mzxid of a state whose writing was begun and not yet acknowledged."""


class Journal(Histories[int]):
    """Creates, sets and deletes below `root`, one call at a time. A state is told by its mzxid."""

    def __init__(self, client: KazooClient, root: str) -> None:
        super().__init__()
        self.root = root
        self.client = client

    def held(self, collection: Collection[dict[str, Any]]) -> Mapping[str, int]:
        """What a mirror holds of the paths: path → version."""
        found = collection.find({"_id": {"$in": self.keys}}, {"version": 1})
        return {document["_id"]: int(document["version"]) for document in found}

    def create(self, path: str, value: bytes) -> None:
        """Creates a znode; its parents exist."""
        state = self._begun(path, _UNKNOWN)
        stat = self.client.create(path, value, include_data=True)[1]
        self._acknowledged(state, stat.mzxid)

    def set(self, path: str, value: bytes) -> None:
        """Sets the value of a znode."""
        state = self._begun(path, _UNKNOWN)
        self._acknowledged(state, self.client.set(path, value).mzxid)

    def delete(self, path: str) -> None:
        """Deletes a znode without children."""
        state = self._begun(path, None)
        self.client.delete(path)
        self._acknowledged(state, None)

    def create_all(self, paths: Sequence[str], value: bytes) -> None:
        """Creates up to 500 znodes in one transaction, parents before their children."""
        self._write_all(create_many, paths, value)

    def set_all(self, paths: Sequence[str], value: bytes) -> None:
        """Sets the value of up to 500 znodes in one transaction."""
        self._write_all(set_many, paths, value)

    def _write_all(
        self, write: Callable[[KazooClient, Sequence[str], bytes], None], paths: Sequence[str], value: bytes
    ) -> None:
        states = [self._begun(path, _UNKNOWN) for path in paths]
        write(self.client, paths, value)
        stat = self.client.exists(paths[0])  # all have the id of the transaction
        assert stat is not None, f"{paths[0]} was written and is not there"
        for state in states:
            self._acknowledged(state, stat.mzxid)

    def delete_all(self, paths: Sequence[str]) -> None:
        """Deletes up to 500 znodes in one transaction, children before their parents."""
        states = [self._begun(path, None) for path in paths]
        delete_many(self.client, paths)
        for state in states:
            self._acknowledged(state, None)

    @property
    def unresolved(self) -> list[str]:
        """Paths whose last write was not acknowledged. For the one who writes, between two writes."""
        with self._lock:
            return [path for path, history in self._histories.items() if history[-1].acknowledged is None]

    def resolve(self) -> None:
        """Reads what became of the writes that were not acknowledged.

        The server that took them must be gone or have answered since, so that none can still happen.
        """
        for path in self.unresolved:
            stat = self.client.exists(path)
            self._resolved(path, None if stat is None else stat.mzxid)

    def _resolved(self, path: str, mzxid: int | None) -> None:
        with self._lock:
            history = self._histories[path]
            before = history[-2].version if len(history) > 1 else None
            if mzxid != before:
                self._acknowledged(history[-1], mzxid)
            else:
                history.pop()
                if not history:
                    del self._histories[path]

    def _fits(self, held: int | None, allowed: Sequence[int | None], history: Sequence[State[int]]) -> bool:
        """One whose writing is under way has any id that is higher than all before, since the server was put back."""
        if held in allowed:
            return True
        if held is None or _UNKNOWN not in allowed:
            return False
        return held > max((version for version in allowed if version is not None), default=0)


class Churn:
    """Changes, deletes and re-creates children of the journal's root on a thread, for the length of a block.

    `names`: how many different children; `pause_seconds`: between two writes. An error of the writer is
    raised at the end of the block.
    """

    def __init__(self, journal: Journal, *, names: int = 40, seed: int = 1, pause_seconds: float = 0.005) -> None:
        self._journal = journal
        self._names = [f"{journal.root}/churn-{number}" for number in range(names)]
        self._random = random.Random(seed)
        self._pause_seconds = pause_seconds
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="churn", daemon=True)

    def write_one(self) -> None:
        """One random change. Only while the thread does not run."""
        path = self._random.choice(self._names)
        value = b'{"n": %d}' % self._random.randrange(1_000_000)
        if not self._journal.exists(path):
            self._journal.create(path, value)
        elif self._random.random() < 0.3:
            self._journal.delete(path)
        else:
            self._journal.set(path, value)

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._pause_seconds):
                self.write_one()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(60)
        if error is None and self._error is not None:
            raise self._error
