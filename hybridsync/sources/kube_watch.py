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
from hybridsync.kube_object import is_before, is_ordered, reaches
from hybridsync.kube_target import EVERYWHERE
from hybridsync.sources.kube_failures import RightMissing
from hybridsync.sources.kube_hints import Hints
from hybridsync.sources.kube_stream import KubeStream
from hybridsync.sources.kube_together import together

PROOF_SECONDS = 75.0
"""A bookmark a minute, and some time for it."""

PROOF_DEADLINE_SECONDS = 150.0
ASK_SECONDS, LONGEST_ASK_SECONDS = 5.0, 60.0
"""Between two questions for the present version; doubled while the answer was of no use."""

ASK_SECONDS_EACH = 0.1
"""For each further namespace: of many of them, each is asked about less often."""

STARTS_AT_ONCE = 8

Present = Callable[[str], Awaitable[str]]


class KubeWatch:
    """The streams by namespace, armed. `present` asks for the present version of a namespace's collection.

    `on_hidden` is told of each namespace that may not be read; it has no stream then, and nothing is claimed of it.
    """

    def __init__(
        self,
        hints: Hints,
        present: Present,
        where: str,
        on_hidden: Callable[[str, RightMissing], None] = lambda namespace, error: None,
        *,
        resumed: bool,
    ) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost.add_done_callback(lambda future: future.exception())
        self.streams: dict[str, KubeStream] = {}
        self.listed = False
        """Whether a listing began under this watch."""
        self._hints = hints
        self._present = present
        self._where = where
        self._on_hidden = on_hidden
        self._resumed = resumed
        self._ask_again: dict[str, tuple[float, float]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def position(self) -> str | None:
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

    def stream_lost(self, namespace: str, error: SourceError) -> None:
        """What a stream that ended says: a missing right ends that stream, everything else the watch."""
        if not (isinstance(error, RightMissing) and self.hide(namespace, error)):
            self.lose(error)

    def hide(self, namespace: str, error: RightMissing) -> bool:
        """Leaves a namespace that may not be read alone and goes on with the others, if there are any."""
        if set(self.streams) <= {namespace}:
            return False
        self._on_hidden(namespace, error)
        stream = self.streams.pop(namespace, None)
        if stream is not None:
            stream.moved.set()
            ending = asyncio.create_task(stream.stop())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        return True

    async def stop(self) -> None:
        """Ends every stream; nothing is taken after that."""
        for stream in list(self.streams.values()):
            await stream.stop()
        if self._ending:
            await asyncio.wait(self._ending)

    async def restart(self, positions: Mapping[str, str]) -> None:
        """Goes on where a listing was: what lies before it is in the listing. Only while the gap is open.

        Raises `PositionExpired` and `SourceDisconnected`.
        """

        async def restarted(namespace: str) -> None:
            stream = self.streams.get(namespace)
            if stream is None or namespace not in positions:
                return
            try:
                await stream.start(positions[namespace])
            except RightMissing as error:
                if not self.hide(namespace, error):
                    raise

        try:
            await together(restarted, list(self.streams), STARTS_AT_ONCE)
        except SourceError as error:
            self.lose(error)
            raise
        self._hints.nothing_older_follows()

    async def probe(self) -> None:
        """See `sources/base.py`."""
        asked = time.monotonic()
        streams = list(self.streams)
        await together(self._proven, streams, len(streams))
        if self.lost.done():
            self.lost.result()
        self._hints.proven(asked)

    async def _proven(self, namespace: str) -> None:
        stream = self.streams.get(namespace)
        if stream is None:
            return
        try:
            await self._prove(namespace, stream)
        except RightMissing as error:
            if not self.hide(namespace, error):
                raise

    async def _prove(self, namespace: str, stream: KubeStream) -> None:
        heard = stream.bookmarks
        deadline = time.monotonic() + PROOF_DEADLINE_SECONDS
        shortest = max(ASK_SECONDS, (len(self.streams) - 1) * ASK_SECONDS_EACH)
        stream.awaited, stream.reached = set(), set()
        while self.streams.get(namespace) is stream:
            stream.moved.clear()
            if self.lost.done():
                self.lost.result()
            if stream.reached:
                self._ask_again[namespace] = (time.monotonic() + shortest, shortest)
                return
            ordered = all(map(is_ordered, (stream.position, *stream.awaited)))
            if stream.bookmarks > heard and not ordered:
                return
            now = time.monotonic()
            if now >= deadline:
                self.lose(SourceDisconnected(f"{self._where}: neither a bookmark nor another proof came in time"))
                continue
            due, pause = self._ask_again.get(namespace, (0.0, shortest))
            if ordered and stream.awaited:
                due = deadline  # it will come there, or it brings nothing any more
            if now >= due:
                present = await self._ask(namespace, stream.position)
                if reaches(stream.position, present):
                    self._ask_again[namespace] = (time.monotonic() + shortest, shortest)
                    return
                if not stream.reached:
                    stream.awaited.add(present)
                due = time.monotonic() + pause
                self._ask_again[namespace] = (due, min(2 * pause, max(LONGEST_ASK_SECONDS, shortest)))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(min(due, deadline) - now):
                    await stream.moved.wait()

    async def _ask(self, namespace: str, told: str) -> str:
        """The present version. Raises what the question failed with: the watch itself may be well.

        When it lies before what was `told`, versions began anew, and the watch is one of the past: it is lost.
        """
        present = await self._present(namespace)
        if is_before(present, told):
            self.lose(went_back(self._where, told, present))
            self.lost.result()
        return present


def went_back(where: str, told: str, present: str) -> PositionExpired:
    """Versions only grow in the life of a cluster."""
    return PositionExpired(
        f"{where}: the present version {present} lies before {told}, where the watch was: "
        "the cluster was restored from a backup, or it is another one"
    )


def joined(positions: Mapping[str, str]) -> str | None:
    """The positions of all namespaces that may be read, as one text; `None` when there is none."""
    if set(positions) == {EVERYWHERE}:
        return positions[EVERYWHERE]
    return json.dumps(positions, sort_keys=True, separators=(",", ":")) if positions else None


def parted(position: str, namespaces: tuple[str, ...]) -> dict[str, str]:
    """The reverse of `joined`. Raises `PositionExpired` when it is the position of something else."""
    if namespaces == (EVERYWHERE,):
        found: object = {EVERYWHERE: position}
    else:
        try:
            found = json.loads(position)
        except ValueError:
            found = None
    if not isinstance(found, dict) or not found or not set(found) <= set(namespaces) or not all(found.values()):
        raise PositionExpired("the position to resume from is that of other namespaces")
    return {str(namespace): str(version) for namespace, version in found.items()}
