"""A steady stream of random changes to a tree, in a thread of its own: create, set, delete."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any, Self

from kazoo.client import KazooClient

from tests.servers import connected

PER_PARENT = 100
_IN_FLIGHT = 50
_ANSWER_SECONDS = 60.0
_LOADED_AT_ONCE = 500


class Changes:
    """Changes below `root`, `rate` a second, while the `with` block lasts; an error is raised at its end.

    The tree has `size` places under parents of a hundred; four of five are taken at any time.
    """

    def __init__(self, hosts: str, root: str, *, size: int, rate: float, seed: int) -> None:
        self.made = 0
        self._hosts = hosts
        self._root = root
        self._rate = rate
        self._random = random.Random(seed)
        self._places = [f"{root}/parent-{number // PER_PARENT}/child-{number}" for number in range(size)]
        self._taken = set(self._random.sample(range(size), size * 4 // 5))
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)

    def load(self) -> None:
        """Creates the tree as it is at the beginning."""
        with connected(self._hosts) as client:
            parents = sorted({place.rpartition("/")[0] for place in self._places})
            leaves = [(self._places[number], self._value()) for number in sorted(self._taken)]
            znodes = [(self._root, b""), *((parent, b"") for parent in parents), *leaves]
            for start in range(0, len(znodes), _LOADED_AT_ONCE):
                transaction = client.transaction()
                for path, value in znodes[start : start + _LOADED_AT_ONCE]:
                    transaction.create(path, value)
                for answer in transaction.commit():
                    if isinstance(answer, Exception):
                        raise answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(2 * _ANSWER_SECONDS)
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with connected(self._hosts) as client:
                self._change(client)
        except BaseException as error:
            self._error = error

    def _change(self, client: KazooClient) -> None:
        began = time.monotonic()
        answers: deque[Any] = deque()
        while not self._stop.wait(max(0.0, began + self.made / self._rate - time.monotonic())):
            answers.append(self._one(client))
            self.made += 1
            if len(answers) >= _IN_FLIGHT:
                answers.popleft().get(timeout=_ANSWER_SECONDS)
        for answer in answers:
            answer.get(timeout=_ANSWER_SECONDS)

    def _one(self, client: KazooClient) -> Any:
        number = self._random.randrange(len(self._places))
        path = self._places[number]
        if number not in self._taken:
            self._taken.add(number)
            return client.create_async(path, self._value())
        if self._random.random() < 0.2:
            self._taken.remove(number)
            return client.delete_async(path)
        return client.set_async(path, self._value())

    def _value(self) -> bytes:
        told = {"n": self._random.randrange(1_000_000), "note": "x" * self._random.randrange(300)}
        return json.dumps(told).encode()
