"""Objects of a Kubernetes API as a source: listed page by page, watched with bookmarks, resumed without a listing.

The engine arms the watch first and lists under it. Events carry the objects, so changes need no request,
except while there is doubt whether an event is older than what was listed (`kube_hints`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import quote

from hybridsync.dirty import DirtySet
from hybridsync.errors import ListingFailed, SourceDisconnected
from hybridsync.give_way import give_way
from hybridsync.kube_target import EVERYWHERE, Target
from hybridsync.kubernetes import credentials
from hybridsync.kubernetes.client import KubeClient
from hybridsync.kubernetes.failures import ApiFailure
from hybridsync.model import Batch, Change, Dirty, Listing, Put, Record, Remove
from hybridsync.sources.base import Watch
from hybridsync.sources.kube_failures import read_error
from hybridsync.sources.kube_hints import Hints
from hybridsync.sources.kube_pages import Page, Pages
from hybridsync.sources.kube_shape import Shape, meta_of, namespace_of
from hybridsync.sources.kube_stream import SILENCE_SECONDS, KubeStream
from hybridsync.sources.kube_watch import PROOF_SECONDS, KubeWatch, joined, parted

READS_AT_ONCE = 8
TURN_RECORDS = 50


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
        self._lists = lists
        self._silence = silence_seconds
        self._hints = Hints()
        self._watch: KubeWatch | None = None
        self._suspect = False

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
        """See `sources/base.py`."""
        return {}

    @property
    def trouble(self) -> str | None:
        """See `sources/base.py`."""
        return None

    @property
    def place(self) -> str | None:
        """See `sources/base.py`."""
        return None

    @property
    def removal_seen(self) -> bool:
        """Never: a resource type that is gone is an error of the listing."""
        return False

    @property
    def proof_seconds(self) -> float:
        """A bookmark comes about once a minute."""
        return PROOF_SECONDS

    async def connect(self) -> None:
        """Loads the credentials. Only when the last watch could not be armed is the server asked for anything."""
        await self._client.open()
        if self._suspect:
            for namespace in self._target.namespaces:
                await self._present(namespace)
            self._suspect = False

    @asynccontextmanager
    async def watch(self, dirty: DirtySet, resume: str | None = None) -> AsyncIterator[Watch]:
        """See `sources/base.py`. Without `resume` it begins at the present version, asked for by a LIST of one."""
        self._hints.doubt()
        watch = KubeWatch(self._hints, self._present, self._client.where, resumed=resume is not None)
        try:
            await self._arm(watch, dirty, resume)
            self._watch = watch
            yield watch
        finally:
            self._watch = None
            for stream in watch.streams.values():
                await stream.stop()

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
            for namespace in self._target.namespaces:
                async with aclosing(self._pages.of(namespace)) as pages:
                    async for page in pages:
                        positions.setdefault(namespace, page.version)
                        movable = movable and page.consistent
                        if page.remaining is not None and self._target.namespaces == (EVERYWHERE,):
                            listing.total = listing.total or page.remaining + len(page.items)
                        yield Batch(await self._records(page))
        except (KeyError, TypeError, ValueError) as error:
            raise ListingFailed(f"{self.description}: an item is no object ({type(error).__name__})") from None
        finally:
            self._hints.listing_ends()
        if movable and watch is not None and watch is self._watch and not watch.lost.done():
            await watch.restart(positions)
        listing.position = joined(positions)

    def outline(self, listing: Listing) -> None:
        """Nothing cheaper than a listing."""

    async def read(self, keys: Sequence[Dirty]) -> Sequence[Change]:
        """See `sources/base.py`. What an event said needs no request; the rest is asked for, some at a time."""
        known = [self._hints.take(key) for key, _ in keys]
        room = asyncio.Semaphore(READS_AT_ONCE)

        async def ask(key: str) -> Change:
            async with room:
                return await self._read(key)

        missing = list(dict.fromkeys(key for (key, _), change in zip(keys, known, strict=True) if change is None))
        tasks = [asyncio.create_task(ask(key)) for key in missing]
        try:
            answers = dict(zip(missing, await asyncio.gather(*tasks), strict=True))
        finally:
            for task in tasks:
                task.cancel()
        return [change or answers[key] for (key, _), change in zip(keys, known, strict=True)]

    async def close(self) -> None:
        """See `sources/base.py`."""
        await self._client.close()

    async def _arm(self, watch: KubeWatch, dirty: DirtySet, resume: str | None) -> None:
        def take(kind: str, served: Mapping[str, Any]) -> None:
            record = None if kind == "DELETED" else self._shape.record(served)
            key = meta_of(served).key
            self._hints.remember(key, record)
            dirty.mark(key)

        known = parted(resume, self._target.namespaces) if resume is not None else {}
        try:
            for namespace in self._target.namespaces:
                position = known.get(namespace) or await self._present(namespace)
                stream = KubeStream(self._client, self._target, namespace, take, watch.lose, self._silence)
                await stream.start(position, doubtful=resume is not None)
                watch.streams[namespace] = stream
        except ListingFailed as error:
            self._suspect = True
            raise SourceDisconnected(str(error)) from None
        except SourceDisconnected:
            self._suspect = True
            raise

    async def _records(self, page: Page) -> Sequence[Record]:
        """The records of a page; others on the loop get their turn meanwhile."""
        records: list[Record] = []
        for number, item in enumerate(page.items, 1):
            records.append(self._shape.record(item, page.kind))
            if number % TURN_RECORDS == 0:
                await give_way()
        return records

    async def _present(self, namespace: str) -> str:
        """The present version of the collection, from the quorum: a LIST of one object."""
        page = await self._pages.one(namespace, limit=1)
        return page.version

    async def _read(self, key: str) -> Change:
        """One object as it is now. With selectors it is looked for among those that match them."""
        namespace = namespace_of(key)
        if self._target.namespaces != (EVERYWHERE,) and namespace not in self._target.namespaces:
            return Remove(key, as_of=0)
        name = key.rpartition("/")[2]
        try:
            if self._target.label_selector or self._target.field_selector:
                found = await self._pages.named(namespace, name)
            else:
                path = f"{self._target.path(namespace)}/{quote(name, safe='')}"
                found = [await self._client.get(path, {})]
            records = [self._shape.record(one) for one in found]
        except ApiFailure as failure:
            if failure.code == 404:
                if failure.name != name:
                    await self._present(namespace)  # raises when it is the whole resource that is not there
                return Remove(key)
            raise read_error(failure, self._client.where, "get", self._target) from None
        except (KeyError, TypeError, ValueError) as error:
            raise ListingFailed(f"{self.description}: {key} is no object ({type(error).__name__})") from None
        return next((Put(record) for record in records if record.key == key), Remove(key))


def kubernetes_source(
    target: Target, shape: Shape, kubeconfig: str | None, context: str | None, lists: asyncio.Semaphore
) -> KubernetesSource:
    """A source with a client of its own. Raises `ConfigurationError` for a kubeconfig that cannot be used."""
    credentials.check(kubeconfig, context)
    return KubernetesSource(KubeClient(kubeconfig, context), target, shape, lists)
