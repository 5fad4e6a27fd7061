"""Kubernetes objects in MongoDB, with the service as a process: what is stored, and that it stays equal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from tests.acceptance.command import hybridsync
from tests.acceptance.kubernetes import DEPLOYMENTS, Cluster
from tests.fakes.kube_api import DEPLOYMENTS as DEPLOYMENT_TYPE
from tests.fakes.kube_api import NODES, SECRETS, WIDGETS, Refusal, kube_api
from tests.service import wait_until

WIDGET_SOURCE = {"type": "kubernetes", "api": "example.com/v1", "plural": "widgets"}
LABELS = {"app.kubernetes.io/name": "web", "zone": "a"}


@pytest.fixture
def cluster(mongo_uri: str, mongo_database: Database[dict[str, Any]], tmp_path: Path) -> Iterator[Cluster]:
    with kube_api(DEPLOYMENT_TYPE, NODES, SECRETS) as api:
        for number in range(5):
            api.put("deployments", "prod", f"web-{number}", labels=LABELS, spec={"replicas": number})
        yield Cluster(api, mongo_database, mongo_uri, tmp_path)


def test_the_first_sync_stores_the_documents_of_the_contract(cluster: Cluster) -> None:
    cluster.api.put("nodes", "", "node-1")
    with cluster.service(DEPLOYMENTS, {"type": "kubernetes", "api": "v1", "plural": "nodes"}) as service:
        service.wait_ready()
        assert cluster.is_level()
        document = cluster.document("prod/web-3")
        served = cluster.served()["prod/web-3"]
        assert list(document) == ["_id", "uid", "namespace", "name", "labels", "value", "version", "syncedAt"]
        assert (document["uid"], document["version"]) == served
        assert (document["namespace"], document["name"], document["labels"]) == ("prod", "web-3", LABELS)
        assert document["value"]["spec"] == {"replicas": 3}
        assert document["value"]["metadata"]["name"] == "web-3"
        assert "managedFields" not in document["value"]["metadata"]
        assert isinstance(document["syncedAt"], datetime)
        assert cluster.document("node-1", "nodes")["namespace"] is None
        assert service.resource("deployments")["lastSyncCount"] == 5
        indexed = {name for index in cluster.database["deployments"].list_indexes() for name in index["key"]}
        assert {"namespace", "uid"} <= indexed


def test_what_happens_in_the_cluster_happens_in_the_mirror(cluster: Cluster) -> None:
    with cluster.service() as service:
        service.wait_in_sync()
        listings = cluster.api.listings
        before = cluster.document("prod/web-1")
        cluster.api.put("deployments", "prod", "new", spec={"replicas": 9})
        cluster.api.put("deployments", "prod", "web-0", spec={"replicas": 7})
        cluster.api.delete("deployments", "prod", "web-1")
        cluster.api.put("deployments", "prod", "web-1", spec={})
        cluster.api.delete("deployments", "prod", "web-2")
        wait_until(cluster.is_level, "the mirror equals the cluster")
        assert cluster.document("prod/web-0")["value"]["spec"] == {"replicas": 7}
        assert cluster.document("prod/web-1")["uid"] != before["uid"]
        service.wait_in_sync()
        assert cluster.is_level()
        assert cluster.api.listings == listings


def test_a_restart_goes_on_where_it_was_and_lists_nothing(cluster: Cluster) -> None:
    with cluster.service() as service:
        service.wait_in_sync()
        assert service.terminate() == 0
    cluster.api.delete("deployments", "prod", "web-4")
    cluster.api.put("deployments", "prod", "while-away", spec={})
    listings = cluster.api.listings
    with cluster.service() as service:
        service.wait_ready()
        wait_until(cluster.is_level, "the mirror equals the cluster")
        service.wait_in_sync()
        assert cluster.api.listings == listings


@pytest.mark.parametrize("gone_as_http", [False, True])
def test_a_version_that_is_gone_leads_to_a_full_sync(cluster: Cluster, gone_as_http: bool) -> None:
    with cluster.service() as service:
        service.wait_in_sync()
        service.terminate()
    cluster.api.delete("deployments", "prod", "web-4")
    cluster.api.put("deployments", "prod", "while-away", spec={})
    cluster.api.gone_as_http = gone_as_http
    cluster.api.do(cluster.api.store.compact)
    listings = cluster.api.listings
    with cluster.service() as service:
        wait_until(cluster.is_level, "the mirror equals the cluster")
        service.wait_in_sync()
        assert cluster.api.listings > listings
        cluster.api.put("deployments", "prod", "afterwards", spec={})
        wait_until(cluster.is_level, "the watch goes on")


def test_a_full_sync_sweeps_what_is_gone_and_repairs_what_is_malformed(cluster: Cluster) -> None:
    mirror = cluster.database["deployments"]
    mirror.insert_many([{"_id": "prod/phantom", "uid": "x", "version": "1"}, {"_id": "prod/web-0", "odd": 1}])
    mirror.insert_one({"_id": 7})
    with cluster.service() as service:
        service.wait_in_sync()
        mirror.delete_one({"_id": 7})
        assert cluster.is_level()
        result = service.resource()["lastResult"]
        assert (result["inserted"], result["updated"], result["deleted"]) == (4, 1, 1)


def test_a_missing_right_is_named_and_the_others_go_on(cluster: Cluster) -> None:
    cluster.api.put("secrets", "prod", "password", data={"a": "c2VjcmV0"}, type="Opaque")
    for verb in ("list", "watch"):
        cluster.api.refused[verb, "secrets"] = Refusal(403, "Forbidden")
    with cluster.service(DEPLOYMENTS, {"type": "kubernetes", "api": "v1", "plural": "secrets"}) as service:
        wait_until(lambda: service.resource("deployments")["inSync"], "the others are in sync")
        error = wait_until(lambda: service.resource("secrets")["error"], "the missing right is named")
        assert "secrets" in error
        assert "list" in error or "watch" in error
        cluster.api.refused.clear()
        wait_until(lambda: service.resource("secrets")["inSync"], "it recovers by itself")
        assert cluster.is_level("secrets")
        assert "data" not in cluster.document("prod/password", "secrets")["value"]


def test_a_resource_type_installed_later_is_found(cluster: Cluster) -> None:
    with cluster.service(DEPLOYMENTS, WIDGET_SOURCE) as service:
        wait_until(lambda: service.resource("deployments")["inSync"], "the others are in sync")
        assert "widgets" in wait_until(lambda: service.resource("widgets")["error"], "the missing type is named")
        cluster.api.do(lambda: cluster.api.store.add_type(WIDGETS))
        cluster.api.put("widgets", "prod", "one", spec={"a": 1})
        wait_until(lambda: service.resource("widgets")["inSync"], "it recovers by itself")
        assert cluster.is_level("widgets")


def test_other_options_lead_to_other_documents_though_no_object_has_changed(cluster: Cluster) -> None:
    with cluster.service() as service:
        service.wait_in_sync()
        service.terminate()
    with cluster.service({**DEPLOYMENTS, "drop": ["spec"]}) as service:
        wait_until(lambda: "spec" not in cluster.document("prod/web-1")["value"], "the specs are gone")
        service.wait_in_sync()
        assert not [one["_id"] for one in cluster.database["deployments"].find() if "spec" in one["value"]]
        assert cluster.is_level()


def test_verify_and_plan_know_the_pair(cluster: Cluster) -> None:
    settings = cluster.settings()
    planned = hybridsync("plan", "--json", settings=settings)
    assert planned.returncode == 0, planned.stderr
    assert "no_state" in planned.stdout
    assert cluster.mirrored() == {}
    synced = hybridsync("sync", settings=settings)
    assert synced.returncode == 0, synced.stderr
    assert cluster.is_level()
    assert hybridsync("verify", settings=settings).returncode == 0
    mirror = cluster.database["deployments"]
    mirror.update_one({"_id": "prod/web-0"}, {"$set": {"value.spec.replicas": 99}})
    mirror.delete_one({"_id": "prod/web-1"})
    mirror.insert_one({"_id": "prod/phantom", "uid": "x", "version": "1"})
    drift = hybridsync("verify", "--json", settings=settings)
    assert drift.returncode == 1, drift.stderr
    assert {name for name in ("prod/web-0", "prod/web-1", "prod/phantom") if name in drift.stdout} == {
        "prod/web-0",
        "prod/web-1",
        "prod/phantom",
    }
    json.loads(drift.stdout)
    repaired = hybridsync("verify", "--repair", settings=settings)
    assert repaired.returncode == 0, repaired.stderr
    assert hybridsync("verify", settings=settings).returncode == 0
    assert cluster.is_level()
    assert cluster.document("prod/web-0")["value"]["spec"] == {"replicas": 0}
