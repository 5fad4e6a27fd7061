"""A cluster's objects in MongoDB, by the real service: first sync, changes, restart, refusals, commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from tests.kube_api import DEPLOYMENTS, SECRETS, KubeApi, kube_api
from tests.service import ROOT, Service, wait_until

Document = dict[str, Any]


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api(DEPLOYMENTS, SECRETS) as server:
        for number in range(20):
            server.put("deployments", "prod", f"web-{number}", labels={"app.io/x": "web"}, spec={"replicas": number})
        server.put("secrets", "prod", "db", data={"password": "aHVudGVyMg=="}, type="Opaque")
        yield server


@pytest.fixture
def settings(api: KubeApi, tmp_path: Path, mongo_uri: str) -> dict[str, str]:
    kubeconfig = api.kubeconfig(tmp_path)
    resources = {
        plural: {"source": {"type": "kubernetes", "api": group, "plural": plural, "kubeconfig": kubeconfig}}
        for group, plural in (("apps/v1", "deployments"), ("v1", "secrets"))
    }
    return {"MONGODB_URI": mongo_uri, "RESOURCES": json.dumps(resources), "CONFIRM_INTERVAL_SECONDS": "0.1"}


def in_sync(service: Service) -> bool:
    return all(entry["inSync"] for entry in service.get("/health/sync")[1]["sync"])


def equal(api: KubeApi, database: Database[Document]) -> bool:
    expected = {
        f"{one['metadata']['namespace']}/{one['metadata']['name']}": one["metadata"]["resourceVersion"]
        for one in api.do(lambda: list(api.store.objects("deployments")))
    }
    assert {one["_id"]: one["version"] for one in database["deployments"].find()} == expected
    return True


def test_objects_are_mirrored_followed_and_resumed(
    api: KubeApi, settings: dict[str, str], mongo_database: Database[Document]
) -> None:
    with Service(settings) as service:
        wait_until(lambda: in_sync(service) and equal(api, mongo_database), "level and in sync")
        api.put("deployments", "prod", "web-0", spec={"replicas": 99})
        api.delete("deployments", "prod", "web-1")
        wait_until(lambda: in_sync(service) and equal(api, mongo_database), "changes are followed")
        document = mongo_database["deployments"].find_one({"_id": "prod/web-0"})
        assert document is not None
        assert (document["namespace"], document["name"]) == ("prod", "web-0")
        assert document["value"]["spec"] == {"replicas": 99}
        secret = mongo_database["secrets"].find_one({"_id": "prod/db"})
        assert secret is not None
        assert "data" not in secret["value"]
        assert service.terminate() == 0
    api.do(api.asked.clear)
    api.put("deployments", "prod", "while-down", spec={})
    api.delete("deployments", "prod", "web-2")
    with Service(settings) as service:
        wait_until(lambda: in_sync(service) and equal(api, mongo_database), "level again")
        assert api.listings == 0


def test_a_changed_way_of_cutting_writes_every_document_anew(
    api: KubeApi, settings: dict[str, str], mongo_database: Database[Document]
) -> None:
    with Service(settings) as service:
        wait_until(lambda: in_sync(service) and equal(api, mongo_database), "level and in sync")
    resources = json.loads(settings["RESOURCES"])
    resources["deployments"]["source"]["drop"] = ["spec"]
    with Service({**settings, "RESOURCES": json.dumps(resources)}) as service:
        wait_until(lambda: in_sync(service) and equal(api, mongo_database), "level again")
        assert not list(mongo_database["deployments"].find({"value.spec": {"$exists": True}}))


def test_verify_finds_nothing_wrong_and_repairs_what_is(
    api: KubeApi, settings: dict[str, str], mongo_database: Database[Document]
) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HYBRIDSYNC_")}
    environ |= {f"HYBRIDSYNC_{name}": value for name, value in settings.items()} | {"PYTHONPATH": str(ROOT)}

    def command(*words: str) -> int:
        return subprocess.run([sys.executable, "-m", "hybridsync", *words], env=environ, timeout=60).returncode

    assert command("sync") == 0
    assert command("verify") == 0
    mongo_database["deployments"].update_one({"_id": "prod/web-3"}, {"$set": {"value": {"broken": True}}})
    assert command("verify") == 1
    assert command("verify", "--repair") == 0
    assert command("verify") == 0
