"""Compares a source and its mirror record by record, and repairs just what differs.

Streams both sides. While a service runs, the mirror is always a little behind, so a difference only
counts when two looks at that key, `settle_seconds` apart, see the same versions on both sides. A key
whose mirror moves from look to look is being followed and no drift, however often it changes; one that
moves at the source alone is drift.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from hybridsync.errors import ListingFailed
from hybridsync.model import Change, Dirty, Index, Listing, Put, Remove, Version
from hybridsync.sinks.base import Sink
from hybridsync.sources.base import Source

LOOK_KEYS = 500
LOOKS = 5
SAMPLES = 10


@dataclass(slots=True)
class VerifyReport:
    """Counts of records, and the first few keys by kind (`missing`, `extra`, `different`).

    `unreadable` subtrees could not be compared. With `error`, nothing can be said.
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


class _Seen(NamedTuple):
    """The versions of one key at one look; `None` where it does not exist."""

    source: Version | None
    mirror: Version | None


class _Difference(NamedTuple):
    """One key that differs: how, what makes it right, and what was seen of it."""

    kind: str
    change: Change
    seen: _Seen


async def verify(source: Source, sink: Sink, *, repair: bool = False, settle_seconds: float = 1.0) -> VerifyReport:
    """Compares; with `repair` makes each differing record right and looks at it once more.

    Raises what source and sink raise: an incomplete comparison has no result.
    """
    report = VerifyReport()
    waiting: dict[str, _Seen | None] = dict.fromkeys(await _first_look(source, sink, report))
    followed: set[str] = set()
    for look in range(LOOKS):
        if look and waiting:
            await asyncio.sleep(settle_seconds)
        moving: dict[str, _Seen | None] = {}
        for keys in _chunks(list(waiting)):
            for difference in await _look(source, sink, keys):
                key, before = difference.change.key, waiting[difference.change.key]
                if before is not None and before.mirror != difference.seen.mirror:
                    followed.add(key)
                if difference.seen == before or (look == LOOKS - 1 and key not in followed):
                    await _count(difference, source, sink, report, repair)
                else:
                    moving[key] = difference.seen
        waiting = moving
    return report


async def _count(difference: _Difference, source: Source, sink: Sink, report: VerifyReport, repair: bool) -> None:
    report.note(difference.kind, difference.change.key)
    if repair:
        await sink.apply([difference.change])
        report.repaired += not await _look(source, sink, [difference.change.key])


async def _first_look(source: Source, sink: Sink, report: VerifyReport) -> list[str]:
    """Keys that look different: by version, or by content where the versions agree."""
    index: Index = {}
    async for piece in sink.index():
        index.update(piece)
    suspects: list[str] = []
    listing = Listing()
    async with aclosing(source.list(listing)) as batches:
        async for batch in batches:
            report.compared += len(batch.records)
            alike = []
            for record in batch.records:
                if index.pop(record.key, None) == record.version:
                    alike.append(record)
                else:
                    suspects.append(record.key)
            suspects += await sink.differing(alike)
    if listing.position is None:
        raise ListingFailed(f"{source.description}: the listing ended without a position")
    report.unreadable = len(listing.unreadable)
    below = tuple(root.rstrip("/") + "/" for root in listing.unreadable)
    suspects += [key for key in index if key not in listing.unreadable and not key.startswith(below)]
    return suspects


async def _look(source: Source, sink: Sink, keys: Sequence[str]) -> list[_Difference]:
    """What differs now."""
    held = await sink.held(keys)
    changes = await source.read([Dirty(key) for key in keys])  # nothing about what may not be read by now
    differing = set(await sink.differing([change.record for change in changes if isinstance(change, Put)]))
    found: list[_Difference] = []
    for change in changes:
        key, mirror = change.key, held.get(change.key)
        if isinstance(change, Put):
            if key in differing:
                kind = "missing" if mirror is None else "different"
                found.append(
                    _Difference(kind, Put(change.record, replaces=mirror), _Seen(change.record.version, mirror))
                )
        elif mirror is not None:
            found.append(_Difference("extra", Remove(key, seen=mirror), _Seen(None, mirror)))
    return found


def _chunks(keys: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while chunk := list(islice(rest, LOOK_KEYS)):
        yield chunk
