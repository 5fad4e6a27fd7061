"""The documents of a collection that are not published because they break the rules, and why. Live.

Two kinds: by key what was listed or read, and by `_id` what has no usable key, which the watch keeps up to date
(`Memory.nameless`). A listing and the readings of changed keys may go on at the same time; what was read of a key
since the listing began is newer than what the listing found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import structlog

from hybridsync.give_way import give_way
from hybridsync.sources.mongodb_memory import TOLD_PROBLEMS, Memory
from hybridsync.sources.publish_judge import shown

STEP_KEYS = 1000
"""So many keys at once; then others on the loop get their turn."""


class Problems(Mapping[str, str]):
    """Key, or `_id` where there is none → the field and the rule. On the event loop's thread only."""

    def __init__(self, memory: Memory, log: structlog.stdlib.BoundLogger) -> None:
        self.complete = False
        """Whether every document was looked at once, so that what is not here is valid or off."""
        self._broken: dict[str, str] = {}
        self._memory = memory
        self._log = log
        self._inspections: list[Inspection] = []

    def __getitem__(self, key: str) -> str:
        return self._broken[key] if key in self._broken else self._memory.nameless[key]

    def __contains__(self, key: object) -> bool:
        return key in self._broken or key in self._memory.nameless

    def __iter__(self) -> Iterator[str]:
        yield from self._broken
        yield from self._memory.nameless

    def __len__(self) -> int:
        return len(self._broken) + len(self._memory.nameless)

    def broken(self, key: str, problem: str) -> None:
        """Says that a key was read just now and has a problem."""
        self._read(key)
        self._note(key, problem)

    def fine(self, key: str) -> None:
        """Says that a key was read just now and has none."""
        self._read(key)
        if self._broken.pop(key, None) is not None:
            self._log.info("no longer invalid", key=shown(key))

    @contextmanager
    def inspection(self) -> Iterator[Inspection]:
        """For the length of a listing: what it finds."""
        inspection = Inspection(self)
        self._inspections.append(inspection)
        try:
            yield inspection
        finally:
            self._inspections.remove(inspection)

    def _read(self, key: str) -> None:
        for inspection in self._inspections:
            inspection.overtaken.add(key)

    def _note(self, key: str, problem: str, *, quiet: bool = False) -> bool:
        """Notes a problem; true when it is a new one."""
        if self._broken.get(key) == problem:
            return False
        self._broken[key] = problem
        if not quiet:
            self._log.warning("a document is not published", key=shown(key), problem=problem)
        return True

    async def _keep(self, found: Mapping[str, Any], overtaken: set[str]) -> None:
        """Forgets what was not found, by and by: there may be many."""
        rest, told = iter(list(self._broken)), 0
        while step := list(islice(rest, STEP_KEYS)):
            for key in step:
                if key in found or key in overtaken or self._broken.pop(key, None) is None:
                    continue
                told += 1
                if told <= TOLD_PROBLEMS:
                    self._log.info("no longer invalid", key=shown(key))
            await give_way()
        if told > TOLD_PROBLEMS:
            self._log.info("more are no longer invalid", count=told - TOLD_PROBLEMS)


class Inspection:
    """What one listing finds. Made by `Problems.inspection`."""

    def __init__(self, problems: Problems) -> None:
        self.found: dict[str, str] = {}
        self.overtaken = set[str]()
        """Keys that were read since it began."""
        self._problems = problems
        self._told = 0

    def broken(self, key: str, problem: str) -> None:
        """Says what is wrong with a key."""
        self.found[key] = problem
        if key not in self.overtaken:
            self._told += self._problems._note(key, problem, quiet=self._told >= TOLD_PROBLEMS)

    async def broken_many(self, found: Mapping[str, str]) -> None:
        """The same for many, by and by."""
        rest = iter(found.items())
        while step := list(islice(rest, STEP_KEYS)):
            for key, problem in step:
                self.broken(key, problem)
            await give_way()

    async def complete(self) -> None:
        """Says that every document was looked at: what was not found has no problem any more."""
        await self._problems._keep(self.found, self.overtaken)
        self._problems.complete = True
        if self._told > TOLD_PROBLEMS:
            self._problems._log.warning("more documents are not published", count=self._told - TOLD_PROBLEMS)
