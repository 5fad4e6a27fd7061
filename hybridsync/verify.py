"""Compares a source and its mirror record by record, and repairs just what differs.

Streams both sides. While a service runs, the mirror is always a little behind, so a difference found
in the first pass only counts if a second look at that key, taken after `settle_seconds`, sees it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice

from hybridsync.errors import ListingFailed
from hybridsync.model import Change, Dirty, Index, Listing, Put, Remove
from hybridsync.sinks.base import Sink
from hybridsync.sources.base import Source

LOOK_KEYS = 500
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


async def verify(source: Source, sink: Sink, *, repair: bool = False, settle_seconds: float = 1.0) -> VerifyReport:
    """Compares; with `repair` makes each differing record right and looks at it once more.

    Raises what source and sink raise: an incomplete comparison has no result.
    """
    report = VerifyReport()
    suspects = await _first_look(source, sink, report)
    if suspects:
        await asyncio.sleep(settle_seconds)
    for keys in _chunks(suspects):
        for kind, change in await _second_look(source, sink, keys):
            report.note(kind, change.key)
            if repair:
                await sink.apply([change])
                report.repaired += not await _second_look(source, sink, [change.key])
    return report


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


async def _second_look(source: Source, sink: Sink, keys: Sequence[str]) -> list[tuple[str, Change]]:
    """What still differs: the kind, and the change that makes it right."""
    held = await sink.held(keys)
    changes = await source.read([Dirty(key) for key in keys])  # nothing about what may not be read by now
    differing = set(await sink.differing([change.record for change in changes if isinstance(change, Put)]))
    found: list[tuple[str, Change]] = []
    for change in changes:
        key = change.key
        if isinstance(change, Remove):
            if key in held:
                found.append(("extra", Remove(key, seen=held[key])))
        elif key in differing:
            put = Put(change.record, replaces=held.get(key))
            found.append(("different" if key in held else "missing", put))
    return found


def _chunks(keys: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while chunk := list(islice(rest, LOOK_KEYS)):
        yield chunk
