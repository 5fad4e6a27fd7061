"""Everything in k8s/ builds with nothing but kustomize's defaults, and is what Kubernetes understands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hybridsync.settings import load_settings
from tests.manifests import COMPONENTS, K8S, OVERLAYS, Built, build, overlay, overlay_of_ones_own

OLDEST, NEWEST = "1.27", "1.37"
"""1.27: the first with `unhealthyPodEvictionPolicy` switched on. The newest whose schemas are at hand."""
FOREIGN_KINDS = {"ServiceMonitor"}
"""Custom resources: Kubernetes itself has no schema for them."""
README = (K8S / "README.md").read_text(encoding="utf-8")


def complaints(built: Built, directory: Path, version: str) -> str:
    """What strict validation says; empty when all is well."""
    file = directory / "built.yaml"
    file.write_text(yaml.safe_dump_all(one for one in built.manifests if one["kind"] not in FOREIGN_KINDS))
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "--quiet", "--no-warn", "-k", version]
    done = subprocess.run([*command, str(file)], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0 or done.stdout + done.stderr
    return done.stdout + done.stderr if done.returncode else ""


def test_there_are_the_three_overlays_that_the_profiles_are_named_after() -> None:
    assert OVERLAYS == ("development", "high-reliability", "production")
    assert {path.stem for path in (K8S.parent / "config").glob("*.env")} == set(OVERLAYS)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("directory", ["base", *(f"overlays/{name}" for name in OVERLAYS)])
def test_it_is_valid_to_the_letter(directory: str, version: str, tmp_path: Path) -> None:
    built = build(K8S / directory)

    assert len(built.manifests) >= 7
    assert complaints(built, tmp_path, version) == ""


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("base", ["base", *(f"overlays/{name}" for name in OVERLAYS)])
def test_every_component_goes_with_everything(base: str, component: str, tmp_path: Path) -> None:
    built = overlay_of_ones_own(tmp_path, "", base, [component])

    assert built.text != build(K8S / base).text
    assert complaints(built, tmp_path, NEWEST) == ""


@pytest.mark.parametrize("base", ["base", *(f"overlays/{name}" for name in OVERLAYS)])
def test_all_components_go_together(base: str, tmp_path: Path) -> None:
    assert complaints(overlay_of_ones_own(tmp_path, "", base, COMPONENTS), tmp_path, NEWEST) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true"), ("replicas: 1", "replicas: one")],
)
def test_a_misspelt_field_and_a_wrong_type_would_be_found(right: str, wrong: str, tmp_path: Path) -> None:
    text = overlay("production").text
    assert right in text
    broken = text.replace(right, wrong)

    assert complaints(Built(broken, tuple(yaml.safe_load_all(broken))), tmp_path, NEWEST) != ""


def test_nothing_is_built_twice_or_left_in_another_namespace() -> None:
    for name in OVERLAYS:
        manifests = overlay(name).manifests
        identities = [(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in manifests]
        assert len(identities) == len(set(identities))
        namespaces = {one["metadata"].get("namespace") for one in manifests if one["kind"] != "Namespace"}
        assert namespaces == ({"hybridsync-development"} if name == "development" else {None})


def test_the_service_monitor_scrapes_the_metrics_of_the_service(tmp_path: Path) -> None:
    namespace = "namespace: hybridsync-development\n"
    built = overlay_of_ones_own(tmp_path, namespace, "overlays/development", ["service-monitor"])
    monitor, service = built.one("ServiceMonitor"), built.one("Service")

    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["metadata"]["namespace"] == service["metadata"]["namespace"]
    assert monitor["spec"].keys() == {"selector", "endpoints"}
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    matched = [one["metadata"]["name"] for one in built.all("Service") if wanted <= one["metadata"]["labels"].items()]
    assert matched == ["hybridsync"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint.keys() == {"port", "path", "interval", "scrapeTimeout"}
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"
    assert float(endpoint["scrapeTimeout"].rstrip("s")) < float(endpoint["interval"].rstrip("s"))


def test_the_overlay_that_the_readme_shows_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = README.split("```yaml\n", 1)[1].split("```", 1)[0]
    toml = README.split("```toml\n", 1)[1].split("```", 1)[0]
    (tmp_path / "resources.toml").write_text(toml)
    ours = yaml.safe_load(shown)
    base = ours.pop("resources")[0].partition("/k8s/")[2]
    components = [path.partition("/k8s/components/")[2] for path in ours.pop("components")]
    for key in ("apiVersion", "kind"):
        ours.pop(key)

    built = overlay_of_ones_own(tmp_path, yaml.safe_dump(ours), base, components)

    assert complaints(built, tmp_path, NEWEST) == ""
    assert {one["metadata"].get("namespace") for one in built.manifests} == {ours["namespace"]}
    assert built.container["image"].startswith(ours["images"][0]["newName"])
    variables = built.environment({"MONGODB_URI": "mongodb://mongo/app"})
    monkeypatch.chdir(tmp_path)
    loaded = load_settings(variables | {"HYBRIDSYNC_RESOURCES_FILE": "resources.toml"}, require_resources=True).settings
    assert built.generated("hybridsync-resources")["resources.toml"] == toml
    assert loaded.zookeeper_hosts == "zk-0.zk:2181,zk-1.zk:2181,zk-2.zk:2181"
    assert set(loaded.resources) == {"services", "flags"}


def test_the_kustomize_that_is_installed_is_held_by_its_hash() -> None:
    text = (K8S.parent / "tests" / "kustomize" / "package-lock.json").read_text()
    installed = {name: lock for name, lock in json.loads(text)["packages"].items() if name}

    assert installed
    assert all(lock["integrity"].startswith("sha512-") for lock in installed.values())
    assert "://" not in text
