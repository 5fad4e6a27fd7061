"""The seam in front of everything that can be written: index, apply, count.

Everything here is safe to repeat: a batch that was cut off in the middle is simply applied again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from hybridsync.model import Applied, Change, Index, Record


class Sink(Protocol):
    """One mirror."""

    @property
    def description(self) -> str:
        """For people: kind and name, without secrets."""

    @property
    def keeps_newest(self) -> bool:
        """Whether, of two writes of one key, the newer state wins in whatever order they arrive.

        Versions without an order (a resourceVersion, a hash) cannot have that; then the engine sends
        watched changes one batch at a time.
        """

    @property
    def generation(self) -> int:
        """Another number whenever what was written may be gone: only a full sync makes that good."""

    @property
    def trouble(self) -> str | None:
        """Why the server cannot be reached at this moment: one line with its address and the variable; from memory."""

    async def identity(self) -> str | None:
        """Names the very thing that holds the records now; nothing is known of what another one holds.

        `None` where there is no such name, or nothing is there. Raises `SinkUnavailable` or `SinkError`.
        """

    async def prepare(self) -> None:
        """Creates what the mirror needs (indexes). Raises `SinkUnavailable` or `SinkError`."""

    async def count(self) -> int:
        """How many records the mirror holds; 0 when it does not exist."""

    def index(self) -> AsyncIterator[Index]:
        """Streams key → version of everything the mirror holds, in pieces."""

    async def apply(self, changes: Sequence[Change]) -> Applied:
        """Writes the changes and returns once all of them are acknowledged.

        Keys are distinct within one call. May be called several times at once for disjoint keys.
        A single document that cannot be stored lands in `Applied.failed`; the others are written.
        Raises `SinkUnavailable` (after retries of its own) or `SinkError`; then any part of the
        batch may have been written, and applying it again is safe.
        """

    async def differing(self, records: Sequence[Record]) -> list[str]:
        """Keys of those records whose content in the mirror is missing or not exactly the record's."""

    async def held(self, keys: Sequence[str]) -> Index:
        """The versions the mirror holds now for those of the keys that it has."""

    async def close(self) -> None:
        """Lets go of what belongs to this sink alone. Never raises, never hangs; may be called twice."""
