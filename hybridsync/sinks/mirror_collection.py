"""The collection of one mirror before anything is written to it: whether it is there, fit for a mirror, and indexed."""

from __future__ import annotations

from collections.abc import Sequence

from hybridsync.errors import SinkError, SinkUnavailable
from hybridsync.mongodb import MongoDB
from hybridsync.mongodb_errors import is_refusal, is_there_already
from hybridsync.sinks.mirror_indexes import IndexBuilder, IndexInformation, expiring_index, missing_indexes
from hybridsync.sinks.mirror_watch import Collected, MirrorWatch


class MirrorCollection:
    """Of one mirror in a database; `watch` keeps looking at it. Raises `SinkUnavailable`, or `SinkError`."""

    def __init__(self, mongodb: MongoDB, name: str, watch: MirrorWatch) -> None:
        self._mongodb = mongodb
        self._name = name
        self._watch = watch
        self._mirror = watch.register(name)
        self._indexes = IndexBuilder(mongodb, name)

    @property
    def generation(self) -> int:
        """See `Sink.generation`."""
        return self._mirror.generation

    @property
    def forbidden(self) -> str | None:
        """Why nobody may see whether it is still there."""
        return self._watch.forbidden

    async def identity(self) -> str | None:
        """The UUID of the collection whose losses `generation` counts; asked for when it is not known."""
        if self._mirror.known is None:
            await self._ask()
        known: Collected | None = self._mirror.known
        return None if known is None else known.uuid

    async def look(self) -> None:
        """Raises `SinkError` when it cannot hold a mirror. There may be none yet."""
        await self._ask()
        self._refuse(None if self._mirror.known is None else self._mirror.known.unfit)

    async def make_ready(self, fields: Sequence[str]) -> None:
        """Makes it, unless it is there, and begins to make the missing indexes of those fields."""
        if self._mirror.known is None:  # not left to the first write: only what was seen can be missed
            await self._create()
            await self.look()
        there = await self._index_information()
        self._mirror.take_expiring(expiring_index(there))
        self._refuse(self._mirror.expires_by)
        await self._indexes.ensure(missing_indexes(there, fields))

    def close(self) -> None:
        """Waits for no index any more."""
        self._indexes.close()

    async def _ask(self) -> None:
        await self._mongodb.repeated(lambda: self._watch.look([self._mirror]))  # each attempt has its own number

    async def _create(self) -> None:
        try:
            await self._mongodb.repeated(lambda: self._mongodb.command({"create": self._name}))
        except SinkError as error:
            if isinstance(error, SinkUnavailable) or not is_there_already(error.__cause__):
                raise

    async def _index_information(self) -> IndexInformation:
        """Empty when the user may not see it: no index is worth a sync."""
        try:
            found: IndexInformation = await self._mongodb.retrying(
                self._mongodb.collection(self._name).index_information
            )
        except SinkError as error:
            if isinstance(error, SinkUnavailable) or not is_refusal(error.__cause__):
                raise
            self._indexes.not_seen(error)
            return {}
        return found

    def _refuse(self, why: str | None) -> None:
        if why is not None:
            raise SinkError(
                f"MongoDB collection {self._name} at {self._mongodb.where}: a mirror needs a plain collection, and "
                f"this one {why}; put that right, or name another one in sink.collection"
            )
