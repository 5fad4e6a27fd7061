"""The words of the engine as plain data: records, changes, positions. No I/O, no library.

A *record* is one item of a source. A *change* is what a sink is asked to make true. A *version* is an
opaque number that is equal exactly when nothing needs to be written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

Version: TypeAlias = int
"""Equal for two records of one key exactly when they are the same state of it.

Never negative, and only equality means anything to the engine. `znode.version_of` makes that of a znode.
"""


class Record(NamedTuple):
    """One item of a source: its key, what it holds, and the version that tells states apart."""

    key: str
    value: bytes
    version: Version
    meta: Any = None
    """What the source knows besides (a znode's stat, see `znode.stat_of`); only the sink's document codec reads it."""


ANY: Version = -1
"""`replaces` when it is not known what the sink holds."""


class Put(NamedTuple):
    """Make the sink hold this record.

    `replaces` is the version the sink was seen to hold: `None` says it was seen to hold nothing,
    `ANY` that nobody looked. A sink never overwrites a newer state than the record's, except the very
    state named by `replaces` (a source whose history was reset counts from low numbers again).
    """

    record: Record
    replaces: Version | None = ANY

    @property
    def key(self) -> str:
        """The key of the record."""
        return self.record.key


class Remove(NamedTuple):
    """Make the sink hold nothing under `key`.

    One of two guards keeps a late removal from erasing a newer state: `seen`, the version that was
    seen in the sink (a sweep), or `as_of`, the source position at which the key was read as
    absent (a watch): states newer than that position stay. With neither, the removal is in its place
    in the order of writes (`Sink.keeps_newest`). With `subtree`, everything below goes too.
    """

    key: str
    seen: Version | None = None
    as_of: int | None = None
    subtree: bool = False


Change: TypeAlias = Put | Remove


class Dirty(NamedTuple):
    """One key a watch says has changed, with what the source wants to be reminded of when reading it."""

    key: str
    hint: Any = None


@dataclass(slots=True)
class Batch:
    """One piece of a listing."""

    records: Sequence[Record]


@dataclass(slots=True)
class Listing:
    """What a listing turned out to be, filled in while it streams; read it after the last batch.

    `position` is the source position the listing is good for (a zxid as decimal text). `unreadable`
    are the roots of subtrees that exist but may not be read: nothing below them was listed, and
    nothing below them may be swept. `total` is the expected number of records when it is known.
    `root_missing`: what is mirrored as a whole (the path, the collection) is not there, which empties no mirror.
    """

    position: str | None = None
    unreadable: list[str] = field(default_factory=list)
    total: int | None = None
    root_missing: bool = False


@dataclass(slots=True)
class Applied:
    """What a sink did with changes, counted in records.

    `failed` maps a key to the one-line reason why its document could not be stored; the rest was.
    """

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, other: Applied) -> None:
        """Counts `other` in."""
        self.inserted += other.inserted
        self.updated += other.updated
        self.deleted += other.deleted
        self.unchanged += other.unchanged
        self.failed.update(other.failed)


Index: TypeAlias = dict[str, Version]
"""What a sink holds: key → version. Strings and integers only, so the garbage collector skips it."""
