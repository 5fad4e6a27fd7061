"""Answers that are not the API server's, or that none should give: nothing is deleted, and nothing goes on for ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hybridsync.dirty import DirtySet
from hybridsync.errors import ListingFailed, SourceDisconnected, SourceError
from hybridsync.kube_target import Target
from hybridsync.kubernetes import client
from hybridsync.model import Dirty, Listing, Put, Remove
from hybridsync.sources import kube_reader
from hybridsync.sources.kube_shape import Shape
from hybridsync.sources.kubernetes import KubernetesSource, kubernetes_source
from tests.fakes.kube_answers import Instead, Refusal, status
from tests.fakes.kube_api import DEPLOYMENTS, KubeApi, kube_api
from tests.fakes.kube_store import Type
from tests.kube_scene import Scene, running, synced

TARGET = Target("apps/v1", "deployments")
KEY = "prod/web-0"
METRICS = Type("metrics.k8s.io/v1beta1", "pods", "PodMetrics")


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api(DEPLOYMENTS, METRICS) as server:
        for number in range(5):
            server.put("deployments", "prod", f"web-{number}", spec={"replicas": number})
        yield server


@pytest.fixture
def kubeconfig(api: KubeApi, tmp_path: Path) -> str:
    return api.kubeconfig(tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_reader, "RETRY_SECONDS", 0.01)


def source_of(kubeconfig: str, target: Target = TARGET) -> KubernetesSource:
    return kubernetes_source(target, Shape(target), kubeconfig, None, asyncio.Semaphore(4))


async def listed(source: KubernetesSource) -> list[str]:
    try:
        return [record.key async for batch in source.list(Listing()) for record in batch.records]
    finally:
        await source.close()


async def read(source: KubernetesSource, key: str = KEY) -> Any:
    try:
        [change] = await source.read([Dirty(key)])
        return change
    finally:
        await source.close()


def instead(code: int, body: Any, times: int = -1) -> Instead:
    return Instead(code, json.dumps(body), "application/json", times)


def not_found(**details: str) -> Instead:
    return instead(404, status(404, "NotFound", "not found", details))


# -- 404 is not gone ------------------------------------------------------------------------------


NOT_GONE = {
    "a page of a proxy": Instead(404),
    "an empty page": Instead(404, "", "text/plain"),
    "a Status of another object": not_found(name="web-1", kind="deployments", group="apps"),
    "a Status of another kind": not_found(name="web-0", kind="secrets"),
    "a Status of another group": not_found(name="web-0", kind="deployments", group="example.com"),
    "a Status without a name": not_found(),
    "a Status of another reason": instead(404, status(404, "Gone", "", {"name": "web-0"})),
    "JSON that is no Status": instead(404, {"error": "no such route", "details": {"name": "web-0"}}),
    "410 of a proxy": Instead(410),
    "200 with a login page": Instead(200),
    "200 with another object": instead(
        200, {"kind": "Deployment", "metadata": {"name": "x", "namespace": "prod", "uid": "u", "resourceVersion": "1"}}
    ),
    "200 with a Status": instead(200, status(200, "", "") | {"status": "Success"}),
    "502": Instead(502),
}


@pytest.mark.parametrize("answer", NOT_GONE.values(), ids=NOT_GONE)
async def test_only_the_api_says_that_an_object_is_gone(api: KubeApi, kubeconfig: str, answer: Instead) -> None:
    api.instead["get", "deployments"] = answer
    with pytest.raises(SourceError) as caught:
        await read(source_of(kubeconfig))
    assert "\n" not in str(caught.value)
    assert api.count("get") == kube_reader.READ_TRIES


async def test_it_is_asked_again_before_it_is_a_failure(api: KubeApi, kubeconfig: str) -> None:
    api.instead["get", "deployments"] = Instead(404, times=2)
    assert isinstance(await read(source_of(kubeconfig)), Put)


@pytest.mark.parametrize(
    "answer",
    [not_found(name="web-0", kind="deployments", group="apps"), not_found(name="web-0", kind="Deployment")],
    ids=["as built in", "as some extensions"],
)
async def test_a_status_that_names_it_says_that_it_is_gone(api: KubeApi, kubeconfig: str, answer: Instead) -> None:
    api.instead["get", "deployments"] = answer
    assert await read(source_of(kubeconfig)) == Remove(KEY)


async def test_a_proxys_404_while_an_object_is_read_again_deletes_nothing(api: KubeApi, kubeconfig: str) -> None:
    api.bookmark_seconds = 1000.0
    async with synced(Scene(api, kubeconfig)) as it:
        async for _ in it.source.list(Listing()):
            pass  # from here on events are doubted, so that objects are read again
        api.instead["get", "deployments"] = Instead(404)
        api.put("deployments", "prod", "web-0", spec={"replicas": 9})
        await it.until(lambda: "404" in (it.resource.trouble or ""), "it is told")
        assert KEY in it.held()
        api.do(api.instead.clear)
        await it.level()
        assert it.value(KEY)["spec"] == {"replicas": 9}


async def test_with_selectors_an_answer_that_is_no_list_deletes_nothing_either(api: KubeApi, kubeconfig: str) -> None:
    api.instead["list", "deployments"] = Instead(404)
    with pytest.raises(ListingFailed):
        await read(source_of(kubeconfig, TARGET._replace(label_selector="app=web")))


# -- lists that are none ---------------------------------------------------------------------------


LIST_META = {"resourceVersion": "7"}
NO_LISTS = {
    "200 with a login page": (Instead(200), "text/html that is no JSON"),
    "another kind": (instead(200, {"kind": "Deployment", "metadata": LIST_META}), "no list but Deployment"),
    "a Status": (instead(200, status(200, "", "") | {"status": "Success"}), "no list but Status"),
    "nothing": (instead(200, {}), "something without a kind"),
    "null": (instead(200, None), "something without a kind"),
    "a list of another API": (
        instead(200, {"kind": "WidgetList", "apiVersion": "example.com/v1", "metadata": LIST_META, "items": []}),
        "a list of example.com/v1, not of apps/v1",
    ),
    "no items": (instead(200, {"kind": "DeploymentList", "metadata": LIST_META}), "without metadata or items"),
    "no version": (
        instead(200, {"kind": "DeploymentList", "apiVersion": "apps/v1", "metadata": {}, "items": []}),
        "cannot be mirrored",
    ),
    "404 of a proxy": (Instead(404), "404 Not Found"),
    "410 of a proxy": (Instead(410), "410 without a Status"),
}


@pytest.mark.parametrize(("answer", "words"), NO_LISTS.values(), ids=NO_LISTS)
async def test_what_is_no_list_is_not_taken_for_an_empty_one(
    api: KubeApi, kubeconfig: str, answer: Instead, words: str
) -> None:
    api.instead["list", "deployments"] = answer
    with pytest.raises(ListingFailed, match=words):
        await listed(source_of(kubeconfig))


async def test_an_empty_list_of_go_is_null(api: KubeApi, kubeconfig: str) -> None:
    body = {"kind": "DeploymentList", "apiVersion": "apps/v1", "metadata": LIST_META, "items": None}
    api.instead["list", "deployments"] = instead(200, body)
    assert await listed(source_of(kubeconfig)) == []


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (
            {"name": "odd", "namespace": "prod", "resourceVersion": "1"},
            "the object prod/odd has no usable metadata.uid",
        ),
        ({"name": "odd", "uid": "", "resourceVersion": "1"}, "the object odd has no usable metadata.uid"),
        ({"uid": "u", "namespace": "prod", "resourceVersion": "1"}, "prod/without a name has no usable metadata.name"),
        ({"name": "odd", "uid": "u"}, "the object odd has no usable metadata.resourceVersion"),
        (None, "an object without metadata"),
    ],
)
async def test_an_item_that_cannot_be_stored_is_named(
    api: KubeApi, kubeconfig: str, metadata: dict[str, str] | None, words: str
) -> None:
    body = {"kind": "DeploymentList", "apiVersion": "apps/v1", "metadata": LIST_META, "items": [{"metadata": metadata}]}
    api.instead["list", "deployments"] = instead(200, body)
    with pytest.raises(ListingFailed, match=words):
        await listed(source_of(kubeconfig))
    source = source_of(kubeconfig)
    with pytest.raises(ListingFailed, match=words):
        _ = [batch async for batch in source.outline(Listing())]
    await source.close()


async def test_a_410_of_a_proxy_is_no_expiry(api: KubeApi, kubeconfig: str) -> None:
    async with synced(Scene(api, kubeconfig, informer_max_reconnects=10_000)) as it:
        api.instead["watch", "deployments"] = Instead(410)
        api.end_watches()
        api.cut_watches()
        await it.until(lambda: "410 without a Status" in (it.resource.trouble or ""), "it is told")
        api.do(api.instead.clear)
        await it.level()
        assert (it.resource.counters.expiries, it.triggers, api.listings) == (0, [], 0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Instead(200), "answered 200 with text/html that is no JSON"),
        (instead(200, {"type": "MODIFIED", "object": {"kind": "Deployment"}}), "broke off within an event"),
        (Instead(200, '{"type": "MODIFIED", "object": {"kind": "Deployment"}}\n', "application/json"), "is no event"),
        (Instead(200, '{"type": "ERROR", "object": "x"}\n', "application/json"), "0 without a Status"),
        (Instead(200, "", "application/json"), "closed at once"),
    ],
    ids=["a login page", "half an event", "an event of nothing", "an error of nothing", "nothing"],
)
async def test_a_watch_that_brings_no_events_is_told_and_deletes_nothing(
    api: KubeApi, kubeconfig: str, answer: Instead, words: str
) -> None:
    async with synced(Scene(api, kubeconfig, informer_max_reconnects=10_000)) as it:
        before = it.held()
        api.instead["watch", "deployments"] = answer
        api.end_watches()
        api.cut_watches()
        await it.until(lambda: words in (it.resource.trouble or ""), "it is told")
        assert it.held() == before
        api.do(api.instead.clear)
        await it.level()


async def test_an_event_without_end_ends_the_watch(
    api: KubeApi, kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with synced(Scene(api, kubeconfig, informer_max_reconnects=10_000)) as it:
        monkeypatch.setattr(client, "LONGEST_LINE", 1000)
        api.put("deployments", "prod", "web-0", spec={"text": "x" * 5_000_000})
        await it.until(lambda: "more than an event can be" in (it.resource.trouble or ""), "it is told")
        monkeypatch.undo()
        await it.level()


# -- listings that never end -----------------------------------------------------------------------


@pytest.mark.parametrize("continues", ["same", "new"])
async def test_a_server_that_ignores_continue_ends_the_listing(api: KubeApi, kubeconfig: str, continues: str) -> None:
    api.do(lambda: [api.store.put("deployments", "many", f"web-{number:04}") for number in range(700)])
    api.continues = continues
    for form in ("list", "outline"):
        api.do(api.asked.clear)
        source = source_of(kubeconfig)
        with pytest.raises(ListingFailed, match=r"twice|what was there before"):
            _ = [batch async for batch in getattr(source, form)(Listing())]
        await source.close()
        assert api.count("list") <= 3


async def test_a_resource_whose_listing_would_never_end_says_so_and_recovers(api: KubeApi, kubeconfig: str) -> None:
    api.do(lambda: [api.store.put("deployments", "many", f"web-{number:04}") for number in range(700)])
    api.continues = "same"
    async with running(Scene(api, kubeconfig, failed_sync_backoff=(0.2, 0.4))) as it:
        await it.until(lambda: "continue token twice" in (it.resource.trouble or ""), "it is told")
        assert it.held() == {}
        api.continues = ""
        await it.level()


# -- types that cannot be watched, and refusals in words ---------------------------------------------


async def test_a_type_that_can_be_listed_only_is_said_to_be_no_mirror(api: KubeApi, kubeconfig: str) -> None:
    target = Target("metrics.k8s.io/v1beta1", "pods")
    api.refused["watch", "pods"] = Refusal(405, "MethodNotAllowed")
    async with running(Scene(api, kubeconfig, target)) as it:
        words = "lets pods (metrics.k8s.io/v1beta1) be listed but not watched, so it cannot be mirrored"
        await it.until(lambda: words in (it.resource.trouble or ""), "it is told")


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_a_refusal_names_verb_resource_namespace_and_rule(api: KubeApi, kubeconfig: str, verb: str) -> None:
    api.refused[verb, "deployments"] = Refusal(403, "Forbidden")
    async with running(Scene(api, kubeconfig, TARGET._replace(namespaces=("prod",)))) as it:
        words = f"cannot {verb} deployments (apps/v1) in namespace prod: 403 Forbidden"
        await it.until(lambda: words in (it.resource.trouble or ""), "it is told")
        assert f'resources: ["deployments"], verbs: ["{verb}"] in namespace prod' in (it.resource.trouble or "")


async def test_a_right_to_list_that_is_withdrawn_from_a_running_watch_is_told(api: KubeApi, kubeconfig: str) -> None:
    async with synced(Scene(api, kubeconfig)) as it:
        api.refused["list", "deployments"] = Refusal(403, "Forbidden")
        watch = it.source._watch
        assert watch is not None
        with pytest.raises(SourceError, match=r'403.*verbs: \["list"\]'):
            await asyncio.wait_for(until_it_asks(watch), 60)


@pytest.mark.parametrize("code", [401, 403, 404, 410, 500, 503])
async def test_a_question_that_fails_is_told_for_every_code(api: KubeApi, kubeconfig: str, code: int) -> None:
    source = source_of(kubeconfig)
    await source.connect()
    async with source.watch(DirtySet()) as watch:
        for answer in (Refusal(code, "Refused"), Instead(code)):
            chosen: Any = api.refused if isinstance(answer, Refusal) else api.instead
            chosen["list", "deployments"] = answer
            with pytest.raises((ListingFailed, SourceDisconnected), match=str(code)):
                await asyncio.wait_for(until_it_asks(watch), 100)
            assert not watch.lost.done()
            chosen.clear()
    await source.close()


async def until_it_asks(watch: Any) -> None:
    while True:
        watch._ask_again.clear()
        await watch.probe()
