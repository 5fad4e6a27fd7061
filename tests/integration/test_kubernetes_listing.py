"""Listing Kubernetes objects: pages, snapshots that are gone, refusals, and what it costs."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from hybridsync.dirty import DirtySet
from hybridsync.errors import ListingFailed
from hybridsync.kube_target import Target
from hybridsync.model import Dirty, Listing, Put, Remove
from hybridsync.sources.kube_shape import Shape
from hybridsync.sources.kubernetes import KubernetesSource, kubernetes_source
from hybridsync.status import InformerState
from tests.eventually import eventually
from tests.fakes.kube_answers import Refusal
from tests.fakes.kube_api import DEPLOYMENTS, SECRETS, WIDGETS, KubeApi, kube_api
from tests.kube_scene import Scene, running, synced

TARGET = Target("apps/v1", "deployments")


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api(DEPLOYMENTS, SECRETS) as server:
        yield server


@pytest.fixture
def kubeconfig(api: KubeApi, tmp_path: Path) -> str:
    return api.kubeconfig(tmp_path)


def fill(api: KubeApi, count: int, size: int = 10) -> None:
    def work() -> None:
        for number in range(count):
            api.store.put("deployments", "prod", f"web-{number:05}", spec={"text": "x" * size})

    api.do(work)


def source_of(kubeconfig: str) -> KubernetesSource:
    return kubernetes_source(TARGET, Shape(TARGET), kubeconfig, None, asyncio.Semaphore(4))


async def test_pages_are_of_one_snapshot_and_changes_between_them_are_followed(api: KubeApi, kubeconfig: str) -> None:
    fill(api, 1200)
    pages: list[int] = []

    def changing(number: int) -> None:
        pages.append(number)
        api.store.put("deployments", "prod", "web-00001", spec={"text": f"page {len(pages)}"})
        if len(pages) == 1:
            api.store.delete("deployments", "prod", "web-01100")

    api.on_page = changing
    async with running(Scene(api, kubeconfig)) as it:
        await it.level()
        assert pages == [500, 500, 200]
        assert it.triggers == ["startup"]


async def test_a_snapshot_that_is_gone_is_gone_on_from_under_the_watch(api: KubeApi, kubeconfig: str) -> None:
    fill(api, 1200)

    def compacting(number: int) -> None:
        api.on_page = lambda number: None
        api.store.delete("deployments", "prod", "web-00000")
        api.store.put("deployments", "prod", "web-01150", spec={"text": "new"})
        asyncio.get_running_loop().call_later(0.1, api.store.compact)

    api.on_page = compacting
    async with running(Scene(api, kubeconfig)) as it:
        await it.level()


async def test_a_continue_token_that_expired_for_good_begins_the_listing_again(api: KubeApi, kubeconfig: str) -> None:
    fill(api, 700)
    api.offers_rest = False

    def compacting(number: int) -> None:
        api.on_page = lambda number: None
        api.store.put("deployments", "prod", "web-00000", spec={"text": "new"})
        api.store.compact()

    api.on_page = compacting
    async with running(Scene(api, kubeconfig)) as it:
        await it.level()
        assert "startup!" in it.triggers
        assert it.sink.sweeps == 0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (401, "the credentials are missing, wrong or expired"),
        (403, 'apiGroups: ["apps"], resources: ["deployments"], verbs: ["list"]'),
        (404, "the server has no such resource"),
    ],
)
async def test_a_refusal_is_told_and_ends_by_itself(api: KubeApi, kubeconfig: str, code: int, words: str) -> None:
    fill(api, 3)
    api.refused["list", "deployments"] = Refusal(code, "Refused")
    async with running(Scene(api, kubeconfig, informer_max_reconnects=10_000)) as it:
        await it.until(lambda: words in (it.resource.trouble or ""), "the reason is told")
        assert not it.status.in_sync
        api.do(api.refused.clear)
        await it.level()
        assert it.resource.trouble is None


async def test_one_resource_that_is_refused_does_not_hold_up_another(api: KubeApi, kubeconfig: str) -> None:
    fill(api, 3)
    api.refused["watch", "secrets"] = Refusal(403, "Forbidden")
    refused = Scene(api, kubeconfig, Target("v1", "secrets"))
    async with running(refused), running(Scene(api, kubeconfig)) as it:
        await it.level()
        await refused.until(lambda: 'verbs: ["watch"]' in (refused.resource.trouble or ""))


async def test_a_custom_resource_that_is_installed_later_is_followed_then(api: KubeApi, kubeconfig: str) -> None:
    async with running(Scene(api, kubeconfig, Target("example.com/v1", "widgets"))) as it:
        await it.until(lambda: "CustomResourceDefinition" in (it.resource.trouble or ""))
        api.do(lambda: api.store.add_type(WIDGETS))
        api.put("widgets", "prod", "first", spec={"size": 1})
        await it.level()


async def test_a_custom_resource_that_is_removed_takes_nothing_with_it(api: KubeApi, kubeconfig: str) -> None:
    api.do(lambda: api.store.add_type(WIDGETS))
    api.put("widgets", "prod", "first", spec={"size": 1})
    async with synced(Scene(api, kubeconfig, Target("example.com/v1", "widgets"))) as it:
        api.do(lambda: api.store.tables.pop(("example.com/v1", "widgets")))
        api.cut_watches()
        await it.until(lambda: it.status.informer_state is InformerState.DISCONNECTED)
        with pytest.raises(ListingFailed, match="no such resource"):
            await it.source.read([Dirty("prod/first")])
        assert set(it.held()) == {"prod/first"}


async def test_a_token_that_is_rotated_is_read_again(api: KubeApi, tmp_path: Path) -> None:
    fill(api, 3)
    api.token = "first"
    async with synced(Scene(api, api.kubeconfig(tmp_path, "first"))) as it:
        api.token = "second"
        api.kubeconfig(tmp_path, "second")
        api.cut_watches()
        api.put("deployments", "prod", "new", spec={})
        await it.level()
        assert "second" in {one.token for one in api.asked}


async def test_listings_of_all_resources_are_bounded_together(api: KubeApi, kubeconfig: str) -> None:
    fill(api, 10)
    lists = asyncio.Semaphore(2)
    sources = [kubernetes_source(TARGET, Shape(TARGET), kubeconfig, None, lists) for _ in range(8)]

    async def listed(source: KubernetesSource) -> int:
        return sum([len(batch.records) async for batch in source.list(Listing())])

    assert await asyncio.gather(*map(listed, sources)) == [10] * 8
    assert api.most_listing <= 2
    for source in sources:
        await source.close()


async def test_proofs_never_wait_for_the_listings_of_others(api: KubeApi, kubeconfig: str) -> None:
    fill(api, 3)
    lists = asyncio.Semaphore(1)
    source = kubernetes_source(TARGET, Shape(TARGET), kubeconfig, None, lists)
    await source.connect()
    await lists.acquire()
    async with source.watch(DirtySet()) as watch:
        await asyncio.wait_for(watch.probe(), 60)
    await source.close()


async def test_a_busy_server_leaves_the_listings_of_others_their_place(
    api: KubeApi, kubeconfig: str, tmp_path: Path
) -> None:
    fill(api, 3)
    lists = asyncio.Semaphore(1)
    with kube_api(DEPLOYMENTS) as busy:
        busy.refused["list", "deployments"] = Refusal(429, "TooManyRequests", headers={"Retry-After": "20"})
        (tmp_path / "busy").mkdir()
        waiting = kubernetes_source(TARGET, Shape(TARGET), busy.kubeconfig(tmp_path / "busy"), None, lists)
        source = kubernetes_source(TARGET, Shape(TARGET), kubeconfig, None, lists)
        listing = asyncio.create_task(anext(waiting.list(Listing())))
        await eventually(lambda: busy.count("list") == 1, what="it is told to wait")
        assert sum([len(batch.records) async for batch in source.list(Listing())]) == 3
        assert not listing.done()
        listing.cancel()
        await asyncio.wait({listing})
        await source.close()
        await waiting.close()


async def test_what_was_listed_is_not_overwritten_by_an_older_event(api: KubeApi, kubeconfig: str) -> None:
    api.bookmark_seconds = 1000.0
    async with synced(Scene(api, kubeconfig)) as it:
        source = it.source
        async for _ in source.list(Listing()):
            pass
        api.put("deployments", "prod", "after", spec={})
        await it.until(lambda: api.count("get") == 1, "an event under doubt is read again")
        await it.level()


async def test_reading_keys_tells_what_is_there_and_what_is_gone(api: KubeApi, kubeconfig: str) -> None:
    fill(api, 1)
    source = source_of(kubeconfig)
    changes = await source.read([Dirty("prod/web-00000"), Dirty("prod/none")])
    assert isinstance(changes[0], Put)
    assert changes[1] == Remove("prod/none")
    await source.close()


async def test_a_server_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    with kube_api() as gone:
        file = gone.kubeconfig(tmp_path)
    it = Scene(gone, file)
    async with running(it):
        await it.until(lambda: "connection failed" in (it.resource.trouble or ""))
        assert "\n" not in (it.resource.trouble or "")


@pytest.mark.timeout(300)
async def test_memory_does_not_grow_with_the_cluster(api: KubeApi, kubeconfig: str) -> None:
    peaks: list[int] = []
    source = source_of(kubeconfig)
    for count in (1000, 5000):
        fill(api, count, 3000)
        tracemalloc.start()
        listed = 0
        before = tracemalloc.get_traced_memory()[0]
        async for batch in source.list(Listing()):
            listed += len(batch.records)
            peaks.append(0)
            peaks[-1] = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert listed == count
    await source.close()
    small, large = peaks[:2], peaks[2:]
    assert max(large) < 3 * max(small) + 8 * 2**20
