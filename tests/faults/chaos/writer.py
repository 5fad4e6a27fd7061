"""A writer that changes the source without end, on a thread: what every pair's writer has."""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

_PAUSE_SECONDS = 0.008

Act = Callable[[], None]


class Writer(ABC):
    """Writes from `start` to `stop`. `errors`: what nobody expected; then it has ended."""

    def __init__(self, seed: int) -> None:
        self.errors: list[str] = []
        self._random = random.Random(seed)
        self._turn = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-writer", daemon=True)

    def start(self) -> None:
        """Begins to write."""
        self._thread.start()

    def stop(self) -> None:
        """Returns when the last write is over and its outcome is known."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(60)
        if self._thread.is_alive():
            self.errors.append("the writer does not end")

    @contextmanager
    def held(self) -> Iterator[None]:
        """No write is under way in the block."""
        with self._turn:
            yield

    def reseed(self, seed: int) -> None:
        """From the next write on the choices are those of `seed`."""
        with self._turn:
            self._random.seed(seed)

    @property
    @abstractmethod
    def _actions(self) -> Sequence[tuple[Act, int]]:
        """What it does, and how often beside the others."""

    def _write(self) -> None:
        """Does one thing."""
        with self._turn:
            act = self._random.choices(*zip(*self._actions, strict=True))[0]
            act()

    def _run(self) -> None:
        try:
            while not self._stop.wait(_PAUSE_SECONDS):
                self._write()
        except Exception as error:
            self.errors.append(f"the writer failed: {type(error).__name__}: {error}")

    def _pick(self, names: Sequence[str]) -> str:
        """The first are hot, the last cold: what goes wrong with a cold one stays to be seen."""
        return names[int(len(names) * self._random.random() ** 2)]
