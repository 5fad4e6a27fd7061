"""What the pods may do, where they may run, who may reach them: as little as the work needs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hybridsync.settings import Settings
from tests.manifests import K8S, OVERLAYS, ROOT, Built, build, overlay

EVERYTHING = ["base", *(f"overlays/{name}" for name in OVERLAYS)]


def templates(built: Built) -> list[dict[str, Any]]:
    """The pod templates, also those of the servers of a test cluster."""
    return [one["spec"]["template"] for one in built.all("Deployment")]


@pytest.mark.parametrize("directory", EVERYTHING)
def test_every_pod_keeps_to_the_restricted_pod_security_standard(directory: str) -> None:
    for template in templates(build(K8S / directory)):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert {key for volume in pod["volumes"] for key in volume} <= {"name", "configMap", "secret", "emptyDir"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert all("hostPort" not in port for port in container["ports"])


@pytest.mark.parametrize("directory", EVERYTHING)
def test_the_service_has_a_root_filesystem_it_cannot_write_and_no_other_place_to_write(directory: str) -> None:
    built = build(K8S / directory)

    assert built.container["securityContext"]["readOnlyRootFilesystem"] is True
    assert all(mount["readOnly"] for mount in built.container["volumeMounts"])


@pytest.mark.parametrize("directory", EVERYTHING)
def test_it_runs_as_the_user_of_the_image(directory: str) -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    context = build(K8S / directory).pod["securityContext"]

    assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user


@pytest.mark.parametrize("directory", EVERYTHING)
def test_mirroring_zookeeper_gives_no_right_in_the_kubernetes_api(directory: str) -> None:
    built = build(K8S / directory)

    assert not {one["kind"] for one in built.manifests} & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}
    assert built.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert built.pod["serviceAccountName"] == "hybridsync"
    for template in templates(built):
        assert template["spec"]["automountServiceAccountToken"] is False
        assert template["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("directory", EVERYTHING)
def test_images_are_pinned_and_memory_is_asked_for_and_bounded(directory: str) -> None:
    for template in templates(build(K8S / directory)):
        for container in template["spec"]["containers"]:
            assert re.fullmatch(r"[a-z/.]+:\d[\w.-]*", container["image"])
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            # a limit on CPU would throttle probes and proofs in the middle of a sync
            assert container["resources"]["limits"].keys() == {"memory"}


@pytest.mark.parametrize("directory", EVERYTHING)
def test_service_policy_and_budget_mean_the_pods_of_the_service_and_no_others(directory: str) -> None:
    built = build(K8S / directory)
    selectors = [
        built.deployment["spec"]["selector"]["matchLabels"],
        built.one("Service")["spec"]["selector"],
        built.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        built.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ]
    pods = [template["metadata"]["labels"] for template in templates(built)]

    for selector in selectors:
        assert [pod for pod in pods if selector.items() <= pod.items()] == [
            built.deployment["spec"]["template"]["metadata"]["labels"]
        ]


def test_development_selects_each_server_by_its_service() -> None:
    built = overlay("development")
    pods = {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"].items()
        for one in built.all("Deployment")
    }

    assert pods.keys() == {"hybridsync", "zookeeper", "mongodb"}
    for service in built.all("Service"):
        selector = service["spec"]["selector"].items()
        assert [name for name, labels in pods.items() if selector <= labels] == [service["metadata"]["name"]]


@pytest.mark.parametrize("directory", EVERYTHING)
def test_the_servers_of_the_settings_can_be_reached_through_the_policy(directory: str) -> None:
    built = build(K8S / directory)
    policy = built.one("NetworkPolicy")["spec"]
    open_ports = {(port["protocol"], port["port"]) for rule in policy["egress"] for port in rule["ports"]}
    asked = built.generated("hybridsync-servers").values()
    named = {int(port) for value in asked for port in re.findall(r":(\d+)", value)}
    usual = {int(port) for name in ("zookeeper_hosts", "mongodb_uri") for port in default_ports(name)}

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert {("UDP", 53), ("TCP", 53)} <= open_ports
    assert {("TCP", port) for port in named | usual} <= open_ports


def default_ports(setting: str) -> list[str]:
    """The ports in the default of a setting."""
    default = getattr(Settings(), setting)
    text = default.get_secret_value() if hasattr(default, "get_secret_value") else default
    return re.findall(r":(\d+)", text)


@pytest.mark.parametrize("directory", EVERYTHING)
def test_a_drain_is_never_blocked_and_never_takes_two(directory: str) -> None:
    budget = build(K8S / directory).one("PodDisruptionBudget")["spec"]

    assert budget["maxUnavailable"] == 1
    assert "minAvailable" not in budget
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_with_high_reliability_two_pods_are_on_two_nodes_and_one_is_always_there() -> None:
    built = overlay("high-reliability")
    labels = built.deployment["spec"]["template"]["metadata"]["labels"].items()
    (apart,) = built.pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (spread,) = built.pod["topologySpreadConstraints"]
    rolling = built.deployment["spec"]["strategy"]["rollingUpdate"]

    assert built.deployment["spec"]["replicas"] >= 2
    assert apart["topologyKey"] == "kubernetes.io/hostname"
    assert apart["labelSelector"]["matchLabels"].items() <= labels
    assert spread["topologyKey"] == "topology.kubernetes.io/zone"
    assert spread["labelSelector"]["matchLabels"].items() <= labels
    # on two nodes there is no place for a third
    assert rolling == {"maxSurge": 0, "maxUnavailable": 1}


def test_with_production_a_rollout_leaves_no_moment_without_a_ready_pod() -> None:
    spec = overlay("production").deployment["spec"]

    assert spec["replicas"] == 1
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_with_development_the_old_pod_is_gone_before_the_new_one_writes() -> None:
    assert overlay("development").deployment["spec"]["strategy"] == {"type": "Recreate"}
