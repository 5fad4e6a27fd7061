"""Another cluster, or the same one put back from a backup: no position is taken for its own, and what differs is found.

The comparison is by metadata only; it must cost little, and give way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hybridsync.dirty import DirtySet
from hybridsync.errors import PositionExpired, SourceDisconnected
from hybridsync.kube_target import Target
from hybridsync.model import Listing, Record
from hybridsync.sources import kubernetes
from hybridsync.sources.kube_pages import METADATA_LIST
from hybridsync.sources.kube_shape import Shape
from hybridsync.sources.kubernetes import KubernetesSource, kubernetes_source
from tests.fakes.kube_answers import Instead, Refusal
from tests.fakes.kube_api import DEPLOYMENTS, NAMESPACES, KubeApi, kube_api
from tests.kube_scene import Scene, running, synced

TARGET = Target("apps/v1", "deployments")


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api(DEPLOYMENTS, NAMESPACES) as server:
        server.put("namespaces", "", "kube-system")
        for number in range(5):
            server.put("deployments", "prod", f"web-{number}", spec={"replicas": number})
        server.bookmark_seconds = 0.1
        yield server


@pytest.fixture
def kubeconfig(api: KubeApi, tmp_path: Path) -> str:
    return api.kubeconfig(tmp_path)


def source_of(kubeconfig: str, target: Target = TARGET) -> KubernetesSource:
    return kubernetes_source(target, Shape(target), kubeconfig, None, asyncio.Semaphore(4))


async def place_of(kubeconfig: str) -> str:
    source = source_of(kubeconfig)
    assert source.place is None
    await source.connect()
    place = source.place
    await source.close()
    assert place is not None
    return place


async def outlined(source: KubernetesSource, listing: Listing | None = None) -> list[Record]:
    return [record async for batch in source.outline(listing or Listing()) for record in batch.records]


# -- whose a position is --------------------------------------------------------------------------


async def test_a_position_belongs_to_server_ca_and_cluster(api: KubeApi, tmp_path: Path) -> None:
    first = await place_of(api.kubeconfig(tmp_path))
    assert api.url in first
    assert await place_of(api.kubeconfig(tmp_path)) == first
    api.do(lambda: api.store.delete("namespaces", "", "kube-system"))
    api.put("namespaces", "", "kube-system")  # as of a cluster made anew at the same address
    assert await place_of(api.kubeconfig(tmp_path)) != first
    with kube_api(DEPLOYMENTS) as other:
        assert await place_of(other.kubeconfig(tmp_path)) != first


@pytest.mark.parametrize(
    "refusal", [Refusal(403, "Forbidden"), Instead(404), Instead(403)], ids=lambda one: str(one[0])
)
async def test_without_the_right_to_read_kube_system_the_server_has_to_do(
    api: KubeApi, kubeconfig: str, refusal: Any
) -> None:
    whole = await place_of(kubeconfig)
    chosen: Any = api.refused if isinstance(refusal, Refusal) else api.instead
    chosen["get", "namespaces"] = refusal
    place = await place_of(kubeconfig)
    assert place != whole
    assert whole.startswith(place)


async def test_while_the_cluster_cannot_be_told_nothing_is_connected(api: KubeApi, kubeconfig: str) -> None:
    source = source_of(kubeconfig)
    api.refused["get", "namespaces"] = Refusal(500, "InternalError")
    with pytest.raises(SourceDisconnected, match="500 InternalError"):
        await source.connect()
    await source.close()


async def test_a_position_of_another_cluster_is_not_resumed_in_a_running_process(api: KubeApi, tmp_path: Path) -> None:
    source = source_of(api.kubeconfig(tmp_path))
    await source.connect()
    async with source.watch(DirtySet()) as watch:
        position = watch.position
        with kube_api(DEPLOYMENTS) as other:
            for number in range(50):
                other.put("deployments", "prod", f"other-{number}")
            other.kubeconfig(tmp_path)
            api.stop()
            await asyncio.wait({watch.lost}, timeout=60)
            assert watch.lost.exception() is not None
            await source.connect()
            with pytest.raises(PositionExpired, match="another cluster"):
                async with source.watch(DirtySet(), position):
                    pass
    await source.close()


async def test_another_cluster_behind_the_same_kubeconfig_is_mirrored_as_it_is(api: KubeApi, tmp_path: Path) -> None:
    async with synced(Scene(api, api.kubeconfig(tmp_path))) as it:
        with kube_api(DEPLOYMENTS, NAMESPACES) as other:
            for number in range(50):
                other.put("deployments", "prod", f"other-{number}")
            other.kubeconfig(tmp_path)
            api.stop()
            it.api = other
            await it.level()
            assert len(it.held()) == 50


# -- a backup -------------------------------------------------------------------------------------


async def test_a_present_version_below_the_position_is_an_expiry_of_a_resumed_watch(
    api: KubeApi, kubeconfig: str
) -> None:
    backup = api.do(api.store.backup)
    api.put("deployments", "prod", "after", spec={})
    source = source_of(kubeconfig)
    await source.connect()
    async with source.watch(DirtySet()) as watch:
        position = watch.position
    api.do(lambda: api.store.restore(backup))
    with pytest.raises(PositionExpired, match="restored from a backup"):
        async with source.watch(DirtySet(), position):
            pass
    await source.close()


@pytest.mark.parametrize("cut", [True, False], ids=["watches cut", "watches go on"])
async def test_a_restore_under_a_running_watch_is_noticed(api: KubeApi, kubeconfig: str, cut: bool) -> None:
    backup = api.do(api.store.backup)
    async with running(Scene(api, kubeconfig)) as it:
        await it.level()
        api.put("deployments", "prod", "after", spec={})
        api.delete("deployments", "prod", "web-0")
        api.put("deployments", "prod", "web-1", spec={"replicas": 9})
        await it.level()

        def restore() -> None:
            api.store.restore(backup)
            if cut:
                api.abort_watches()

        api.do(restore)
        await it.level()
        assert set(it.held()) == {f"prod/web-{number}" for number in range(5)}
        assert it.resource.counters.expiries >= 1


# -- the comparison by metadata -------------------------------------------------------------------


async def test_an_outline_is_of_names_uids_and_versions_alone(api: KubeApi, kubeconfig: str) -> None:
    source = source_of(kubeconfig)
    whole = [record async for batch in source.list(Listing()) for record in batch.records]
    api.do(api.asked.clear)
    listing = Listing()
    outline = await outlined(source, listing)
    assert [(one.key, one.version) for one in outline] == [(one.key, one.version) for one in whole]
    assert {one.value for one in outline} == {b""}
    assert {one.accept for one in api.asked} == {METADATA_LIST}
    assert listing.position is not None
    await source.close()


async def test_an_outline_comes_page_by_page_at_a_pace_of_its_own(
    api: KubeApi, kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def counted(seconds: float, *more: Any) -> None:
        pauses.append(seconds)
        await sleep(0)

    api.do(lambda: [api.store.put("deployments", "many", f"web-{number:05}") for number in range(2200)])
    source = source_of(kubeconfig)
    lists = asyncio.Semaphore(1)
    source._pages._lists = lists
    await lists.acquire()  # full syncs have taken all there is
    monkeypatch.setattr("hybridsync.sources.kube_pages.asyncio.sleep", counted)
    assert len(await outlined(source)) == 2205
    monkeypatch.undo()
    assert [pause for pause in pauses if pause] == [kubernetes.OUTLINE_PAUSE_SECONDS] * 4
    assert max(int(one.query["limit"]) for one in api.asked if one.verb == "list") == 500
    await source.close()


async def test_a_server_without_metadata_lists_is_listed_as_before(api: KubeApi, kubeconfig: str) -> None:
    api.serves_metadata = False
    source = source_of(kubeconfig)
    whole = [record async for batch in source.list(Listing()) for record in batch.records]
    outline = await outlined(source)
    assert [(one.key, one.version, one.value) for one in outline] == [(one.key, one.version, b"") for one in whole]
    await source.close()


async def test_an_outline_finds_what_resuming_cannot_know(api: KubeApi, kubeconfig: str) -> None:
    source = source_of(kubeconfig)
    backup = api.do(api.store.backup)
    api.put("deployments", "prod", "gone-by-the-restore")
    api.delete("deployments", "prod", "web-0")
    before = {one.key: one.version for one in await outlined(source)}
    api.do(lambda: api.store.restore(backup))
    for number in range(9):
        api.put("deployments", "prod", f"later-{number}")  # so that versions have passed the position
    after = {one.key: one.version for one in await outlined(source)}
    assert set(before) - set(after) == {"prod/gone-by-the-restore"}
    assert "prod/web-0" in after
    await source.close()


async def test_an_outline_raises_no_doubt_and_moves_no_watch(api: KubeApi, kubeconfig: str) -> None:
    async with synced(Scene(api, kubeconfig)) as it:
        await outlined(it.source)
        api.put("deployments", "prod", "new", spec={})
        await it.level()
        assert (api.count("get"), api.count("watch")) == (0, 0)
