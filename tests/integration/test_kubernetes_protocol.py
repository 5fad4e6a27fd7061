"""The documented protocol, as hybridsync relies on it, with a plain HTTP client against an API server.

The server is the fake, and a real cluster as well when `HYBRIDSYNC_TEST_KUBECONFIG` names a kubeconfig: its user must
be allowed to make and delete a namespace and Leases in it. What only the fake can do on demand (compaction, a
refused token, each form of 410) is never asked of a cluster: those tests are in test_kubernetes_fake.py, which
knows no other server.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hybridsync.sources.kube_pages import METADATA_LIST
from tests.fakes.kube_api import LEASES, NAMESPACES, kube_api
from tests.kube_server import ApiServer, api_server
from tests.servers import given

KUBECONFIG = given("HYBRIDSYNC_TEST_KUBECONFIG")
NAMES = [f"web-{number}" for number in range(5)]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=["fake", *(["cluster"] if KUBECONFIG else [])])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ApiServer]:
    """Five Leases with a label each."""
    if request.param == "fake":
        with kube_api(LEASES, NAMESPACES) as api, api_server(api.kubeconfig(tmp_path)) as made:
            yield filled(made)
    else:
        assert KUBECONFIG is not None
        with api_server(KUBECONFIG) as made:
            yield filled(made)


def filled(server: ApiServer) -> ApiServer:
    for number, name in enumerate(NAMES):
        server.put(name, n=str(number))
    return server


def version_of(server: ApiServer) -> str:
    return str(server.ask(limit=1)[1]["metadata"]["resourceVersion"])


def test_pages_are_of_the_snapshot_of_the_first_one(server: ApiServer) -> None:
    _, first = server.ask(limit=3)
    server.delete("web-4")
    _, second = server.ask(limit=3, **{"continue": first["metadata"]["continue"]})
    assert [one["metadata"]["name"] for one in first["items"] + second["items"]] == NAMES
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]
    assert first["metadata"]["remainingItemCount"] == 2
    assert not second["metadata"].get("continue")
    assert "kind" not in first["items"][0]


def test_metadata_alone_is_listed_in_pages_too(server: ApiServer) -> None:
    _, first = server.ask(accept=METADATA_LIST, limit=3)
    _, second = server.ask(accept=METADATA_LIST, limit=3, **{"continue": first["metadata"]["continue"]})
    _, whole = server.ask()
    assert (first["kind"], first["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    facts = [
        [(one["metadata"]["name"], one["metadata"]["uid"], one["metadata"]["resourceVersion"]) for one in items]
        for items in (first["items"] + second["items"], whole["items"])
    ]
    assert facts[0] == facts[1]
    assert set(first["items"][0]) == {"kind", "apiVersion", "metadata"}


def test_an_object_that_is_not_there_is_named_by_the_status(server: ApiServer) -> None:
    code, status = server.ask(f"{server.path}/none")
    details = status["details"]
    assert (code, status["kind"], status["reason"]) == (404, "Status", "NotFound")
    assert (details["name"], details["kind"], details["group"]) == ("none", "leases", "coordination.k8s.io")


def test_a_resource_type_that_is_not_there_is_no_status_at_all(server: ApiServer) -> None:
    code, text = server.ask("/apis/nothing.example.com/v1/namespaces/default/nothings/none")
    assert (code, text) == (404, "404 page not found\n")


def test_a_watch_tells_what_came_after_a_version_in_order(server: ApiServer) -> None:
    version = version_of(server)
    server.put("web-0", n="0")
    server.put("new")
    server.delete("web-1")
    told = server.events(3, resourceVersion=version)
    assert [one["type"] for one in told] == ["MODIFIED", "ADDED", "DELETED"]
    assert [one["object"]["metadata"]["name"] for one in told] == ["web-0", "new", "web-1"]
    versions = [one["object"]["metadata"]["resourceVersion"] for one in told]
    assert len({version, *versions}) == 4  # also that of a deletion is a new one


def test_a_watch_from_a_bookmark_repeats_nothing_and_misses_nothing(server: ApiServer) -> None:
    version = version_of(server)
    server.put("web-0", n="0")
    lines = server.lines(resourceVersion=version, allowWatchBookmarks="true", timeoutSeconds="75")
    told = []
    for event in lines:
        told.append(event)
        if event["type"] == "BOOKMARK":
            break
    lines.close()
    assert [one["type"] for one in told] == ["MODIFIED", "BOOKMARK"]
    assert set(told[1]["object"]["metadata"]) & {"name", "uid", "labels"} == set()
    server.put("web-2", n="2")
    [event] = server.events(1, resourceVersion=told[1]["object"]["metadata"]["resourceVersion"])
    assert event["object"]["metadata"]["name"] == "web-2"


def test_a_version_of_the_future_is_a_timeout_with_its_cause(server: ApiServer) -> None:
    future = str(int(version_of(server)) + 10**9)
    code, status = server.ask(resourceVersion=future, resourceVersionMatch="NotOlderThan")
    assert (code, status["kind"], status["reason"]) == (504, "Status", "Timeout")
    assert status["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_selectors_choose_and_leaving_the_selection_is_a_deletion(server: ApiServer) -> None:
    code, found = server.ask(labelSelector="n=1")
    assert (code, [one["metadata"]["name"] for one in found["items"]]) == (200, ["web-1"])
    _, named = server.ask(fieldSelector="metadata.name=web-3")
    assert [one["metadata"]["name"] for one in named["items"]] == ["web-3"]
    server.put("web-1", n="9")
    [event] = server.events(1, resourceVersion=found["metadata"]["resourceVersion"], labelSelector="n=1")
    assert (event["type"], event["object"]["metadata"]["name"]) == ("DELETED", "web-1")


def test_an_object_made_again_under_its_name_has_another_uid(server: ApiServer) -> None:
    before = server.ask(f"{server.path}/web-1")[1]["metadata"]
    server.delete("web-1")
    server.put("web-1", n="1")
    after = server.ask(f"{server.path}/web-1")[1]["metadata"]
    assert before["uid"] != after["uid"]
    assert before["resourceVersion"] != after["resourceVersion"]


def test_an_object_that_is_not_there_is_a_status(server: ApiServer) -> None:
    code, status = server.ask(f"{server.path}/none")
    assert (code, status["kind"], status["reason"]) == (404, "Status", "NotFound")


def test_a_watch_ends_in_good_order_when_its_time_is_over(server: ApiServer) -> None:
    assert list(server.lines(resourceVersion=version_of(server), timeoutSeconds="1")) == []
