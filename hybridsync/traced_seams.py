"""A source and a sink that tell a `Tracer` what passes through them. Used only while something is traced."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

from hybridsync.dirty import DirtySet
from hybridsync.model import Applied, Batch, Change, Dirty, Index, Listing, Record
from hybridsync.sinks.base import Sink
from hybridsync.sources.base import Source, Watch
from hybridsync.tracing import Tracer


def traced(resource: str, source: Source, sink: Sink, globs: Sequence[str], *, everything: bool) -> tuple[Source, Sink]:
    """The two as they are when nothing is to be traced, else wrapped. See `Tracer`."""
    if not globs and not everything:
        return source, sink
    tracer = Tracer(resource, globs, everything=everything)
    return TracedSource(source, tracer), TracedSink(sink, tracer)


class TracedSource:
    """A `Source` whose events, listings and readings are told."""

    def __init__(self, source: Source, tracer: Tracer) -> None:
        self._source = source
        self._tracer = tracer

    @property
    def description(self) -> str:
        """See `Source`."""
        return self._source.description

    @property
    def invalid(self) -> Mapping[str, str]:
        """See `Source`."""
        return self._source.invalid

    @property
    def unreadable(self) -> Mapping[str, str]:
        """See `Source`."""
        return self._source.unreadable

    @property
    def trouble(self) -> str | None:
        """See `Source`."""
        return self._source.trouble

    @property
    def place(self) -> str | None:
        """See `Source`."""
        return self._source.place

    @property
    def removal_seen(self) -> bool:
        """See `Source`."""
        return self._source.removal_seen

    @property
    def proof_seconds(self) -> float:
        """See `Source`."""
        return self._source.proof_seconds

    async def connect(self) -> None:
        """See `Source`."""
        await self._source.connect()

    @asynccontextmanager
    async def watch(self, dirty: DirtySet, resume: str | None = None) -> AsyncIterator[Watch]:
        """See `Source`."""
        self._tracer.watching()
        dirty.on_mark = self._tracer.seen
        async with self._source.watch(dirty, resume) as watch:
            yield watch

    async def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
        """See `Source`."""
        async with aclosing(self._source.list(listing)) as batches:
            async for batch in batches:
                self._tracer.listed(batch.records)
                yield batch

    def outline(self, listing: Listing) -> AsyncGenerator[Batch, None] | None:
        """See `Source`."""
        return self._source.outline(listing)

    async def read(self, keys: Sequence[Dirty]) -> Sequence[Change]:
        """See `Source`."""
        changes = await self._source.read(keys)
        self._tracer.read([key for key, _ in keys], changes)
        return changes

    async def close(self) -> None:
        """See `Source`."""
        await self._source.close()


class TracedSink:
    """A `Sink` whose writes are told."""

    def __init__(self, sink: Sink, tracer: Tracer) -> None:
        self._sink = sink
        self._tracer = tracer

    @property
    def description(self) -> str:
        """See `Sink`."""
        return self._sink.description

    @property
    def keeps_newest(self) -> bool:
        """See `Sink`."""
        return self._sink.keeps_newest

    @property
    def generation(self) -> int:
        """See `Sink`."""
        return self._sink.generation

    @property
    def trouble(self) -> str | None:
        """See `Sink`."""
        return self._sink.trouble

    async def identity(self) -> str | None:
        """See `Sink`."""
        return await self._sink.identity()

    async def prepare(self) -> None:
        """See `Sink`."""
        await self._sink.prepare()

    async def count(self) -> int:
        """See `Sink`."""
        return await self._sink.count()

    async def index(self) -> AsyncIterator[Index]:
        """See `Sink`."""
        self._tracer.indexing()
        async for piece in self._sink.index():
            self._tracer.indexed(piece)
            yield piece

    async def apply(self, changes: Sequence[Change]) -> Applied:
        """See `Sink`."""
        followed = self._tracer.writing(changes)
        try:
            applied = await self._sink.apply(changes)
        except BaseException as error:
            self._tracer.not_written(followed, error)
            raise
        self._tracer.written(followed, applied)
        return applied

    async def differing(self, records: Sequence[Record]) -> list[str]:
        """See `Sink`."""
        return await self._sink.differing(records)

    async def held(self, keys: Sequence[str]) -> Index:
        """See `Sink`."""
        return await self._sink.held(keys)

    async def close(self) -> None:
        """See `Sink`."""
        await self._sink.close()
