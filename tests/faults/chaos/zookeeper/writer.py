"""A writer that changes a tree in every way there is, and survives ZooKeeper going away.

Below the journal's root: single znodes are created, set, deleted, deleted and created again; small
subtrees come and go, one znode after the other or all in one transaction; and now and then a burst.
"""

from __future__ import annotations

import time

from kazoo.exceptions import ConnectionClosedError, ConnectionLoss, OperationTimeoutError, SessionExpiredError

from tests.faults.chaos.writer import Act, Writer
from tests.faults.journal import Journal

UNKNOWN_OUTCOME = (ConnectionLoss, ConnectionClosedError, OperationTimeoutError, SessionExpiredError)

_RETRY_SECONDS = 0.05
_NAMES = 400
_TREES = 30
_BURST = 120
# Around "/" in the order of bytes: the ids below a path are a range, and these are its neighbours.
_SUFFIXES = ("", "-", ".a", "0", " b", "é", "!")
_VALUES = (b"", b'{"n": %d}', b"[%d]", b"text %d", b"\xff\x00%d", b'{"n": %d, "n": 1}', b"%d" + b"x" * 5_000)


class ZooKeeperWriter(Writer):
    """See `Writer`. Writes what it tells the journal. `trees`: the tops of small subtrees."""

    def __init__(self, journal: Journal, seed: int) -> None:
        super().__init__(seed)
        self._journal = journal
        self._lone = [f"{journal.root}/one-{number}{self._suffix()}" for number in range(_NAMES)]
        self.trees = [f"{journal.root}/tree-{number}{self._suffix()}" for number in range(_TREES)]

    def _write(self) -> None:
        try:
            super()._write()
        except UNKNOWN_OUTCOME:
            self._stop.wait(_RETRY_SECONDS)
        self._learn()

    def _learn(self) -> None:
        """Asks, once ZooKeeper is there again, what became of writes that were not acknowledged."""
        while self._journal.unresolved:
            with self._turn:
                try:
                    self._journal.resolve()
                except UNKNOWN_OUTCOME:
                    pass
                else:
                    return
            time.sleep(_RETRY_SECONDS)

    @property
    def _actions(self) -> list[tuple[Act, int]]:
        return [
            (self._change_one, 60),
            (self._reborn, 12),
            (self._grow_tree, 8),
            (self._fell_tree, 6),
            (self._fell_tree_at_once, 4),
            (self._burst, 1),
        ]

    # -- what it does -----------------------------------------------------------------------------

    def _change_one(self) -> None:
        path = self._pick(self._lone)
        if not self._journal.exists(path):
            self._journal.create(path, self._value())
        elif self._random.random() < 0.3:
            self._journal.delete(path)
        else:
            self._journal.set(path, self._value())

    def _reborn(self) -> None:
        path = self._pick(self._lone)
        if self._journal.exists(path):
            self._journal.delete(path)
        self._journal.create(path, self._value())

    def _grow_tree(self) -> None:
        top = self._pick(self.trees)
        paths = [
            top,
            *(f"{top}/{number}" for number in range(6)),
            *(f"{top}/3/{number}{top[-1]}" for number in range(4)),
        ]
        missing = [path for path in paths if not self._journal.exists(path)]
        if missing and self._random.random() < 0.5:
            self._journal.create_all(missing, self._value())
            return
        for path in missing:
            self._journal.create(path, self._value())

    def _standing(self, top: str) -> list[str]:
        """What is there of a tree, children before their parents."""
        below = top + "/"
        paths = [path for path in self._journal.keys if path == top or path.startswith(below)]
        return sorted((path for path in paths if self._journal.exists(path)), reverse=True)

    def _fell_tree(self) -> None:
        for path in self._standing(self._pick(self.trees)):
            self._journal.delete(path)

    def _fell_tree_at_once(self) -> None:
        self._journal.delete_all(self._standing(self._pick(self.trees)))

    def _burst(self) -> None:
        for _ in range(_BURST):
            self._change_one()

    def _suffix(self) -> str:
        return self._random.choice(_SUFFIXES)

    def _value(self) -> bytes:
        value = self._random.choice(_VALUES)
        return value % self._random.randrange(10**6) if b"%d" in value else value
