"""Objects of a Kubernetes API as a source: listed page by page, watched with bookmarks, resumed without a listing.

The engine arms the watch first and lists under it. Events carry the objects, so changes need no request,
except while there is doubt whether an event is older than what was listed (`kube_hints`).

Of several namespaces, those that may not be read (403) are left alone, and looked at again every few seconds; the
others are followed. What is left alone has no stream, no position and no proof (`kube_namespaces`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from hybridsync.dirty import DirtySet
from hybridsync.errors import ListingFailed, PositionExpired, SourceDisconnected
from hybridsync.give_way import give_way
from hybridsync.kube_object import is_before
from hybridsync.kube_target import EVERYWHERE, Target
from hybridsync.kubernetes.client import KubeClient
from hybridsync.model import Batch, Change, Dirty, Listing, Remove
from hybridsync.sources.base import Watch
from hybridsync.sources.kube_failures import RightMissing
from hybridsync.sources.kube_hints import Hints
from hybridsync.sources.kube_namespaces import Namespaces
from hybridsync.sources.kube_pages import METADATA_LIST, Page, Pages
from hybridsync.sources.kube_place import cluster_uid
from hybridsync.sources.kube_reader import Reader
from hybridsync.sources.kube_records import outlined, records_of
from hybridsync.sources.kube_shape import Shape, meta_of, namespace_of
from hybridsync.sources.kube_stream import SILENCE_SECONDS, KubeStream
from hybridsync.sources.kube_together import together
from hybridsync.sources.kube_watch import PROOF_SECONDS, STARTS_AT_ONCE, KubeWatch, joined, parted, went_back

READS_AT_ONCE = 8
OUTLINE_PAUSE_SECONDS = 0.5
"""Between two pages of an outline, so that a large one takes minutes and is no burst."""


class KubernetesSource:
    """The objects of `target`. `lists`: bounds the LIST requests of all resources that share it.

    `silence_seconds`: a watch that brings nothing for so long is given up; longer than bookmarks take.
    """

    def __init__(
        self,
        client: KubeClient,
        target: Target,
        shape: Shape,
        lists: asyncio.Semaphore,
        *,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._client = client
        self._target = target
        self._shape = shape
        self._pages = Pages(client, target, lists)
        self._reader = Reader(client, target, shape, self._pages)
        self._outlines = asyncio.Semaphore(1)
        self._silence = silence_seconds
        self._hints = Hints()
        self._namespaces = Namespaces(client, target, self._pages)
        self._watch: KubeWatch | None = None
        self._suspect = False
        self._cluster = ""
        self._place: str | None = None
        self._watched_place: str | None = None

    @property
    def description(self) -> str:
        """Kind, resource and server."""
        return f"{self._target} in {self._client.where}"

    @property
    def invalid(self) -> Mapping[str, str]:
        """No rules, so nothing breaks them."""
        return {}

    @property
    def unreadable(self) -> Mapping[str, str]:
        """The namespaces among several that may not be read, with the missing right."""
        return self._namespaces.hidden

    @property
    def trouble(self) -> str | None:
        """See `sources/base.py`."""
        return self._client.trouble

    @property
    def place(self) -> str | None:
        """Server, CA, and the uid of the namespace kube-system where that may be read."""
        return self._place

    @property
    def removal_seen(self) -> bool:
        """Never: a resource type that is gone is an error of the listing."""
        return False

    @property
    def proof_seconds(self) -> float:
        """A bookmark comes about once a minute."""
        return PROOF_SECONDS

    async def connect(self) -> None:
        """Loads the credentials, and finds out which cluster it is.

        Only when the last watch could not be armed is it asked for the objects, too.
        """
        await self._client.open()
        uid = await cluster_uid(self._client)
        self._cluster = self._client.cluster
        self._place = f"{self._cluster} {uid}".strip()
        if self._suspect:
            await self._namespaces.require_one()
            self._suspect = False

    @asynccontextmanager
    async def watch(self, dirty: DirtySet, resume: str | None = None) -> AsyncIterator[Watch]:
        """See `sources/base.py`. Without `resume` it begins at the present version, asked for by a LIST of one."""
        if resume is not None and self._watched_place not in (None, self._place):
            raise PositionExpired(f"{self._client.where}: it is another cluster than that of the position")
        self._hints.doubt()
        watch = KubeWatch(
            self._hints, self._present, self._client.where, self._namespaces.hide, resumed=resume is not None
        )
        looking: asyncio.Task[None] | None = None
        try:
            await self._arm(watch, dirty, resume)
            self._watch, self._watched_place = watch, self._place
            looking = asyncio.create_task(self._namespaces.look_again(watch.lose), name="hybridsync-kubernetes-rights")
            yield watch
        finally:
            self._watch = None
            if looking is not None:
                looking.cancel()
                await asyncio.wait({looking})
            await watch.stop()

    async def list(self, listing: Listing) -> AsyncGenerator[Batch, None]:
        """See `sources/base.py`.

        The first listing under a watch that did not resume also moves the watch to where the listing was: the
        gap is open then, so nothing is claimed before the listing is written.
        """
        watch = self._watch
        movable = watch is not None and not watch.resumed and not watch.listed
        if watch is not None:
            watch.listed = True
        positions: dict[str, str] = {}
        self._hints.listing_begins()
        try:
            async with aclosing(self._walk(listing, positions, self._pages)) as pages:
                async for page in pages:
                    movable = movable and page.consistent
                    yield Batch(await records_of(page, self._shape, self.description))
        finally:
            self._hints.listing_ends()
        if movable and watch is not None and watch is self._watch and not watch.lost.done():
            await watch.restart(positions)
        self._finish(listing, positions)

    def outline(self, listing: Listing) -> AsyncGenerator[Batch, None]:
        """Names, uids and versions alone, at a pace of its own; see `sources/base.py`."""
        return self._outline(listing)

    async def _outline(self, listing: Listing) -> AsyncGenerator[Batch, None]:
        """By metadata only; whole objects where the server serves nothing else."""
        positions: dict[str, str] = {}
        pages = Pages(self._client, self._target, self._outlines, METADATA_LIST)
        async with aclosing(self._walk(listing, positions, pages, OUTLINE_PAUSE_SECONDS)) as walk:
            async for page in walk:
                yield Batch(outlined(page, self.description))
                await give_way()
        self._finish(listing, positions)

    async def read(self, keys: Sequence[Dirty]) -> Sequence[Change]:
        """See `sources/base.py`. What an event said needs no request; the rest is asked for, some at a time."""
        known = [self._hints.take(key) for key, _ in keys]
        missing = list(dict.fromkeys(key for (key, _), change in zip(keys, known, strict=True) if change is None))
        answers = dict(zip(missing, await together(self._read, missing, READS_AT_ONCE), strict=True))
        changes = (change or answers[key] for (key, _), change in zip(keys, known, strict=True))
        return [change for change in changes if change is not None]

    async def close(self) -> None:
        """See `sources/base.py`."""
        await self._client.close()

    # -- watching ---------------------------------------------------------------------------------

    async def _arm(self, watch: KubeWatch, dirty: DirtySet, resume: str | None) -> None:
        def take(kind: str, served: Mapping[str, Any]) -> None:
            record = None if kind == "DELETED" else self._shape.record(served)
            key = meta_of(served).key
            self._hints.remember(key, record)
            dirty.mark(key)

        known = parted(resume, self._target.namespaces) if resume is not None else {}
        refused: dict[str, RightMissing] = {}

        async def begin(namespace: str) -> None:
            def lost(error: Any) -> None:
                watch.stream_lost(namespace, error)

            stream = KubeStream(self._client, self._target, namespace, take, lost, self._cluster, self._silence)
            try:
                position = present = await self._present(namespace)
                if resume is not None:
                    position = self._resumable(namespace, known, present)
                await stream.start(position, doubtful=resume is not None)
                watch.streams[namespace] = stream
            except RightMissing as error:
                refused[namespace] = error

        try:
            await together(begin, self._target.namespaces, STARTS_AT_ONCE)
            self._namespaces.refused(refused)
        except ListingFailed as error:
            self._suspect = True
            raise SourceDisconnected(str(error)) from None
        except SourceDisconnected:
            self._suspect = True
            raise

    def _resumable(self, namespace: str, known: Mapping[str, str], present: str) -> str:
        """Where to go on in a namespace. Raises `PositionExpired` where that cannot be."""
        if namespace not in known:
            raise PositionExpired(f"{self.description}: namespace {namespace} may be read now, and was not before")
        if is_before(present, known[namespace]):
            raise went_back(self._client.where, known[namespace], present)
        return known[namespace]

    async def _present(self, namespace: str) -> str:
        """The present version of the collection, from the quorum: a LIST of one object."""
        return (await self._pages.one(namespace)).version

    # -- listing ----------------------------------------------------------------------------------

    async def _walk(
        self, listing: Listing, positions: dict[str, str], pages: Pages, pause: float = 0.0
    ) -> AsyncGenerator[Page, None]:
        """The pages of all namespaces that may be read; `positions` gets where each of them was."""
        watch = self._watch
        refused: dict[str, RightMissing] = {}
        for namespace in self._target.namespaces:
            if watch is not None and namespace in self._namespaces.hidden:
                continue
            try:
                async with aclosing(pages.of(namespace, pause=pause)) as found:
                    async for page in found:
                        positions.setdefault(namespace, page.version)
                        if page.remaining is not None and self._target.namespaces == (EVERYWHERE,):
                            listing.total = listing.total or page.remaining + len(page.items)
                        yield page
            except RightMissing as error:
                positions.pop(namespace, None)
                refused[namespace] = error
                if watch is not None and not watch.hide(namespace, error):
                    raise
        if watch is None:
            self._namespaces.refused(refused)

    def _finish(self, listing: Listing, positions: Mapping[str, str]) -> None:
        hidden = self._namespaces.hidden
        listing.unreadable.extend(sorted(hidden))
        listing.position = joined({name: version for name, version in positions.items() if name not in hidden})

    # -- reading ----------------------------------------------------------------------------------

    async def _read(self, key: str) -> Change | None:
        """One object as it is now; nothing where that may not be known."""
        namespace = namespace_of(key)
        if self._target.namespaces != (EVERYWHERE,):
            if namespace not in self._target.namespaces:
                return Remove(key, as_of=0)
            if namespace in self._namespaces.hidden:
                return None
        try:
            return await self._reader.read(key)
        except RightMissing as error:
            if self._watch is None or not self._watch.hide(namespace, error):
                raise
            return None


def kubernetes_source(
    target: Target, shape: Shape, kubeconfig: str | None, context: str | None, lists: asyncio.Semaphore
) -> KubernetesSource:
    """A source with a client of its own. What is wrong with the kubeconfig is told when it connects."""
    return KubernetesSource(KubeClient(kubeconfig, context), target, shape, lists)
