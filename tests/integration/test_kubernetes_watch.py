"""Kubernetes objects followed by the engine: what is asked for, what is noticed, and how it comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hybridsync.clock import utc_now
from hybridsync.kube_target import Target
from hybridsync.status import InformerState
from tests.fakes.kube_answers import Refusal
from tests.fakes.kube_api import DEPLOYMENTS, NODES, SECRETS, KubeApi, kube_api
from tests.kube_scene import Scene, running, synced


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api(DEPLOYMENTS, SECRETS, NODES) as server:
        for number in range(5):
            server.put("deployments", "prod", f"web-{number}", spec={"replicas": number})
        yield server


@pytest.fixture
def kubeconfig(api: KubeApi, tmp_path: Path) -> str:
    return api.kubeconfig(tmp_path)


async def test_changes_are_followed_without_a_request_for_each(api: KubeApi, kubeconfig: str) -> None:
    async with synced(Scene(api, kubeconfig)) as it:
        api.put("deployments", "prod", "web-0", spec={"replicas": 9})
        api.put("deployments", "test", "new", spec={})
        api.delete("deployments", "prod", "web-1")
        await it.level()
        assert it.value("prod/web-0")["spec"] == {"replicas": 9}
        assert (api.count("get"), api.listings, api.count("watch")) == (0, 0, 0)


async def test_an_object_created_again_under_its_name_is_another_one(api: KubeApi, kubeconfig: str) -> None:
    async with synced(Scene(api, kubeconfig)) as it:
        first = it.value("prod/web-0")["metadata"]["uid"]
        api.delete("deployments", "prod", "web-0")
        api.put("deployments", "prod", "web-0", spec={"replicas": 1})
        await it.level()
        assert it.value("prod/web-0")["metadata"]["uid"] != first


async def test_a_restart_resumes_the_watch_and_lists_nothing(api: KubeApi, kubeconfig: str) -> None:
    first = Scene(api, kubeconfig)
    async with synced(first):
        api.put("deployments", "prod", "web-0", spec={"replicas": 7})
        changed = utc_now()
        await first.level()
        await first.until(lambda: (first.status.confirmed_at or first.status.informer_since) > changed, "a proof")
    api.do(api.asked.clear)
    api.put("deployments", "prod", "while-down", spec={})
    api.delete("deployments", "prod", "web-1")
    second = Scene(api, kubeconfig, before=first)
    async with running(second):
        await second.level()
        assert (second.triggers, api.listings) == ([], 0)


@pytest.mark.parametrize("as_http", [True, False], ids=["as HTTP status", "as ERROR event"])
async def test_a_position_too_old_at_a_restart_is_a_full_sync(api: KubeApi, kubeconfig: str, as_http: bool) -> None:
    first = Scene(api, kubeconfig)
    async with synced(first):
        pass
    api.put("deployments", "prod", "while-down", spec={})
    api.delete("deployments", "prod", "web-1")
    api.gone_as_http = as_http
    api.do(api.store.compact)
    second = Scene(api, kubeconfig, before=first)
    async with running(second):
        await second.level()
        assert len(second.triggers) == 1


@pytest.mark.parametrize("as_http", [True, False], ids=["as HTTP status", "as ERROR event"])
async def test_history_lost_during_a_gap_is_an_expiry(api: KubeApi, kubeconfig: str, as_http: bool) -> None:
    api.bookmark_seconds = 1000.0
    async with synced(Scene(api, kubeconfig)) as it:
        api.gone_as_http = as_http
        api.do(lambda: api.refused.update({("watch", "deployments"): Refusal(500, "InternalError")}))
        api.cut_watches()
        await it.until(lambda: it.status.informer_state is InformerState.DISCONNECTED)
        api.delete("deployments", "prod", "web-1")
        api.put("deployments", "prod", "new", spec={})
        api.do(api.store.compact)
        api.do(api.refused.clear)
        await it.level()
        assert it.resource.counters.expiries >= 1
        assert it.triggers


async def test_closes_in_good_order_are_no_failures(api: KubeApi, kubeconfig: str) -> None:
    api.longest_watch = 1.0
    api.bookmark_seconds = 0.2
    async with synced(Scene(api, kubeconfig)) as it:
        await it.until(lambda: api.count("watch") >= 3, "the watch was opened again")
        api.put("deployments", "prod", "new", spec={})
        await it.level()
        assert (it.resource.counters.reconnects, it.triggers, api.listings) == (0, [], 0)


async def test_instant_closes_count_and_end_in_a_full_sync(api: KubeApi, kubeconfig: str) -> None:
    async with synced(Scene(api, kubeconfig, informer_max_reconnects=2)) as it:
        api.instant = 4
        api.cut_watches()
        await it.until(lambda: "max_reconnects" in it.triggers, "a full sync after too many failures")
        await it.level()


async def test_a_half_open_watch_is_noticed_and_what_it_kept_back_is_made_good(
    api: KubeApi, kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = Scene(api, kubeconfig)
    monkeypatch.setattr(it.source, "_silence", 3.0)
    async with synced(it):
        api.deaf = True
        api.put("deployments", "prod", "unheard", spec={})
        await it.until(lambda: it.resource.counters.reconnects >= 1, "it is noticed")
        api.deaf = False
        await it.level()
        assert api.listings == 0


async def test_a_server_that_lags_behind_is_given_time(api: KubeApi, kubeconfig: str) -> None:
    cause = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}
    api.refused["watch", "deployments"] = Refusal(504, "Timeout", 2, details=cause)
    async with running(Scene(api, kubeconfig)) as it:
        await it.level()
        assert it.resource.counters.reconnects == 0


async def test_a_busy_server_is_asked_again_after_the_time_it_names(api: KubeApi, kubeconfig: str) -> None:
    api.refused["list", "deployments"] = Refusal(429, "TooManyRequests", 2, {"Retry-After": "1"})
    async with running(Scene(api, kubeconfig)) as it:
        await it.level()
        assert it.triggers == ["startup"]


async def test_several_namespaces_are_one_resource_with_one_position(api: KubeApi, kubeconfig: str) -> None:
    api.put("deployments", "test", "b", spec={})
    target = Target("apps/v1", "deployments", ("prod", "test"))
    first = Scene(api, kubeconfig, target)
    async with synced(first):
        await first.until(lambda: api.watching == 2, "one watch a namespace")
        api.put("deployments", "test", "c", spec={})
        await first.level()
    api.do(api.asked.clear)
    api.put("deployments", "prod", "d", spec={})
    second = Scene(api, kubeconfig, target, before=first)
    async with running(second):
        await second.level()
        assert api.listings == 0


async def test_what_leaves_the_selection_leaves_the_mirror(api: KubeApi, kubeconfig: str) -> None:
    api.put("deployments", "prod", "in", labels={"app": "web"})
    scene = Scene(api, kubeconfig, Target("apps/v1", "deployments", label_selector="app=web"))
    async with running(scene) as it:
        await it.until(lambda: it.status.in_sync and set(it.held()) == {"prod/in"})
        api.put("deployments", "prod", "in", labels={"app": "other"})
        api.put("deployments", "prod", "web-0", labels={"app": "web"})
        await it.until(lambda: it.status.in_sync and set(it.held()) == {"prod/web-0"})


async def test_objects_without_a_namespace_have_their_name_as_key(api: KubeApi, kubeconfig: str) -> None:
    api.put("nodes", "", "node-1.example.com", status={})
    async with synced(Scene(api, kubeconfig, Target("v1", "nodes"))) as it:
        api.put("nodes", "", "node-2.example.com", status={})
        await it.level()
        assert set(it.held()) == {"node-1.example.com", "node-2.example.com"}
