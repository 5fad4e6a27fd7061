"""What only the fake API server does on demand, held against the documented protocol, with a plain HTTP client.

The rest of the protocol, also of a real cluster, is in test_kubernetes_protocol.py.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from hybridsync.sources.kube_pages import METADATA_LIST
from tests.fakes import kube_store
from tests.fakes.kube_api import DEPLOYMENTS, Instead, KubeApi, kube_api

PATH = "/apis/apps/v1/deployments"


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api(DEPLOYMENTS) as server:
        for number in range(5):
            server.put("deployments", "prod", f"web-{number}", labels={"n": str(number)})
        yield server


def ask(api: KubeApi, path: str = PATH, **query: Any) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"{api.url}{path}?{urlencode(query)}", timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def events(api: KubeApi, count: int, **query: Any) -> list[Any]:
    url = f"{api.url}{PATH}?{urlencode({'watch': 'true', **query})}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return [json.loads(answer.readline()) for _ in range(count)]


def test_a_snapshot_that_was_compacted_is_410_with_a_token_for_the_rest(api: KubeApi) -> None:
    _, first = ask(api, limit=3)
    api.put("deployments", "prod", "web-4")
    api.do(api.store.compact)
    code, status = ask(api, limit=3, **{"continue": first["metadata"]["continue"]})
    assert (code, status["kind"], status["reason"]) == (410, "Status", "Expired")
    code, rest = ask(api, limit=3, **{"continue": status["metadata"]["continue"]})
    assert [one["metadata"]["name"] for one in rest["items"]] == ["web-3", "web-4"]


def test_a_watch_tells_what_came_after_a_version_then_bookmarks(api: KubeApi) -> None:
    version = ask(api, limit=1)[1]["metadata"]["resourceVersion"]
    api.put("deployments", "prod", "web-0")
    api.put("deployments", "prod", "new")
    api.delete("deployments", "prod", "web-1")
    told = events(api, 4, resourceVersion=version, allowWatchBookmarks="true")
    assert [one["type"] for one in told] == ["MODIFIED", "ADDED", "DELETED", "BOOKMARK"]
    assert told[2]["object"]["metadata"]["resourceVersion"] == told[3]["object"]["metadata"]["resourceVersion"]


def test_an_old_version_is_410_as_an_event_or_as_the_status(api: KubeApi) -> None:
    version = ask(api, limit=1)[1]["metadata"]["resourceVersion"]
    api.put("deployments", "prod", "web-0")
    api.do(api.store.compact)
    [event] = events(api, 1, resourceVersion=version)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
    api.gone_as_http = True
    assert ask(api, watch="true", resourceVersion=version)[0] == 410


def test_a_version_of_the_future_is_a_timeout_with_its_cause(api: KubeApi) -> None:
    code, status = ask(api, watch="true", resourceVersion="999999")
    assert (code, status["reason"]) == (504, "Timeout")
    assert status["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_what_is_not_there_and_who_is_unknown_is_a_status(api: KubeApi) -> None:
    assert ask(api, "/apis/apps/v1/namespaces/prod/deployments/none")[0] == 404
    assert ask(api, "/apis/apps/v1/namespaces/prod/deployments/none")[1]["reason"] == "NotFound"
    api.token = "secret"
    assert ask(api)[0] == 401


def test_a_watch_that_is_read_slowly_is_told_what_comes_meanwhile(api: KubeApi) -> None:
    version = ask(api, limit=1)[1]["metadata"]["resourceVersion"]
    url = f"{api.url}{PATH}?watch=true&resourceVersion={version}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        text = "x" * 100_000
        api.do(lambda: [api.store.put("deployments", "prod", f"big-{n}", spec={"text": text}) for n in range(300)])
        api.put("deployments", "prod", "last")  # more is under way than the connection holds
        names = [json.loads(answer.readline())["object"]["metadata"]["name"] for _ in range(301)]
    assert names == [*(f"big-{n}" for n in range(300)), "last"]


def test_an_open_watch_that_is_behind_what_is_remembered_is_told_so(
    api: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_store, "KEPT_EVENTS", 3)
    version = ask(api, limit=1)[1]["metadata"]["resourceVersion"]
    url = f"{api.url}{PATH}?{urlencode({'watch': 'true', 'resourceVersion': version})}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        api.deaf = True
        for number in range(5):
            api.put("deployments", "prod", f"new-{number}")
        api.do(api.store.compact)
        api.deaf = False
        event = json.loads(answer.readline())
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


def answer_of(api: KubeApi, accept: str, **query: Any) -> tuple[int, Any]:
    request = urllib.request.Request(f"{api.url}{PATH}?{urlencode(query)}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_a_server_that_serves_whole_objects_only_says_406(api: KubeApi) -> None:
    api.serves_metadata = False
    code, status = answer_of(api, METADATA_LIST, limit=2)
    assert (code, status["kind"], status["reason"]) == (406, "Status", "NotAcceptable")


def test_a_server_that_ignores_continue_begins_again_and_gives_the_same_token_or_another(api: KubeApi) -> None:
    for continues, tokens in (("same", 1), ("new", 2)):
        api.continues = continues
        first = ask(api, limit=2)[1]
        second = ask(api, limit=2, **{"continue": first["metadata"]["continue"]})[1]
        assert first["items"] == second["items"]
        assert len({first["metadata"]["continue"], second["metadata"]["continue"]}) == tokens


def test_a_restored_cluster_has_old_objects_and_counts_on_from_old_versions(api: KubeApi) -> None:
    backup = api.do(api.store.backup)
    version = ask(api, limit=1)[1]["metadata"]["resourceVersion"]
    api.put("deployments", "prod", "new")
    api.delete("deployments", "prod", "web-0")
    api.do(lambda: api.store.restore(backup))
    _, whole = ask(api)
    assert whole["metadata"]["resourceVersion"] == version
    assert [one["metadata"]["name"] for one in whole["items"]] == [f"web-{number}" for number in range(5)]


def test_something_in_between_answers_in_place_of_the_server(api: KubeApi) -> None:
    api.instead["list", "deployments"] = Instead(404, times=1)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{api.url}{PATH}", timeout=30)
    with caught.value as error:
        assert (error.code, error.headers.get_content_type()) == (404, "text/html")
    assert ask(api)[0] == 200
