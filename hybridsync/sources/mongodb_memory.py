"""What a published collection is known to hold, beyond the life of one watch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from hybridsync.sources.key_map import KeyMap

TOLD_PROBLEMS = 100
"""Invalid documents that are named in the log at once; the rest is counted."""


@dataclass(slots=True)
class Memory:
    """The keys, and the position up to which they are known.

    `nameless`: documents that are not switched off and have no usable key, by their `_id` → the problem.
    `watching`: the keys follow the collection. `removal_seen`: see `sources/base.py`. `last_event`: the newest event
    that was told of, by its token; it is in the history for as long as the oplog reaches back to it. `collection` and
    `cluster`: the UUID of the one that is known and the id of its replica set, as far as they can be read.
    """

    keys: KeyMap = field(default_factory=KeyMap)
    position: str | None = None
    nameless: dict[str, str] = field(default_factory=dict)
    watching: bool = False
    removal_seen: bool = False
    last_event: str | None = None
    collection: str | None = None
    cluster: str | None = None

    def is_at(self, collection: str | None, cluster: str | None) -> bool:
        """Notes whose documents these are from now on; false when those known so far were another's."""
        same = all(
            None in pair or pair[0] == pair[1] for pair in ((self.collection, collection), (self.cluster, cluster))
        )
        self.collection, self.cluster = collection or self.collection, cluster or self.cluster
        return same

    async def set_nameless(self, found: dict[str, str], log: structlog.stdlib.BoundLogger) -> None:
        """Replaces what is known of such documents, and names the new ones in the log."""
        new = await asyncio.to_thread(_new, found, self.nameless)
        for name in new[:TOLD_PROBLEMS]:
            log.warning("a document is not published", key=name, problem=found[name])
        if len(new) > TOLD_PROBLEMS:
            log.warning("more documents are not published", count=len(new) - TOLD_PROBLEMS)
        self.nameless = found


def _new(found: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    return [name for name in found if name not in before]
