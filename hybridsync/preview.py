"""What a full sync would do now, counted, with nothing written: for `hybridsync plan`."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass

from hybridsync.errors import ListingFailed, SweepRefused
from hybridsync.model import Index, Listing
from hybridsync.sinks.base import Sink
from hybridsync.sources.base import Source
from hybridsync.subtrees import not_named
from hybridsync.sweep_guard import SweepGuard, SweepRules


@dataclass(frozen=True, slots=True)
class Preview:
    """Counts of records. `refused`: why the sync would stop before it changes anything, in one line.

    With `error` nothing could be compared, and the counts mean nothing.
    """

    insert: int = 0
    update: int = 0
    delete: int = 0
    refused: str | None = None
    error: str | None = None


async def preview(source: Source, sink: Sink, rules: SweepRules) -> Preview:
    """Compares the versions of both sides. Raises what source and sink raise."""
    await source.connect()
    index: Index = {}
    async for piece in sink.index():
        index.update(piece)
    held, listing = len(index), Listing()
    insert = update = read = 0
    async with aclosing(source.outline(listing) or source.list(listing)) as batches:
        async for batch in batches:
            read += len(batch.records)
            for record in batch.records:
                known = index.pop(record.key, None)
                insert += known is None
                update += known is not None and known != record.version
    if listing.position is None:
        raise ListingFailed(f"{source.description}: the listing ended without a position")
    delete = sum(1 for _ in not_named(index, listing.unreadable, source.invalid))
    refused: str | None = None
    try:
        SweepGuard(held, rules).check(delete, read, source.description, "changed", root_missing=listing.root_missing)
    except SweepRefused as error:
        refused = str(error)
    return Preview(insert, update, delete, refused)
