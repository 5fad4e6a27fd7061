"""The component for Kubernetes sources gives the pod exactly what `hybridsync rbac` prints, and a token to use it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from hybridsync.cli.main import app
from tests.manifests import K8S, OVERLAYS, ROOT, Built, overlay_of_ones_own

COMPONENT = "kubernetes-source"
EVERYTHING = ["base", *(f"overlays/{name}" for name in OVERLAYS)]


@pytest.fixture(params=EVERYTHING)
def built(request: pytest.FixtureRequest, tmp_path: Path) -> Built:
    return overlay_of_ones_own(tmp_path, "namespace: mine\n", request.param, [COMPONENT])


def test_the_role_is_what_the_command_prints_for_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRIDSYNC_RESOURCES_FILE", str(ROOT / "config" / "resources.example.toml"))
    printed = CliRunner().invoke(app, ["rbac"])

    assert printed.exit_code == 0, printed.output
    assert (K8S / "components" / COMPONENT / "cluster-role.yaml").read_text() == printed.stdout
    assert yaml.safe_load(printed.stdout)["kind"] == "ClusterRole"


def test_the_role_is_bound_to_the_account_of_the_pod(built: Built) -> None:
    role, binding = built.one("ClusterRole"), built.one("ClusterRoleBinding")

    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("ClusterRole", role["metadata"]["name"])
    account = {"kind": "ServiceAccount", "name": built.pod["serviceAccountName"], "namespace": "mine"}
    assert binding["subjects"] == [account]
    assert all(rule["verbs"] == ["get", "list", "watch"] for rule in role["rules"])


def test_the_pod_gets_the_token_and_reaches_the_api_server(built: Built) -> None:
    assert built.pod["automountServiceAccountToken"] is True
    ports = {port["port"] for rule in built.one("NetworkPolicy")["spec"]["egress"] for port in rule["ports"]}
    assert {443, 6443, 53, 2181, 27017} <= ports
