"""One WATCH of the API, kept open: opened again where it was after each close in good order.

Source: Kubernetes API concepts, "Efficient detection of changes", "Watch bookmarks". The server ends every watch
after `timeoutSeconds`; that is no failure. Nor is a connection that breaks off after it delivered, or lived for a
while, as behind balancers: nothing is missed, since it is known where it was. A close at once, a silence longer than
bookmarks take, and a watch that cannot be opened again are failures.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

import structlog

from hybridsync.errors import PositionExpired, SourceDisconnected, SourceError
from hybridsync.kube_object import is_before, reaches
from hybridsync.kube_target import Target
from hybridsync.kubernetes.client import KubeClient
from hybridsync.kubernetes.failures import ApiFailure, WentSilent, failure_of_event
from hybridsync.sources.kube_failures import watch_error

SILENCE_SECONDS = 90.0
"""Bookmarks come about once a minute (apiserver, `defaultBookmarkFrequency`)."""

SHORTEST_SECONDS, LONGEST_SECONDS = 300, 600
INSTANT_SECONDS = 2.0
"""A watch that is closed sooner without a word was closed at once."""

LIVED_SECONDS = 5.0
"""A connection that breaks off later was worth something, though it delivered nothing; longer than a back-off."""

BOOKMARKS_IN_A_ROW, BOOKMARKS_PER_SECOND = 1000, 10
"""More than so many, and more often, are sent by no server that means well."""

FIRST_WORD_SECONDS = 0.25
TOO_NEW_TRIES = 5
TURN_EVENTS = 100
Take = Callable[[str, Mapping[str, Any]], None]


class KubeStream:
    """Follows one namespace (`"*"`: all) from `position`, a resourceVersion. `take` gets each event, in order.

    `cluster`: whose positions these are, as the client calls it. `lost` gets the reason why it ends.
    `moved` is set whenever `position` has moved. `bookmarks`: how many were heard.
    `reached`: those of the `awaited` positions that it has come to, or passed.
    """

    def __init__(
        self,
        client: KubeClient,
        target: Target,
        namespace: str,
        take: Take,
        lost: Callable[[SourceError], None],
        cluster: str,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.position = ""
        self.bookmarks = 0
        self.moved = asyncio.Event()
        self.reached: set[str] = set()
        self.awaited: set[str] = set()
        self._client = client
        self._target = target
        self._namespace = namespace
        self._take = take
        self._lost = lost
        self._silence = silence_seconds
        self._opened = AsyncExitStack()
        self._lines: AsyncIterator[bytes] | None = None
        self._first: asyncio.Task[bytes | None] | None = None
        self._opened_at = 0.0
        self._heard = False
        self._in_a_row = 0
        self._cluster = cluster
        self._following: asyncio.Task[None] | None = None

    async def start(self, position: str, *, doubtful: bool = False) -> None:
        """Opens the watch and follows it. `doubtful`: the position is old, so a first word is waited for shortly.

        Raises `PositionExpired` and `SourceDisconnected`.
        """
        await self.stop()
        self._moved_to(position)
        try:
            await self._open()
            if doubtful:
                await self._listen_for_a_refusal()
        except BaseException:
            await self._close()
            raise
        self._following = asyncio.create_task(self._follow(), name="hybridsync-kubernetes-watch")

    async def stop(self) -> None:
        """Ends it; nothing is taken after that."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.wait({following})
        await self._close()

    # -- one connection ---------------------------------------------------------------------------

    async def _open(self) -> None:
        """Asks for the watch until the server accepts it; one that lags behind gets time to come up."""
        parameters = self._target.selectors(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=self.position,
            timeoutSeconds=random.randint(SHORTEST_SECONDS, LONGEST_SECONDS),
        )
        path = self._target.path(self._namespace)
        for tries in range(TOO_NEW_TRIES):
            try:
                self._lines = await self._opened.enter_async_context(
                    self._client.lines(path, parameters, self._silence)
                )
                break
            except ApiFailure as failure:
                if not failure.too_new or tries + 1 == TOO_NEW_TRIES:
                    raise self._refused(failure) from None
                await asyncio.sleep(failure.retry_after or 1.0)
        if self._client.cluster != self._cluster:
            raise PositionExpired(f"{self._client.where}: the credentials lead to another server or CA than before")
        self._opened_at = time.monotonic()
        self._heard = False
        self._in_a_row = 0

    async def _close(self) -> None:
        first, self._first = self._first, None
        if first is not None:
            first.cancel()
            await asyncio.wait({first})
        self._lines = None
        opened, self._opened = self._opened, AsyncExitStack()
        with suppress(SourceError):
            await opened.aclose()

    async def _listen_for_a_refusal(self) -> None:
        """The server accepts a watch before it looks whether it still has the history."""
        self._first = asyncio.create_task(self._next())
        done, _ = await asyncio.wait({self._first}, timeout=FIRST_WORD_SECONDS)
        line = self._first.result() if done else None
        event = _event(line) if line else None
        if event is not None and event.get("type") == "ERROR":
            raise self._refused(failure_of_event(event.get("object")))

    def _refused(self, failure: ApiFailure) -> SourceError:
        return watch_error(failure, self._client.where, self._target, self._namespace)

    async def _next(self) -> bytes | None:
        assert self._lines is not None
        return await anext(self._lines, None)

    # -- following --------------------------------------------------------------------------------

    async def _follow(self) -> None:
        try:
            while True:
                await self._until_closed()
                await self._reopen()
        except SourceError as error:
            self._lost(error)
        except Exception as error:
            what = f"{self._client.where}: the watch of {self._target} could not be followed"
            structlog.get_logger("hybridsync").exception(what)
            self._lost(SourceDisconnected(f"{what} ({type(error).__name__})"))

    async def _until_closed(self) -> None:
        """To the end of one connection. Raises what is a failure."""
        events = 0
        while True:
            first, self._first = self._first, None
            try:
                line = await (first or self._next())
            except WentSilent:
                raise
            except SourceDisconnected:
                if not self._heard and self._lived < LIVED_SECONDS:
                    raise
                return
            if line is None:
                if not self._heard and self._lived < INSTANT_SECONDS:
                    raise SourceDisconnected(f"{self._client.where}: the watch of {self._target} was closed at once")
                return
            self._event(line)
            events += 1
            if events % TURN_EVENTS == 0:
                await asyncio.sleep(0)

    @property
    def _lived(self) -> float:
        return time.monotonic() - self._opened_at

    async def _reopen(self) -> None:
        """Where it was, without haste."""
        pause = 1.0 - self._lived
        await self._close()
        await asyncio.sleep(max(0.0, pause))
        await self._open()

    def _event(self, line: bytes) -> None:
        event = _event(line)
        kind, served = (event.get("type"), event.get("object")) if event is not None else (None, None)
        if kind == "ERROR":
            raise self._refused(failure_of_event(served))
        told = f"{self._client.where}: the watch of {self._target}"
        try:
            assert isinstance(served, Mapping)
            version = str(served["metadata"]["resourceVersion"])
            if is_before(version, self.position):
                back = f"went back from version {self.position} to {version}"
                raise PositionExpired(f"{told} {back}: the cluster was restored from a backup, or it is another one")
            if kind in ("ADDED", "MODIFIED", "DELETED"):
                self._in_a_row = 0
                self._take(str(kind), served)
            elif kind == "BOOKMARK":
                self._bookmark(told)
            else:
                raise TypeError
        except ValueError as error:
            raise SourceDisconnected(f"{told}: {error}") from None
        except (AssertionError, KeyError, TypeError, AttributeError):
            raise SourceDisconnected(f"{told} brought something that is no event") from None
        self._heard = True
        self._moved_to(version)

    def _bookmark(self, told: str) -> None:
        self.bookmarks += 1
        self._in_a_row += 1
        if self._in_a_row > max(BOOKMARKS_IN_A_ROW, BOOKMARKS_PER_SECOND * self._lived):
            raise SourceDisconnected(f"{told} brings bookmarks without end: {self._in_a_row} in {self._lived:.1f} s")

    def _moved_to(self, version: str) -> None:
        self.position = version
        self.reached.update(one for one in self.awaited if reaches(version, one))
        self.moved.set()


def _event(line: bytes) -> Mapping[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, Mapping) else None
