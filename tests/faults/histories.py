"""What a writer knows of its own writes: every state of every key, with the moment it was acknowledged.

`violations` says where a mirror, read *after* an answer with `confirmedAt` came in, lacks a change that was
acknowledged before `confirmedAt`. Each kind of source has a journal of its own on top of this.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from pymongo.collection import Collection
from pymongo.errors import PyMongoError

V = TypeVar("V")

_LONGEST = 200


@dataclass(slots=True)
class State(Generic[V]):
    """One state of a key, from a write on: its version, `None` when the key was deleted."""

    version: V | None
    acknowledged: datetime | None


class Histories(ABC, Generic[V]):
    """The states of each key, oldest first. Versions tell states apart. Any thread may look, one writes.

    `away`: what `held` raises while the mirror cannot be read.
    """

    away: tuple[type[Exception], ...] = (PyMongoError,)

    def __init__(self) -> None:
        self._histories: dict[str, list[State[V]]] = {}
        self._writes = 0
        self._lock = threading.RLock()

    @abstractmethod
    def held(self, collection: Collection[dict[str, Any]]) -> Mapping[str, V]:
        """What a mirror holds of the keys: key → version."""

    @property
    def writes(self) -> int:
        """How many changes were made."""
        with self._lock:
            return self._writes

    @property
    def keys(self) -> list[str]:
        """Every key that was ever written."""
        with self._lock:
            return list(self._histories)

    def exists(self, key: str) -> bool:
        """Whether the last write left something there."""
        with self._lock:
            history = self._histories.get(key)
            return history is not None and history[-1].version is not None

    def violations(self, confirmed_at: datetime, mirror: Mapping[str, V]) -> dict[str, str]:
        """What `mirror` (key → version), read after the answer that promised `confirmed_at`, lacks: key → in words.

        A key may be in any state from the last one acknowledged before `confirmed_at` on.
        """
        with self._lock:
            return {
                key: f"{key}: the mirror holds {_short(mirror.get(key))}, "
                f"allowed since {confirmed_at} is {_short(allowed)}"
                for key, history in self._histories.items()
                if not self._fits(mirror.get(key), allowed := _from(history, confirmed_at), history)
            }

    def forget_before(self, moment: datetime) -> None:
        """Forgets what was over by a moment: no promise will be checked that is older."""
        with self._lock:
            for history in self._histories.values():
                del history[: max(0, _last_before(history, moment))]

    def remembered(self) -> dict[str, V | None]:
        """The present state of each key, for `put_back`. Nothing is being written."""
        with self._lock:
            return {key: history[-1].version for key, history in self._histories.items()}

    def put_back(self, remembered: Mapping[str, V | None]) -> None:
        """Says that the source is put back to what it was then. It serves nobody now, and nothing is being written.

        From here on that is what a promise is about; what was under way before can no longer happen.
        """
        moment = datetime.now(UTC)
        with self._lock:
            for key, history in self._histories.items():
                for state in history:
                    state.acknowledged = state.acknowledged or moment
                history.append(State(remembered.get(key), moment))

    def forget(self) -> None:
        """Forgets every history: the server was wiped, and its versions begin anew."""
        with self._lock:
            self._histories.clear()

    def _fits(self, held: V | None, allowed: Sequence[V | None], history: Sequence[State[V]]) -> bool:
        return held in allowed

    def _begun(self, key: str, version: V | None) -> State[V]:
        state = State(version, None)
        with self._lock:
            self._histories.setdefault(key, []).append(state)
        return state

    def _acknowledged(self, state: State[V], version: V | None) -> None:
        now = datetime.now(UTC)
        with self._lock:
            state.version = version
            state.acknowledged = now
            self._writes += 1


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def _from(history: Sequence[State[V]], confirmed_at: datetime) -> list[V | None]:
    """The states that are allowed; all that ever were when none was acknowledged before."""
    last = _last_before(history, confirmed_at)
    allowed = [state.version for state in history[max(last, 0) :]]
    return [None, *allowed] if last < 0 else allowed


def _last_before(history: Sequence[State[V]], moment: datetime) -> int:
    """The number of the last state acknowledged before a moment, -1 for none."""
    last = -1
    for number, state in enumerate(history):
        if state.acknowledged is not None and state.acknowledged < moment:
            last = number
    return last
