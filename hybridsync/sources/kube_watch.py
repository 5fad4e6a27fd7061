"""The watch of one resource, one stream a namespace, and the proof that nothing was missed.

The server is asked for the present version of the collection (a LIST of one object, answered from the quorum). A
stream that has come to that version, by an event or by a bookmark, has told everything before the question.

Where versions are no numbers, nobody can say whether a stream has passed one; it has to be exactly there. While
other objects of the cluster change it never is, and a bookmark that arrives after the question has to do. Then
`confirmedAt` may be too new by the time that a bookmark takes: on its way, or in the cache of a server that lags.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from hybridsync.errors import PositionExpired, SourceDisconnected, SourceError
from hybridsync.kube_object import is_ordered, reaches
from hybridsync.kube_target import EVERYWHERE
from hybridsync.sources.kube_hints import Hints
from hybridsync.sources.kube_stream import KubeStream

PROOF_SECONDS = 75.0
"""A bookmark a minute, and some time for it."""

PROOF_DEADLINE_SECONDS = 150.0
ASK_SECONDS, LONGEST_ASK_SECONDS = 5.0, 60.0
"""Between two questions for the present version; doubled while the answer was of no use."""

Present = Callable[[str], Awaitable[str]]


class KubeWatch:
    """The streams by namespace, armed. `present` asks for the present version of a namespace's collection."""

    def __init__(self, hints: Hints, present: Present, where: str, *, resumed: bool) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost.add_done_callback(lambda future: future.exception())
        self.streams: dict[str, KubeStream] = {}
        self.listed = False
        """Whether a listing began under this watch."""
        self._hints = hints
        self._present = present
        self._where = where
        self._resumed = resumed
        self._ask_again: dict[str, tuple[float, float]] = {}

    @property
    def position(self) -> str:
        """A resourceVersion, or a JSON object namespace → resourceVersion."""
        return joined({namespace: stream.position for namespace, stream in self.streams.items()})

    @property
    def resumed(self) -> bool:
        """See `sources/base.py`."""
        return self._resumed

    def lose(self, error: SourceError) -> None:
        """Ends the watch."""
        if not self.lost.done():
            self.lost.set_exception(error)
        for stream in self.streams.values():
            stream.moved.set()

    async def restart(self, positions: Mapping[str, str]) -> None:
        """Goes on where a listing was: what lies before it is in the listing. Only while the gap is open.

        Raises `PositionExpired` and `SourceDisconnected`.
        """
        for namespace, stream in self.streams.items():
            try:
                await stream.start(positions[namespace])
            except (PositionExpired, SourceDisconnected) as error:
                self.lose(error)
                raise
        self._hints.nothing_older_follows()

    async def probe(self) -> None:
        """See `sources/base.py`."""
        asked = time.monotonic()
        for namespace, stream in self.streams.items():
            await self._prove(namespace, stream)
        self._hints.proven(asked)

    async def _prove(self, namespace: str, stream: KubeStream) -> None:
        heard = stream.bookmarks
        deadline = time.monotonic() + PROOF_DEADLINE_SECONDS
        stream.awaited, stream.reached = set(), set()
        while True:
            stream.moved.clear()
            if self.lost.done():
                self.lost.result()
            if stream.reached:
                self._ask_again[namespace] = (time.monotonic() + ASK_SECONDS, ASK_SECONDS)
                return
            ordered = all(map(is_ordered, (stream.position, *stream.awaited)))
            if stream.bookmarks > heard and not ordered:
                return
            now = time.monotonic()
            if now >= deadline:
                self.lose(SourceDisconnected(f"{self._where}: neither a bookmark nor another proof came in time"))
                continue
            due, pause = self._ask_again.get(namespace, (0.0, ASK_SECONDS))
            if ordered and stream.awaited:
                due = deadline  # it will come there, or it brings nothing any more
            if now >= due:
                present = await self._ask(namespace, stream.position)
                if present is not None and reaches(stream.position, present):
                    self._ask_again[namespace] = (time.monotonic() + ASK_SECONDS, ASK_SECONDS)
                    return
                if present is not None and not stream.reached:
                    stream.awaited.add(present)
                due = time.monotonic() + pause
                self._ask_again[namespace] = (due, min(2 * pause, LONGEST_ASK_SECONDS))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(min(due, deadline) - now):
                    await stream.moved.wait()

    async def _ask(self, namespace: str, told: str) -> str | None:
        """The present version; nothing when it cannot be had now: the watch itself may be well.

        Nor when it lies before what was `told`: then versions began anew, and the watch is one of the past.
        """
        try:
            present = await self._present(namespace)
        except SourceError:
            return None
        began_anew = is_ordered(present) and is_ordered(told) and not reaches(present, told)
        return None if began_anew else present


def joined(positions: Mapping[str, str]) -> str:
    """The positions of all namespaces as one text."""
    if set(positions) == {EVERYWHERE}:
        return positions[EVERYWHERE]
    return json.dumps(positions, sort_keys=True, separators=(",", ":"))


def parted(position: str, namespaces: tuple[str, ...]) -> dict[str, str]:
    """The reverse of `joined`. Raises `PositionExpired` when it is the position of something else."""
    if namespaces == (EVERYWHERE,):
        found: object = {EVERYWHERE: position}
    else:
        try:
            found = json.loads(position)
        except ValueError:
            found = None
    if not isinstance(found, dict) or set(found) != set(namespaces) or not all(map(bool, found.values())):
        raise PositionExpired("the position to resume from is that of other namespaces")
    return {str(namespace): str(version) for namespace, version in found.items()}
