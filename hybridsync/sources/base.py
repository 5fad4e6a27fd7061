"""The seam in front of everything that can be read: list, watch, read again, prove.

The order of use by the engine, once a life of a connection:

    await source.connect()                     # deadline inside
    async with source.watch(dirty) as watch:   # armed: from here on every change marks a key
        async for batch in source.list(listing): ...
        ...
        changes = await source.read(dirty.take(500))
        await watch.probe()                    # every event before the answer is in `dirty` now

A source that can *resume* (a resume token, a resourceVersion) says in `watch.position` from where; the
engine keeps that position once everything before it is acknowledged, and hands it to the next
`watch`. When that watch is `resumed`, nothing was missed and no full sync is owed.

`watch.lost` is resolved with the reason when the watch can no longer be trusted. Which class of
error decides the recovery: `PositionExpired` → full sync at once, `SourceDisconnected` → back-off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from hybridsync.dirty import DirtySet
from hybridsync.errors import SourceError
from hybridsync.model import Batch, Change, Dirty, Listing


class Watch(Protocol):
    """An armed watch. It lives as long as the `async with` block, and is useless after `lost`."""

    @property
    def lost(self) -> asyncio.Future[None]:
        """Gets the `PositionExpired` or `SourceDisconnected` as its exception when the watch is gone."""

    @property
    def position(self) -> str | None:
        """Where a later watch may resume: every event up to here has marked its key.

        `None` for a source that cannot resume.
        """

    @property
    def resumed(self) -> bool:
        """Whether this watch goes on exactly at the `resume` it was given, so that nothing was missed."""

    async def probe(self) -> None:
        """Asks the source for a sign of life on the watching connection.

        When it returns, every event that the source sent before answering has marked its key, and
        the answer reflects every change committed before the call. Raises `SourceError`: with `lost` resolved the
        watch is gone, else this question was in vain, and it is asked again. An answer that does not come in time
        drops the connection.
        """

    def lose(self, error: SourceError) -> None:
        """Gives the watch up: its connection is dropped, and `lost` gets `error` unless it is resolved already."""


class Source(Protocol):
    """One thing to be mirrored. All calls have deadlines of their own."""

    @property
    def description(self) -> str:
        """For people: kind, path and servers, without secrets."""

    @property
    def invalid(self) -> Mapping[str, str]:
        """Records that exist and break the rules of the resource: key → the field and the rule, one line.

        They are neither written nor swept: the sink keeps the last good state. Live.
        """

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Roots of what exists and may not be read: root → why, one line, with the right that is missing. Live.

        What the sink holds at and below them stays as it is, so nothing is claimed of it.
        """

    @property
    def trouble(self) -> str | None:
        """Why the server cannot be reached at this moment: one line with its address and the variable; from memory."""

    @property
    def place(self) -> str | None:
        """Whose positions these are, known once connected: one of another place is never resumed from.

        `None` for a source that cannot resume, and where a foreign position is refused by the server itself.
        """

    @property
    def removal_seen(self) -> bool:
        """Whether the present watch, or one before it in this process, saw the root itself go away.

        Until a listing finds the root again. Then a listing without it may empty the sink.
        """

    @property
    def proof_seconds(self) -> float:
        """How long a healthy source may take to answer a probe: 0 where it answers at once."""

    async def connect(self) -> None:
        """Returns once requests can be sent.

        Raises `PositionExpired` once after each session that ended since the last call,
        `SourceDisconnected` when the deadline passes (the attempts go on behind it), and
        `SourceUnsupported` when the server is too old.
        """

    def watch(self, dirty: DirtySet, resume: str | None = None) -> AbstractAsyncContextManager[Watch]:
        """Arms a watch that marks the keys of changed records in `dirty`, on the event loop's thread.

        `resume`: the `position` of an earlier watch, of this process or of one before. Raises
        `PositionExpired` when the source no longer has what came after it.
        """

    def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
        """Streams every record that exists, each once; fills `listing` on the way.

        Ends normally only when the listing is complete. Raises `ListingFailed`,
        `SourceDisconnected` or `PositionExpired` otherwise.
        """

    def outline(self, listing: Listing) -> AsyncGenerator[Batch, None] | None:
        """Like `list`, with keys and versions alone, for the periodic comparison; `None` where that is no cheaper."""

    async def read(self, keys: Sequence[Dirty]) -> Sequence[Change]:
        """Reads the present state of the keys: one `Put` or `Remove` each.

        A key that may not be read yields nothing: what the sink holds stays. One that is none of the
        source's (outside of it, or excluded) yields a `Remove` as of position 0.
        """

    async def close(self) -> None:
        """Lets go of the connection. Never raises, never hangs; may be called in any state, twice."""
