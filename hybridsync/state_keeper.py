"""The state of one resource: in memory the truth, in the store as soon as that can be reached."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import structlog

from hybridsync.errors import SinkError
from hybridsync.recovery import Backoff
from hybridsync.state import StateStore, SyncState, SyncStatus

log: structlog.stdlib.BoundLogger = structlog.get_logger("hybridsync")


class StateKeeper:
    """Loads and saves the `SyncState` of `resource`. Saves never overtake each other."""

    def __init__(self, resource: str, store: StateStore) -> None:
        self.state = SyncState(resource_type=resource)
        self._store = store
        self._order = asyncio.Lock()
        self._unsaved = False
        self._meanwhile: dict[str, object] = {}  # what `save_soon` was told since the last save began
        self._saver: asyncio.Task[None] | None = None

    @property
    def completed(self) -> bool:
        """Whether the last full sync completed."""
        return self.state.status is SyncStatus.COMPLETED

    async def load(self) -> SyncState | None:
        """Reads what is stored and makes it the present state. Raises `SinkError`."""
        stored = await self._store.load(self.state.resource_type)
        if stored is not None:
            self.state = stored
        return stored

    async def save(self, **changes: object) -> None:
        """Changes the state in the store, then in memory. Raises `SinkError`; then nothing changed."""
        async with self._order:
            state = _changed(self.state, changes)
            self._meanwhile = {}
            await self._store.save(state)
            self.state = _changed(state, self._meanwhile)
            self._unsaved = bool(self._meanwhile)

    def save_soon(self, **changes: object) -> None:
        """Changes the state in memory now, and in the store when it can be reached."""
        self.state = _changed(self.state, changes)
        self._meanwhile |= changes
        self._unsaved = True
        if self._saver is None or self._saver.done():
            self._saver = asyncio.create_task(self._save_until_done())

    async def _save_until_done(self) -> None:
        backoff = Backoff()
        while self._unsaved:
            try:
                await self.save()
            except Exception as error:
                if not isinstance(error, SinkError):
                    log.exception(
                        "a state could not be saved; it will be tried again", resource=self.state.resource_type
                    )
                await asyncio.sleep(backoff.next_delay())

    async def close(self, seconds: float) -> None:
        """Gives an unsaved state `seconds` to be saved, then gives up."""
        if self._saver is not None and not self._saver.done():
            await asyncio.wait({self._saver}, timeout=seconds)
            self._saver.cancel()
            await asyncio.wait({self._saver})


def _changed(state: SyncState, changes: dict[str, object]) -> SyncState:
    return replace(state, **changes)  # type: ignore[arg-type]  # the fields of SyncState, by name
