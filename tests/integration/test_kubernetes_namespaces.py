"""Several namespaces in one resource: those that may not be read are named and left alone, and many have room."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hybridsync.dirty import DirtySet
from hybridsync.errors import ListingFailed, PositionExpired
from hybridsync.kube_target import Target
from hybridsync.model import Dirty, Listing, Put
from hybridsync.sources import kube_namespaces
from hybridsync.sources.kube_shape import Shape
from hybridsync.sources.kubernetes import KubernetesSource, kubernetes_source
from hybridsync.status import InformerState
from tests.fakes.kube_answers import Refusal
from tests.fakes.kube_api import DEPLOYMENTS, KubeApi, kube_api
from tests.kube_scene import Scene, running

NAMESPACES = ("dev", "prod", "test")
TARGET = Target("apps/v1", "deployments", NAMESPACES)
FORBIDDEN = Refusal(403, "Forbidden")
ALL = {f"{namespace}/web" for namespace in NAMESPACES}
OTHERS = ALL - {"prod/web"}


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api(DEPLOYMENTS) as server:
        for namespace in NAMESPACES:
            server.put("deployments", namespace, "web", spec={})
        server.bookmark_seconds = 0.1
        yield server


@pytest.fixture
def kubeconfig(api: KubeApi, tmp_path: Path) -> str:
    return api.kubeconfig(tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_namespaces, "LOOK_SECONDS", 0.2)


def forbid(api: KubeApi, *verbs: str, namespace: str = "prod") -> None:
    api.do(lambda: api.refused.update({(verb, f"{namespace}/deployments"): FORBIDDEN for verb in verbs}))


def allow(api: KubeApi) -> None:
    api.do(api.refused.clear)


def source_of(kubeconfig: str, target: Target = TARGET) -> KubernetesSource:
    return kubernetes_source(target, Shape(target), kubeconfig, None, asyncio.Semaphore(4))


async def others_are_followed(scene: Scene, name: str) -> None:
    """An object that is made in another namespace arrives, under a running watch."""
    scene.api.put("deployments", "dev", name, spec={})
    await scene.until(lambda: f"dev/{name}" in scene.held(), "the others are followed")
    await scene.until(lambda: scene.status.informer_state is InformerState.WATCHING, "watching")


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_one_of_three_that_is_forbidden_is_named_and_the_others_are_mirrored(
    api: KubeApi, kubeconfig: str, verb: str
) -> None:
    forbid(api, verb)
    async with running(Scene(api, kubeconfig, TARGET)) as it:
        await it.until(lambda: set(it.held()) == OTHERS, "the others are mirrored")
        [(namespace, why)] = it.source.unreadable.items()
        assert namespace == "prod"
        assert f"cannot {verb} deployments (apps/v1) in namespace prod: 403 Forbidden" in why
        assert f'verbs: ["{verb}"] in namespace prod' in why
        await others_are_followed(it, "new")
        assert it.source.unreadable
        allow(api)
        await it.until(lambda: "prod/web" in it.held(), "it joins")
        await it.level()
        assert it.source.unreadable == {}


async def test_a_right_that_is_withdrawn_leaves_the_mirror_as_it_is(api: KubeApi, kubeconfig: str) -> None:
    async with running(Scene(api, kubeconfig, TARGET)) as it:
        await it.level()
        forbid(api, "list", "watch", "get")
        api.end_watches()
        await it.until(lambda: set(it.source.unreadable) == {"prod"}, "it is noticed")
        api.delete("deployments", "prod", "web")
        api.put("deployments", "prod", "unseen", spec={})
        await others_are_followed(it, "new")
        it.results.clear()
        it.resource.request_sync()
        await it.until(lambda: it.results, "a full sync ends")
        assert it.triggers == ["manual"]
        assert set(it.held()) == ALL | {"dev/new"}
        allow(api)
        await it.level()
        assert set(it.held()) == OTHERS | {"dev/new", "prod/unseen"}


async def test_a_listing_that_meets_a_refusal_spares_that_namespace_and_has_no_position_of_it(
    api: KubeApi, kubeconfig: str
) -> None:
    source = source_of(kubeconfig)
    await source.connect()
    async with source.watch(DirtySet()) as watch:
        assert set(json.loads(watch.position or "")) == set(NAMESPACES)
        forbid(api, "list")
        for listed in (source.list, source.outline):
            listing = Listing()
            keys = [record.key async for batch in listed(listing) for record in batch.records]
            assert set(keys) == OTHERS
            assert listing.unreadable == ["prod"]
            assert set(json.loads(listing.position or "")) == {"dev", "test"}
        assert set(json.loads(watch.position or "")) == {"dev", "test"}
        await asyncio.wait_for(watch.probe(), 60)
        assert await source.read([Dirty("prod/web"), Dirty("dev/none")]) != []
        assert [change.key for change in await source.read([Dirty("prod/web"), Dirty("dev/web")])] == ["dev/web"]
    await source.close()


async def test_without_a_watch_a_listing_spares_it_as_well(api: KubeApi, kubeconfig: str) -> None:
    forbid(api, "list")
    source = source_of(kubeconfig)
    listing = Listing()
    keys = [record.key async for batch in source.list(listing) for record in batch.records]
    assert (set(keys), listing.unreadable, set(source.unreadable)) == (OTHERS, ["prod"], {"prod"})
    allow(api)
    listing = Listing()
    keys = [record.key async for batch in source.list(listing) for record in batch.records]
    assert (set(keys), listing.unreadable, set(source.unreadable)) == (ALL, [], set())
    await source.close()


async def test_all_forbidden_is_an_error_and_empties_nothing(api: KubeApi, kubeconfig: str) -> None:
    async with running(Scene(api, kubeconfig, TARGET, informer_max_reconnects=10_000)) as it:
        await it.level()
        for namespace in NAMESPACES:
            forbid(api, "list", "watch", namespace=namespace)
        api.end_watches()
        api.cut_watches()
        await it.until(lambda: "403 Forbidden" in (it.resource.trouble or ""), "it is told")
        assert set(it.held()) == ALL
        allow(api)
        await it.level()
    source = source_of(kubeconfig)
    for namespace in NAMESPACES:
        forbid(api, "list", namespace=namespace)
    with pytest.raises(ListingFailed, match="403"):
        _ = [batch async for batch in source.list(Listing())]
    await source.close()


async def test_who_may_list_but_not_get_is_asked_by_lists(api: KubeApi, kubeconfig: str) -> None:
    forbid(api, "get")
    source = source_of(kubeconfig)
    changes = await source.read([Dirty("prod/web"), Dirty("prod/none")])
    assert [isinstance(change, Put) for change in changes] == [True, False]
    await source.close()


async def test_a_namespace_hidden_when_the_position_was_taken_is_compared_when_it_may_be_read(
    api: KubeApi, kubeconfig: str
) -> None:
    forbid(api, "list", "watch")
    source = source_of(kubeconfig)
    await source.connect()
    async with source.watch(DirtySet()) as watch:
        position = watch.position
    assert position is not None
    assert set(json.loads(position)) == {"dev", "test"}
    async with source.watch(DirtySet(), position) as watch:
        assert watch.resumed
        assert set(source.unreadable) == {"prod"}
    allow(api)
    with pytest.raises(PositionExpired, match="namespace prod may be read now"):
        async with source.watch(DirtySet(), position):
            pass
    await source.close()


async def test_a_right_given_back_ends_the_watch_as_an_expiry_does(api: KubeApi, kubeconfig: str) -> None:
    forbid(api, "watch")
    source = source_of(kubeconfig)
    await source.connect()
    async with source.watch(DirtySet()) as watch:
        allow(api)
        await asyncio.wait({watch.lost}, timeout=60)
        assert isinstance(watch.lost.exception(), PositionExpired)
    await source.close()


@pytest.mark.timeout(300)
async def test_130_namespaces_are_watched_and_requests_still_have_room(api: KubeApi, kubeconfig: str) -> None:
    names = tuple(f"team-{number:03}" for number in range(130))
    target = TARGET._replace(namespaces=names)
    api.do(lambda: [api.store.put("deployments", name, "web") for name in names])
    source = source_of(kubeconfig, target)
    await source.connect()
    async with source.watch(DirtySet()) as watch:
        assert api.watching == len(names)
        keys = [record.key async for batch in source.list(Listing()) for record in batch.records]
        assert len(keys) == len(names)
        assert len(await source.read([Dirty(key) for key in keys])) == len(names)
        await asyncio.wait_for(watch.probe(), 60)
        position = watch.position
    async with source.watch(DirtySet(), position) as watch:
        assert watch.resumed
        await asyncio.wait_for(watch.probe(), 60)
    await source.close()
