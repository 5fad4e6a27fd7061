"""Watches that break off: behind balancers that cut what delivered, and where nothing was delivered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hybridsync.sources import kube_stream
from hybridsync.status import InformerState
from tests.fakes.kube_answers import Refusal
from tests.fakes.kube_api import DEPLOYMENTS, KubeApi, kube_api
from tests.kube_scene import Scene, synced


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api(DEPLOYMENTS) as server:
        for number in range(5):
            server.put("deployments", "prod", f"web-{number}", spec={"replicas": number})
        server.bookmark_seconds = 0.1
        yield server


@pytest.fixture
def kubeconfig(api: KubeApi, tmp_path: Path) -> str:
    return api.kubeconfig(tmp_path)


async def heard(scene: Scene) -> None:
    """Waits until each open watch has delivered something."""
    watch = scene.source._watch
    assert watch is not None
    for stream in list(watch.streams.values()):
        before = stream.bookmarks
        await scene.until(lambda stream=stream, before=before: stream.bookmarks > before, "it delivered")  # type: ignore[misc]


async def test_a_watch_that_is_cut_again_and_again_although_it_delivers_is_no_failure(
    api: KubeApi, kubeconfig: str
) -> None:
    async with synced(Scene(api, kubeconfig)) as it:
        for number in range(4):
            await heard(it)
            api.cut_watches()
            api.put("deployments", "prod", f"new-{number}", spec={})
            await it.level()
        assert api.count("watch") >= 4
        assert it.resource.counters.reconnects == 0
        assert it.status.informer_state is InformerState.WATCHING
        assert (it.triggers, api.listings) == ([], 0)


async def test_a_watch_that_lived_for_long_is_opened_again_though_it_said_nothing(
    api: KubeApi, kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_stream, "LIVED_SECONDS", 0.0)
    api.bookmark_seconds = 1000.0
    async with synced(Scene(api, kubeconfig)) as it:
        api.cut_watches()
        api.put("deployments", "prod", "new", spec={})
        await it.level()
        assert (it.resource.counters.reconnects, api.listings) == (0, 0)


async def test_a_watch_that_breaks_off_at_once_without_a_word_counts(api: KubeApi, kubeconfig: str) -> None:
    api.bookmark_seconds = 1000.0
    async with synced(Scene(api, kubeconfig)) as it:
        api.cut_watches()
        api.put("deployments", "prod", "new", spec={})
        await it.level()
        assert it.resource.counters.reconnects >= 1
        assert (it.triggers, api.listings) == ([], 0)


async def test_a_watch_that_cannot_be_opened_again_counts(api: KubeApi, kubeconfig: str) -> None:
    async with synced(Scene(api, kubeconfig)) as it:
        await heard(it)
        api.do(lambda: api.refused.update({("watch", "deployments"): Refusal(500, "InternalError")}))
        api.cut_watches()
        await it.until(lambda: it.resource.counters.reconnects >= 2, "it counts")
        api.do(api.refused.clear)
        api.put("deployments", "prod", "new", spec={})
        await it.level()


async def test_history_that_is_gone_after_a_cut_is_an_expiry(api: KubeApi, kubeconfig: str) -> None:
    async with synced(Scene(api, kubeconfig)) as it:
        await heard(it)

        def gone() -> None:
            api.abort_watches()
            api.store.delete("deployments", "prod", "web-1")
            api.store.put("deployments", "prod", "new", spec={})
            api.store.compact()

        api.do(gone)
        await it.level()
        assert it.resource.counters.expiries == 1


async def test_bookmarks_without_end_end_the_watch_and_stop_nothing_else(
    api: KubeApi, kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_stream, "BOOKMARKS_IN_A_ROW", 100)
    async with synced(Scene(api, kubeconfig, informer_max_reconnects=10_000)) as it:
        api.bookmarks_without_end = True
        api.put("deployments", "prod", "new", spec={})
        await it.until(lambda: "bookmarks without end" in (it.resource.trouble or ""), "it is told")
        api.bookmarks_without_end = False
        await it.level()
