"""Compares a source and its mirror record by record, and repairs just what differs.

Streams both sides. While a service runs, the mirror is always a little behind, so a difference only
counts when two looks at that key see the same versions on both sides, and the mirror had the time to
follow in between. How that time is given is the caller's: a pause where nobody knows the service, a
proof inside it (`settle`). A key whose mirror moves from look to look is being followed and no drift,
however often it changes; one that moves at the source alone is drift.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from typing import NamedTuple

from hybridsync.errors import ListingFailed, SweepRefused, SyncStalled
from hybridsync.model import Change, Dirty, Index, Listing, Put, Remove, Version
from hybridsync.sinks.base import Sink
from hybridsync.sources.base import Source
from hybridsync.status import VerifyOutcome
from hybridsync.subtrees import not_named
from hybridsync.sweep_guard import SweepGuard, SweepRules

LOOK_KEYS = 200
"""Records looked at together; their values are in memory at once."""

LOOKS = 5
REPAIRS = 3
SAMPLES = 10

MISSING, EXTRA, DIFFERENT = "missing", "extra", "different"


@dataclass(slots=True)
class VerifyReport:
    """Counts of records, and the first few keys by kind (`missing`, `extra`, `different`).

    `unreadable` subtrees could not be compared. With `error`, the comparison did not come to its end,
    or the repair was refused.
    """

    compared: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    repaired: int = 0
    unreadable: int = 0
    samples: dict[str, list[str]] = field(default_factory=dict)
    error: str | None = None

    @property
    def drift(self) -> int:
        """How many records differ."""
        return self.missing + self.extra + self.different

    def note(self, kind: str, key: str) -> None:
        """Counts one difference."""
        setattr(self, kind, getattr(self, kind) + 1)
        samples = self.samples.setdefault(kind, [])
        if len(samples) < SAMPLES:
            samples.append(key)

    def outcome(self, finished_at: datetime) -> VerifyOutcome:
        """The same as the status of a resource shows it."""
        return VerifyOutcome(
            finished_at=finished_at,
            compared=self.compared,
            missing=self.missing,
            extra=self.extra,
            different=self.different,
            repaired=self.repaired,
            unreadable=self.unreadable,
            samples={kind: tuple(keys) for kind, keys in self.samples.items()},
            error=self.error,
        )


class _Seen(NamedTuple):
    """The versions of one key at one look; `None` where it does not exist."""

    source: Version | None
    mirror: Version | None


class _Difference(NamedTuple):
    """One key that differs: how, what makes it right, and what was seen of it."""

    kind: str
    change: Change
    seen: _Seen


async def verify(
    source: Source,
    sink: Sink,
    *,
    repair: bool = False,
    settle_seconds: float = 1.0,
    sweep_limit_percent: float = 100.0,
    stall_seconds: float | None = None,
) -> VerifyReport:
    """Compares; with `repair` makes each differing record right and looks at it once more.

    A repair that would remove more than `sweep_limit_percent` of the mirror, or empty it because the source's root is
    not there, changes nothing and says so in `error`. It also makes what the mirror needs (indexes). Raises what source
    and sink raise, and `SyncStalled` after `stall_seconds` without progress: an incomplete comparison has no result.
    """
    async with progressing(stall_seconds) as touch:
        comparison = Comparison(source, sink, partial(asyncio.sleep, settle_seconds), touch)
        report = await comparison.run()
        if not repair:
            return report
        try:
            comparison.guard(SweepRules(sweep_limit_percent))
        except SweepRefused as error:
            report.error = str(error)
        else:
            await sink.prepare()
            await comparison.repair()
    return report


@asynccontextmanager
async def progressing(stall_seconds: float | None) -> AsyncIterator[Callable[[], None]]:
    """Yields what must be called at each sign of progress; raises `SyncStalled` when there is none for so long."""
    try:
        async with asyncio.timeout(stall_seconds) as deadline:

            def touch() -> None:
                if stall_seconds is not None and not deadline.expired():
                    deadline.reschedule(asyncio.get_running_loop().time() + stall_seconds)

            yield touch
    except TimeoutError as error:
        if deadline.expired():
            raise SyncStalled(f"the comparison made no progress for {stall_seconds:g} s") from error
        raise


class Comparison:
    """One comparison. `run` fills `report` and `drifted`, the keys of all that differs, by kind.

    `settle` returns once the mirror had the time to follow what the source did before the call.
    `touch` is called at each sign of progress, before more is asked of the source; it may raise. `outline`: the source
    may tell keys and versions alone, where that is cheaper; then contents are not compared.
    """

    def __init__(
        self,
        source: Source,
        sink: Sink,
        settle: Callable[[], Awaitable[None]],
        touch: Callable[[], None] = lambda: None,
        *,
        outline: bool = False,
    ) -> None:
        self.report = VerifyReport()
        self.drifted: dict[str, list[str]] = {MISSING: [], EXTRA: [], DIFFERENT: []}
        self._source = source
        self._sink = sink
        self._settle = settle
        self._touch = touch
        self._listing = Listing()
        self._outline = source.outline(self._listing) if outline else None
        self._held = 0

    async def run(self) -> VerifyReport:
        """Compares everything and confirms every difference. Writes nothing."""
        waiting: dict[str, _Seen | None] = dict.fromkeys(await self._first_look())
        followed: set[str] = set()
        for look in range(LOOKS):
            if look and waiting:
                await self._settle()
            moving: dict[str, _Seen | None] = {}
            for keys in _chunks(waiting):
                for difference in await self._look(keys):
                    key, before = difference.change.key, waiting[difference.change.key]
                    if before is not None and before.mirror != difference.seen.mirror:
                        followed.add(key)
                    if difference.seen == before or (look == LOOKS - 1 and key not in followed):
                        self.report.note(difference.kind, key)
                        self.drifted[difference.kind].append(key)
                    else:
                        moving[key] = difference.seen
            waiting = moving
        return self.report

    def guard(self, rules: SweepRules) -> None:
        """Raises `SweepRefused` when what is extra may not be removed without a person."""
        extra, missing = len(self.drifted[EXTRA]), self._listing.root_missing
        SweepGuard(self._held, rules).check(
            extra, self.report.compared, self._source.description, "repaired", root_missing=missing
        )

    async def repair(self) -> None:
        """Writes what makes the differing records right, and counts those that then are.

        Looks again after each write: a record that was deleted while its repair was on its way would
        otherwise stay as a phantom.
        """
        for keys in _chunks(key for of_kind in self.drifted.values() for key in of_kind):
            found = await self._look(keys)
            for attempt in range(REPAIRS):
                if not found:
                    break
                if attempt:
                    await self._settle()
                    found = await self._look(keys)
                await self._sink.apply([difference.change for difference in found])
                found = await self._look(keys)
            self.report.repaired += len(keys) - len(found)

    async def still_differing(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that differ now."""
        return [found.change.key for chunk in _chunks(keys) for found in await self._look(chunk)]

    async def _first_look(self) -> list[str]:
        """Keys that look different: by version, or by content where the versions agree."""
        index: Index = {}
        async for piece in self._sink.index():
            index.update(piece)
            self._touch()
        self._held = len(index)
        suspects: list[str] = []
        listing, outline = self._listing, self._outline
        async with aclosing(outline or self._source.list(listing)) as batches:
            async for batch in batches:
                self._touch()
                self.report.compared += len(batch.records)
                alike = []
                for record in batch.records:
                    if index.pop(record.key, None) == record.version:
                        alike.append(record)
                    else:
                        suspects.append(record.key)
                if outline is None:
                    suspects += await self._sink.differing(alike)
                self._touch()
        if listing.position is None:
            raise ListingFailed(f"{self._source.description}: the listing ended without a position")
        self.report.unreadable = len(listing.unreadable)
        return suspects + list(not_named(index, listing.unreadable, self._source.invalid))

    async def _look(self, keys: Sequence[str]) -> list[_Difference]:
        """What differs now. The mirror is read first: a change in between makes it older, never newer."""
        self._touch()
        held = await self._sink.held(keys)
        changes = await self._source.read([Dirty(key) for key in keys])  # nothing about what may not be read by now
        differing = set(await self._sink.differing([change.record for change in changes if isinstance(change, Put)]))
        found: list[_Difference] = []
        for change in changes:
            key, mirror = change.key, held.get(change.key)
            if key in self._source.invalid:
                continue
            if isinstance(change, Put):
                if key in differing:
                    kind = MISSING if mirror is None else DIFFERENT
                    seen = _Seen(change.record.version, mirror)
                    found.append(_Difference(kind, Put(change.record, replaces=mirror), seen))
            elif mirror is not None:
                found.append(_Difference(EXTRA, Remove(key, seen=mirror), _Seen(None, mirror)))
        self._touch()
        return found


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while chunk := list(islice(rest, LOOK_KEYS)):
        yield chunk
