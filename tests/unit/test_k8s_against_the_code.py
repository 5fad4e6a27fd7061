"""What the manifests say of hybridsync is what the code does: variables, paths, ports, times, versions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from hybridsync import service
from hybridsync.process import WATCHDOG_SECONDS
from hybridsync.settings import Settings, load_settings
from hybridsync.settings_files import read_profile
from hybridsync.settings_masks import is_secret
from tests.manifests import K8S, OVERLAYS, ROOT, build, overlay, overlay_of_ones_own
from tests.unit.fake_manager import FakeManager, serving

EVERYTHING = ["base", *(f"overlays/{name}" for name in OVERLAYS)]
SECRETS = {
    "MONGODB_URI": "mongodb://user:secret@mongo-0,mongo-1/coordination?replicaSet=rs0",
    "ZOOKEEPER_AUTH": "digest:user:secret",
    "CONTROL_TOKEN": "0123456789abcdef",
}
STOP_SECONDS = 10.0
"""The contract: the process ends within this time of SIGTERM."""


def settings_of(directory: str, place: Path, **secrets: str) -> Settings:
    """The settings that the service in a pod of this build would run with."""
    built = build(K8S / directory)
    variables = built.environment(secrets)
    mounts = {mount["name"]: mount["mountPath"] for mount in built.container["volumeMounts"]}
    (volume,) = [volume for volume in built.pod["volumes"] if volume["name"] == "resources"]
    for name, text in built.data(volume["configMap"]["name"]).items():
        if f"{mounts['resources']}/{name}" == variables["HYBRIDSYNC_RESOURCES_FILE"]:
            (place / name).write_text(text)
            variables["HYBRIDSYNC_RESOURCES_FILE"] = str(place / name)
    return load_settings(variables, require_resources=True).settings


@pytest.mark.parametrize("directory", EVERYTHING)
def test_the_service_accepts_every_variable_and_the_resources(directory: str, tmp_path: Path) -> None:
    settings = settings_of(directory, tmp_path, **SECRETS)

    assert settings.mongodb_uri.get_secret_value() == SECRETS["MONGODB_URI"]
    assert settings.zookeeper_auth is not None
    assert settings.control_token is not None
    assert list(settings.resources) == ["services"]
    assert settings.http_host == "0.0.0.0"


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_runs_with_the_profile_of_its_name_and_carries_no_other(name: str) -> None:
    problems: list[str] = []
    profile = read_profile(ROOT / "config" / f"{name}.env", problems)
    built = overlay(name)

    assert problems == []
    assert built.generated(f"hybridsync-profile-{name}") == profile
    written_beside_it = {"HYBRIDSYNC_HTTP_HOST"}  # "0.0.0.0", also where the profile has another or none
    for variable in profile.keys() - written_beside_it:
        assert built.environment(SECRETS)[variable] == profile[variable]
    names = {one["metadata"]["name"].rpartition("-")[0] for one in built.all("ConfigMap")}
    assert names == {f"hybridsync-profile-{name}", "hybridsync-servers", "hybridsync-resources"}


def test_development_needs_no_secret_and_finds_its_own_servers(tmp_path: Path) -> None:
    settings = settings_of("overlays/development", tmp_path)
    built = overlay("development")

    hosts = {(settings.zookeeper_hosts.split(":")[0], int(settings.zookeeper_hosts.split(":")[1]))}
    found = re.fullmatch(r"mongodb://(\w+):(\d+)/\w+\?replicaSet=(\w+)", settings.mongodb_uri.get_secret_value())
    assert found is not None
    hosts.add((found[1], int(found[2])))
    offered = {(one["metadata"]["name"], one["spec"]["ports"][0]["port"]) for one in built.all("Service")}
    assert hosts <= offered
    (mongod,) = built.one("Deployment", "mongodb")["spec"]["template"]["spec"]["containers"]
    assert mongod["args"][:2] == ["--replSet", found[3]]
    assert f'"{found[1]}:{found[2]}"' in mongod["readinessProbe"]["exec"]["command"][-1]


@pytest.mark.parametrize("name", ["production", "high-reliability"])
def test_without_the_address_of_mongodb_the_pod_does_not_start(name: str) -> None:
    with pytest.raises(AssertionError, match="MONGODB_URI"):
        overlay(name).environment({})


@pytest.mark.parametrize("directory", EVERYTHING)
def test_what_is_secret_comes_from_the_secret_only(directory: str) -> None:
    built = build(K8S / directory)
    secret = {f"HYBRIDSYNC_{name.upper()}" for name, field in Settings.model_fields.items() if is_secret(field)}
    referenced = {entry["name"] for entry in built.container["env"] if "valueFrom" in entry}

    assert {f"HYBRIDSYNC_{name}" for name in SECRETS} == referenced
    assert referenced <= secret
    assert built.all("Secret") == []
    written = {name for one in built.all("ConfigMap") for name in one["data"]} & secret
    # that of the servers that only exist in the test cluster; it has no password
    assert written == ({"HYBRIDSYNC_MONGODB_URI"} if directory == "overlays/development" else set())


@pytest.mark.parametrize("directory", EVERYTHING)
async def test_the_probes_ask_routes_that_answer_them(directory: str) -> None:
    container = build(K8S / directory).container
    wanted = {"startupProbe": "startup", "livenessProbe": "live", "readinessProbe": "ready"}

    async with serving(FakeManager()) as client:
        for probe, route in wanted.items():
            request = container[probe]["httpGet"]
            assert request == {"path": f"/health/{route}", "port": "http"}
            assert (await client.get(request["path"])).status == 200


@pytest.mark.parametrize("directory", EVERYTHING)
def test_service_probes_and_process_agree_on_the_port(directory: str, tmp_path: Path) -> None:
    built = build(K8S / directory)
    (container_port,) = built.container["ports"]
    (service_port,) = built.one("Service")["spec"]["ports"]
    (allowed,) = built.one("NetworkPolicy")["spec"]["ingress"][0]["ports"]

    assert container_port["containerPort"] == settings_of(directory, tmp_path, **SECRETS).http_port
    assert container_port["name"] == service_port["targetPort"] == allowed["port"] == "http"
    assert service_port["port"] == Settings.model_fields["http_port"].default


@pytest.mark.parametrize("directory", EVERYTHING)
def test_the_grace_period_covers_the_stop(directory: str) -> None:
    assert service.MANAGER_STOP_SECONDS < WATCHDOG_SECONDS < STOP_SECONDS
    assert build(K8S / directory).pod["terminationGracePeriodSeconds"] >= 1.5 * STOP_SECONDS


@pytest.mark.parametrize("directory", EVERYTHING)
def test_a_slow_first_sync_is_judged_by_the_service_before_the_cluster_does(directory: str, tmp_path: Path) -> None:
    built = build(K8S / directory)
    startup = built.container["startupProbe"]
    room = startup["periodSeconds"] * startup["failureThreshold"]

    assert room >= 3 * settings_of(directory, tmp_path, **SECRETS).sync_timeout_seconds
    assert built.deployment["spec"]["progressDeadlineSeconds"] > room


@pytest.mark.parametrize("directory", EVERYTHING)
def test_where_two_may_write_one_mirror_everything_is_compared_from_time_to_time(
    directory: str, tmp_path: Path
) -> None:
    spec = build(K8S / directory).deployment["spec"]
    overlap = spec["replicas"] > 1 or spec["strategy"]["type"] == "RollingUpdate"

    assert overlap == (directory != "overlays/development")
    if overlap:
        assert settings_of(directory, tmp_path, **SECRETS).periodic_sync_interval_hours > 0


@pytest.mark.parametrize("directory", EVERYTHING)
def test_the_image_has_the_version_of_the_package(directory: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert build(K8S / directory).container["image"] == f"hybridsync:{version}"


def test_the_figures_beside_the_numbers_are_those_of_the_benchmark() -> None:
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    peak = {
        znodes: float(mb)
        for znodes, mb in re.findall(r"^\| B8 \| ([\d,]+) znodes \|.*?\| ([\d.]+) MB \|", results, re.M)
    }
    container = build(K8S / "base").container
    requested, limit = (
        int(container["resources"][kind]["memory"].removesuffix("Mi")) for kind in ("requests", "limits")
    )

    assert peak["101,001"] < requested
    assert peak["1,010,001"] + 64 < limit


def test_the_tls_component_names_files_that_it_mounts(tmp_path: Path) -> None:
    built = overlay_of_ones_own(tmp_path, "", "overlays/production", ["zookeeper-tls"])
    (folder,) = [mount["mountPath"] for mount in built.container["volumeMounts"] if mount["name"] == "zookeeper-tls"]
    (volume,) = [volume["secret"] for volume in built.pod["volumes"] if volume["name"] == "zookeeper-tls"]
    named = {n: value for n, value in built.environment(SECRETS).items() if n.startswith("HYBRIDSYNC_ZOOKEEPER_TLS_")}

    assert {n.removeprefix("HYBRIDSYNC_").lower() for n in named} == {
        name for name in Settings.model_fields if name.startswith("zookeeper_tls_")
    }
    # the keys that cert-manager and `kubectl create secret tls` write
    assert set(named.values()) == {f"{folder}/{name}" for name in ("ca.crt", "tls.crt", "tls.key")}
    # readable for the group of the pod's volumes, which the user of the service is in
    assert volume["defaultMode"] == 0o440
    assert built.pod["securityContext"]["fsGroup"] == built.pod["securityContext"]["runAsGroup"]
