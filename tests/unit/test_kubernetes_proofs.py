"""What a watch of Kubernetes objects takes for proof that nothing was missed, and what it does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from hybridsync.errors import ListingFailed, PositionExpired, SourceDisconnected, SourceError
from hybridsync.kube_target import Target
from hybridsync.kubernetes.client import KubeClient, Params
from hybridsync.sources import kube_watch
from hybridsync.sources.kube_failures import ReadForbidden
from hybridsync.sources.kube_hints import Hints
from hybridsync.sources.kube_stream import KubeStream
from hybridsync.sources.kube_watch import KubeWatch
from tests.eventually import eventually

TARGET = Target("apps/v1", "deployments")


async def let_it_run() -> None:
    """Some turns of the loop, for what follows from what was just heard."""
    for _ in range(20):
        await asyncio.sleep(0)


class Server:
    """Says what the test says: `lines` of the one watch, and the `present` version of the collection."""

    where = "Kubernetes"
    cluster = ""

    def __init__(self, present: str) -> None:
        self.present = present
        self.asked = 0
        self.heard: list[str] = []
        self.failure: SourceError | None = None
        self._told: asyncio.Queue[bytes] = asyncio.Queue()

    @asynccontextmanager
    async def lines(self, path: str, params: Params, silence: float) -> AsyncIterator[AsyncIterator[bytes]]:
        async def told() -> AsyncIterator[bytes]:
            while True:
                yield await self._told.get()

        yield told()

    def say(self, kind: str, version: str) -> None:
        """Sends an event."""
        metadata = {"name": "web", "namespace": "prod", "uid": "u", "resourceVersion": version}
        self._told.put_nowait(json.dumps({"type": kind, "object": {"metadata": metadata}}).encode())

    async def tell(self, watch: KubeWatch, kind: str, version: str) -> None:
        """Returns when the watch has heard of it."""
        self.say(kind, version)
        await eventually(lambda: watch.position == version, what=f"{version} is heard of")
        await let_it_run()

    async def version(self, namespace: str) -> str:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return self.present


@asynccontextmanager
async def watching(server: Server, position: str) -> AsyncIterator[KubeWatch]:
    def take(kind: str, served: Mapping[str, Any]) -> None:
        server.heard.append(kind)

    watch = KubeWatch(Hints(), server.version, server.where, resumed=False)
    stream = KubeStream(cast(KubeClient, server), TARGET, "*", take, watch.lose, "")
    await stream.start(position)
    watch.streams["*"] = stream
    try:
        yield watch
    finally:
        await stream.stop()


@asynccontextmanager
async def asking(watch: KubeWatch, server: Server) -> AsyncIterator[asyncio.Task[None]]:
    """A question that is under way, its present version known."""
    before = server.asked
    probe = asyncio.create_task(watch.probe())
    try:
        await eventually(lambda: server.asked > before, what="the present version is asked for")
        await let_it_run()
        yield probe
    finally:
        probe.cancel()


async def test_a_watch_that_is_at_the_present_version_is_proven_at_once() -> None:
    server = Server("100")
    async with watching(server, "100") as watch:
        await asyncio.wait_for(watch.probe(), 60)


async def test_a_bookmark_that_was_on_its_way_before_the_question_is_no_proof() -> None:
    server = Server("100")
    async with watching(server, "90") as watch, asking(watch, server) as probe:
        await server.tell(watch, "BOOKMARK", "95")
        assert not probe.done()
        await server.tell(watch, "BOOKMARK", "1000")
        await asyncio.wait_for(probe, 60)
    assert server.asked == 1


@pytest.mark.parametrize("version", ["100", "101"])
async def test_an_event_at_or_behind_the_present_version_is_a_proof(version: str) -> None:
    server = Server("100")
    async with watching(server, "90") as watch, asking(watch, server) as probe:
        await server.tell(watch, "MODIFIED", "99")
        assert not probe.done()
        await server.tell(watch, "MODIFIED", version)
        await asyncio.wait_for(probe, 60)
    assert server.heard == ["MODIFIED", "MODIFIED"]


async def test_where_versions_are_no_numbers_a_bookmark_after_the_question_has_to_do() -> None:
    server = Server("z-100")
    async with watching(server, "z-90") as watch, asking(watch, server) as probe:
        await server.tell(watch, "MODIFIED", "z-99")
        assert not probe.done()
        await server.tell(watch, "BOOKMARK", "z-95")
        await asyncio.wait_for(probe, 60)


async def test_where_versions_are_no_numbers_an_event_of_exactly_that_version_is_a_proof() -> None:
    server = Server("z-100")
    async with watching(server, "z-90") as watch, asking(watch, server) as probe:
        await server.tell(watch, "MODIFIED", "z-100")
        await asyncio.wait_for(probe, 60)


async def test_a_present_version_before_what_was_told_is_of_another_history_and_ends_the_watch() -> None:
    server = Server("50")
    async with watching(server, "90") as watch:
        with pytest.raises(PositionExpired, match="50 lies before 90"):
            await asyncio.wait_for(watch.probe(), 60)
        assert isinstance(watch.lost.exception(), PositionExpired)


@pytest.mark.parametrize("kind", ["BOOKMARK", "MODIFIED"])
async def test_a_watch_that_goes_back_is_one_of_another_history(kind: str) -> None:
    server = Server("100")
    async with watching(server, "90") as watch:
        server.say(kind, "89")
        await eventually(watch.lost.done, what="the watch ends")
        assert isinstance(watch.lost.exception(), PositionExpired)
        assert "went back from version 90 to 89" in str(watch.lost.exception())
        assert server.heard == []


async def test_where_versions_are_no_numbers_none_goes_back() -> None:
    server = Server("z-100")
    async with watching(server, "z-90") as watch, asking(watch, server):
        await server.tell(watch, "MODIFIED", "z-10")
        assert not watch.lost.done()


@pytest.mark.parametrize(
    "error",
    [ReadForbidden("403 Forbidden"), ListingFailed("500 InternalError"), SourceDisconnected("no answer in time")],
    ids=lambda error: str(error),
)
async def test_a_question_in_vain_is_told_at_once_and_the_watch_goes_on(error: SourceError) -> None:
    server = Server("100")
    server.failure = error
    async with watching(server, "90") as watch:
        with pytest.raises(type(error), match=str(error)):
            await asyncio.wait_for(watch.probe(), 60)
        assert not watch.lost.done()
        server.failure = None
        async with asking(watch, server) as probe:
            await server.tell(watch, "BOOKMARK", "100")
            await asyncio.wait_for(probe, 60)


async def test_without_bookmarks_and_events_there_is_no_proof_but_the_watch_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kube_watch, "PROOF_DEADLINE_SECONDS", 0.05)
    server = Server("100")
    async with watching(server, "90") as watch:
        with pytest.raises(Exception, match="neither a bookmark nor another proof"):
            await asyncio.wait_for(watch.probe(), 60)
