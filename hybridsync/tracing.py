"""Follows single changes on their way from the source to the mirror, one log line a step.

Steps: `event seen`, `read`, `compared`, `written` (handed to the sink), `acknowledged`, or `not written` when
it will be tried again. A line has the key, milliseconds since the first step, and the zxid once it is known:
a watch event of ZooKeeper carries none. Keys that a glob of TRACE_KEYS matches are logged at `info` whatever
LOG_LEVEL says; at LOG_LEVEL=debug so is every other watched change, at `debug`.

The lines come from wrappers around the two seams (`traced_seams.py`), so nothing is spent when nothing is traced.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import structlog

from hybridsync.errors import ConfigurationError
from hybridsync.model import ANY, Applied, Change, Index, Put, Record, Remove
from hybridsync.sources.exclude import matcher
from hybridsync.znode import stat_of

LOGGER = "hybridsync.trace"

KEYS_REMEMBERED = 100_000
"""Past it the oldest keys are forgotten: memory stays bounded, and their lines end."""


def key_matcher(globs: Sequence[str]) -> re.Pattern[str] | None:
    """One expression for keys with a slash in front. Raises `ConfigurationError` for a glob that cannot be meant."""
    expressions = [matcher(_slashed(glob)) for glob in globs]
    return re.compile("|".join(f"(?:{one})" for one in expressions), re.DOTALL) if expressions else None


def _slashed(key: str) -> str:
    return key if key.startswith("/") else "/" + key


class Followed(NamedTuple):
    """A change that is on its way to the sink, and when its first step was (monotonic seconds)."""

    change: Change
    began: float


class Tracer:
    """The steps of one resource. `everything`: also keys that no glob matches, once a watch has named them."""

    def __init__(self, resource: str, globs: Sequence[str], *, everything: bool) -> None:
        self._named = key_matcher(globs)
        self._everything = everything
        self._log = structlog.get_logger(LOGGER).bind(resource=resource)
        self._waiting: dict[str, float] = {}
        """When the first event since the last reading of a key came."""
        self._read: dict[str, float] = {}
        """The same for keys that were read and are not yet handed to the sink."""
        self._mirror: Index = {}
        if self._named is not None:
            # The logger's own level comes before the root's: what was named is logged at any LOG_LEVEL.
            logging.getLogger(LOGGER).setLevel(logging.DEBUG if everything else logging.INFO)

    def names(self, key: str) -> bool:
        """Whether a glob matches the key."""
        return self._named is not None and self._named.fullmatch(_slashed(key)) is not None

    # -- what the source tells --------------------------------------------------------------------

    def watching(self) -> None:
        """A new watch begins: what the last one did not bring home, a full sync finds."""
        self._waiting.clear()
        self._read.clear()

    def seen(self, key: str, hint: object) -> None:
        """An event of the watch."""
        if self._everything or self.names(key):
            self._line("event seen", key, _remember(self._waiting, key, time.monotonic()), change=hint)

    def read(self, asked: Iterable[str], changes: Sequence[Change]) -> None:
        """Keys were read again after events."""
        found = {change.key: change for change in changes}
        for key in asked:
            known = [times.pop(key) for times in (self._waiting, self._read) if key in times]
            if not known and not self.names(key):
                continue
            began = min(known, default=time.monotonic())
            change = found.get(key)
            if change is None:
                self._line("read", key, began, found="not to be used, the mirror keeps what it has")
                continue
            self._line("read", key, began, found="present" if isinstance(change, Put) else "gone", **_position(change))
            _remember(self._read, key, began)

    def listed(self, records: Sequence[Record]) -> None:
        """A full sync, or `verify`, reads the source. Only what was named: it may be a million records."""
        for record in records:
            if not self.names(record.key):
                continue
            began = time.monotonic()
            self._line("read", record.key, began, found="listed", **_position(Put(record)))
            if self._mirror.get(record.key) == record.version:
                self._line("compared", record.key, began, result="equal, nothing to write")
            else:
                _remember(self._read, record.key, began)

    # -- what the sink tells ----------------------------------------------------------------------

    def indexing(self) -> None:
        """A full sync, or `verify`, begins to read what the mirror holds."""
        self._mirror.clear()

    def indexed(self, piece: Index) -> None:
        """The mirror holds these versions."""
        if self._named is not None:
            self._mirror.update((key, version) for key, version in piece.items() if self.names(key))

    def writing(self, changes: Sequence[Change]) -> list[Followed]:
        """Changes go to the sink; returns those of them that are followed."""
        followed: list[Followed] = []
        for change in changes:
            began = self._read.pop(change.key, None)
            if began is None and not self.names(change.key):
                continue
            followed.append(Followed(change, time.monotonic() if began is None else began))
        for change, began in followed:
            facts = _position(change)
            self._line("compared", change.key, began, result=_comparison(change), **facts)
            self._line("written", change.key, began, batch=len(changes), **facts)
        return followed

    def written(self, followed: Sequence[Followed], applied: Applied) -> None:
        """The sink has acknowledged them."""
        for change, began in followed:
            result = applied.failed.get(change.key) or ("stored" if isinstance(change, Put) else "removed")
            self._line("acknowledged", change.key, began, result=result, **_position(change))

    def not_written(self, followed: Sequence[Followed], error: BaseException) -> None:
        """The sink has not acknowledged them. Changes of a watch stay dirty and come again."""
        for change, began in followed:
            self._line("not written", change.key, began, error=str(error) or type(error).__name__, **_position(change))
            _remember(self._waiting, change.key, began)

    def _line(self, step: str, key: str, began: float, **facts: object) -> None:
        log = self._log.info if self.names(key) else self._log.debug
        known = {name: fact for name, fact in facts.items() if fact is not None}
        log("trace", step=step, key=key, ms=round((time.monotonic() - began) * 1000, 3), **known)


def _remember(times: dict[str, float], key: str, began: float) -> float:
    """Notes when it began, unless an earlier time is noted; returns what is noted."""
    if len(times) >= KEYS_REMEMBERED and key not in times:
        del times[next(iter(times))]
    return times.setdefault(key, began)


def check_globs(globs: Sequence[str]) -> None:
    """Raises `ValueError` with a reason for people when a glob cannot be meant."""
    try:
        key_matcher(globs)
    except ConfigurationError:
        raise ValueError("a glob has an empty part, a slash at its end, or a bad [set]") from None


def _position(change: Change) -> dict[str, object]:
    """The zxid of a znode's state, or as of which it is gone; of other records the version."""
    if isinstance(change, Remove):
        return {"zxid": change.as_of}
    record = change.record
    return {"zxid": stat_of(record.meta).mzxid} if isinstance(record.meta, bytes) else {"version": str(record.version)}


def _comparison(change: Change) -> str:
    """What the write was made conditional on; MongoDB compares once more when it writes."""
    if isinstance(change, Remove):
        return "gone at the source: remove what is not newer"
    if change.replaces is None:
        return "new: insert, unless something newer is there"
    if change.replaces == ANY:
        return "changed: replace what is not newer"
    return "different from the mirror: replace"
