"""Kubernetes objects in MongoDB while something is wrong: what the service says, and that the rest goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from hybridsync.sources.kube_pages import METADATA_LIST
from tests.acceptance.command import hybridsync
from tests.acceptance.kubernetes import DEPLOYMENTS, Cluster
from tests.fakes.kube_api import CONFIG_MAPS, NAMESPACES, Refusal, kube_api
from tests.fakes.kube_api import DEPLOYMENTS as DEPLOYMENT_TYPE
from tests.service import wait_until

THREE = {**DEPLOYMENTS, "namespaces": ["dev", "prod", "test"]}


@pytest.fixture
def cluster(mongo_uri: str, mongo_database: Database[dict[str, Any]], tmp_path: Path) -> Iterator[Cluster]:
    with kube_api(DEPLOYMENT_TYPE, CONFIG_MAPS, NAMESPACES) as api:
        api.put("namespaces", "", "kube-system")
        for namespace in THREE["namespaces"]:
            api.put("deployments", namespace, "web", spec={})
        api.put("configmaps", "prod", "settings", data={})
        yield Cluster(api, mongo_database, mongo_uri, tmp_path)


def test_one_of_three_namespaces_is_forbidden_and_the_others_are_mirrored(cluster: Cluster) -> None:
    for verb in ("list", "watch"):
        cluster.api.refused[verb, "prod/deployments"] = Refusal(403, "Forbidden")
    with cluster.service(THREE) as service:
        wait_until(lambda: set(cluster.mirrored()) == {"dev/web", "test/web"}, "the others are mirrored")
        exceptions = wait_until(lambda: service.resource()["exceptions"], "it is told")
        assert exceptions["unreadable"] == 1
        [first] = exceptions["first"]
        assert (first["key"], first["kind"]) == ("prod", "unreadable")
        assert "403 Forbidden" in first["why"]
        assert not service.resource()["inSync"]
        cluster.api.put("deployments", "dev", "new", spec={})
        wait_until(lambda: "dev/new" in cluster.mirrored(), "the others are followed")
        cluster.api.refused.clear()
        wait_until(lambda: "prod/web" in cluster.mirrored(), "it joins")
        service.wait_in_sync()
        assert cluster.is_level()
        cluster.api.delete("deployments", "prod", "web")
        wait_until(lambda: "prod/web" not in cluster.mirrored(), "it is followed")


def test_a_kubeconfig_that_is_missing_stops_nothing_else_and_is_taken_up_later(
    cluster: Cluster, tmp_path: Path
) -> None:
    later = tmp_path / "later"
    later.mkdir()
    missing = {"type": "kubernetes", "api": "v1", "plural": "configmaps", "kubeconfig": f"{later}/kubeconfig.yaml"}
    with cluster.service(DEPLOYMENTS, missing) as service:
        wait_until(lambda: service.resource("deployments")["inSync"], "the others are in sync")
        error = wait_until(lambda: service.resource("configmaps")["error"], "it is told")
        assert f"kubeconfig {later}/kubeconfig.yaml: there is no such file" in error
        cluster.api.kubeconfig(later)
        wait_until(lambda: service.resource("configmaps")["inSync"], "it is taken up")
        assert cluster.is_level("configmaps")


def test_a_kubeconfig_that_is_missing_is_named_by_the_commands_in_one_line(cluster: Cluster) -> None:
    settings = cluster.settings({**DEPLOYMENTS, "kubeconfig": "/nowhere/config"})
    assert hybridsync("config", settings=settings).returncode == 0
    assert hybridsync("rbac", settings=settings).returncode == 0
    synced = hybridsync("sync", settings=settings)
    assert synced.returncode == 1
    assert "kubeconfig /nowhere/config: there is no such file" in synced.stderr + synced.stdout
    assert "Traceback" not in synced.stderr


def test_while_the_server_refuses_connections_its_address_and_the_kubeconfig_are_told(cluster: Cluster) -> None:
    with cluster.service() as service:
        service.wait_in_sync()
        cluster.api.stop()
        error = wait_until(lambda: service.resource()["error"], "it is told")
        assert cluster.api.url in error
        wait_until(lambda: "kubeconfig.yaml, context fake" in (service.resource()["error"] or ""), "and who says so")
        assert set(cluster.mirrored()) == {"dev/web", "prod/web", "test/web"}


def test_a_restored_cluster_is_mirrored_as_it_is_after_a_restart(cluster: Cluster) -> None:
    backup = cluster.api.do(cluster.api.store.backup)
    with cluster.service() as service:
        service.wait_in_sync()
        cluster.api.put("deployments", "prod", "after", spec={})
        cluster.api.delete("deployments", "dev", "web")
        wait_until(lambda: set(cluster.mirrored()) == {"prod/after", "prod/web", "test/web"}, "it is followed")
        service.wait_in_sync()
        assert service.terminate() == 0
    cluster.api.do(lambda: cluster.api.store.restore(backup))
    with cluster.service() as service:
        wait_until(lambda: set(cluster.mirrored()) == {"dev/web", "prod/web", "test/web"}, "as the cluster is now")
        service.wait_in_sync()
        assert cluster.is_level()


def test_the_periodic_comparison_is_by_metadata_and_repairs_what_a_restore_left(cluster: Cluster) -> None:
    backup = cluster.api.do(cluster.api.store.backup)
    with cluster.service() as service:
        service.wait_in_sync()
        cluster.api.put("deployments", "prod", "after", spec={})
        cluster.api.delete("deployments", "dev", "web")
        wait_until(lambda: set(cluster.mirrored()) == {"prod/after", "prod/web", "test/web"}, "it is followed")
        service.wait_in_sync()
        assert service.terminate() == 0

    def restore() -> None:
        cluster.api.store.restore(backup)
        for number in range(20):
            cluster.api.store.put("configmaps", "prod", "settings", data={"n": str(number)})  # past the position

    cluster.api.do(restore)
    cluster.api.do(cluster.api.asked.clear)
    with cluster.service(VERIFY_INTERVAL_HOURS="0.001") as service:
        service.wait_ready()
        wait_until(lambda: set(cluster.mirrored()) == {"dev/web", "prod/web", "test/web"}, "as the cluster is now")
        service.wait_in_sync()
        assert cluster.is_level()
    whole = [one for one in cluster.api.asked if one.verb == "list" and one.query["limit"] != "1"]
    assert {one.accept for one in whole} == {METADATA_LIST}
