"""What is kept of Kubernetes objects, the rights that reading them needs, and what the options may be."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from hybridsync.cli.main import app
from hybridsync.errors import ConfigurationError
from hybridsync.kube_object import object_version
from hybridsync.kube_rbac import roles
from hybridsync.kube_target import Target
from hybridsync.settings import load_settings
from hybridsync.sources.kube_shape import Shape, parse_path

POD = Target("v1", "pods")
SECRET = Target("v1", "secrets")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def served(**fields: Any) -> dict[str, Any]:
    metadata = {
        "name": "a.b",
        "namespace": "prod",
        "uid": "u1",
        "resourceVersion": "42",
        "labels": {"app": "web"},
        "annotations": {"example.com/note": "n", LAST_APPLIED: "{...}"},
        "managedFields": [{"manager": "m"}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, **fields}


def value(shape: Shape, **fields: Any) -> dict[str, Any]:
    return dict(json.loads(shape.record(served(**fields)).value))


def test_a_record_is_the_object_under_its_namespace_and_name() -> None:
    record = Shape(POD).record(served(spec={"x": 1}))
    assert (record.key, record.version) == ("prod/a.b", object_version("u1", "42"))
    assert (record.meta.uid, record.meta.labels) == ("u1", {"app": "web"})
    assert record.value.startswith(b'{"apiVersion":"v1","kind":"Pod","metadata":{"annotations":')
    assert "managedFields" not in json.loads(record.value)["metadata"]


def test_an_item_of_a_list_is_the_same_record_as_the_event_of_it() -> None:
    item = {key: one for key, one in served(spec={}).items() if key not in ("kind", "apiVersion")}
    assert Shape(POD).record(item, "Pod") == Shape(POD).record(served(spec={}))


def test_managed_fields_are_kept_when_asked_for() -> None:
    assert "managedFields" in value(Shape(POD, managed_fields=True))["metadata"]


def test_paths_are_dropped_also_in_lists_and_under_names_with_dots() -> None:
    shape = Shape(POD, ["status", "spec.containers.*.env", "metadata.annotations['example.com/note']"])
    cut = value(shape, status={"a": 1}, spec={"containers": [{"name": "c", "env": [1]}, {"env": [2]}]})
    assert cut["spec"] == {"containers": [{"name": "c"}, {}]}
    assert "status" not in cut
    assert set(cut["metadata"]["annotations"]) == {LAST_APPLIED}


def test_what_is_kept_is_kept_alone_beside_the_identity() -> None:
    cut = value(Shape(POD, keep=["spec.replicas"]), spec={"replicas": 3, "x": 1}, status={})
    assert cut["spec"] == {"replicas": 3}
    assert cut["metadata"] == {"name": "a.b", "namespace": "prod", "uid": "u1", "resourceVersion": "42"}
    assert set(cut) == {"apiVersion", "kind", "metadata", "spec"}


def test_the_data_of_secrets_is_not_stored_nor_where_kubectl_repeats_it() -> None:
    cut = value(Shape(SECRET), data={"password": "aHVudGVyMg=="}, stringData={"p": "x"}, type="Opaque")
    assert set(cut) == {"apiVersion", "kind", "metadata", "type"}
    assert LAST_APPLIED not in cut["metadata"]["annotations"]


def test_the_data_of_secrets_is_stored_when_it_is_named() -> None:
    shape = Shape(SECRET, keep=["*", "data.user"])
    assert value(shape, data={"user": "dQ=="}, stringData={"p": "x"})["data"] == {"user": "dQ=="}
    assert "data" not in value(Shape(SECRET, keep=["*"]), data={"user": "dQ=="})


@pytest.mark.parametrize("path", ["", ".a", "a..b", "a.", "a b", "[a]", "a['b", "a]"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        parse_path(path)


def test_a_resource_version_is_never_taken_for_a_number() -> None:
    assert object_version("u", "7") != object_version("u", "07")
    assert object_version("u1", "1") != object_version("u", "11")


def test_roles_name_exactly_what_is_read() -> None:
    targets = [
        Target("apps/v1", "deployments"),
        Target("v1", "pods", ("prod", "test")),
        Target("v1", "services"),
        Target("apps/v1", "deployments", ("prod",)),
    ]
    verbs = ["get", "list", "watch"]
    cluster, prod, test = yaml.safe_load_all(roles(targets))
    assert (cluster["kind"], cluster["metadata"]) == ("ClusterRole", {"name": "hybridsync"})
    assert cluster["rules"] == [
        {"apiGroups": [""], "resources": ["services"], "verbs": verbs},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": verbs},
    ]
    assert (prod["kind"], prod["metadata"]["namespace"], test["metadata"]["namespace"]) == ("Role", "prod", "test")
    assert prod["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]


def environ(**source: Any) -> dict[str, str]:
    source = {"type": "kubernetes", "api": "apps/v1", "plural": "deployments", **source}
    return {"HYBRIDSYNC_RESOURCES": json.dumps({"r": {"source": source}})}


def test_the_command_prints_the_roles_and_needs_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRIDSYNC_RESOURCES", environ()["HYBRIDSYNC_RESOURCES"])
    result = CliRunner().invoke(app, ["rbac"])
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["rules"][0]["resources"] == ["deployments"]


def test_the_command_says_so_when_nothing_is_read_from_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    resources = {"r": {"source": {"type": "zookeeper", "path": "/a"}}}
    monkeypatch.setenv("HYBRIDSYNC_RESOURCES", json.dumps(resources))
    result = CliRunner().invoke(app, ["rbac"])
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("option", "given", "reason"),
    [
        ("api", "apps", "it is no API and version"),
        ("plural", "pods/log", "subresources cannot be watched"),
        ("namespaces", [], "it is empty"),
        ("namespaces", ["*", "a"], "no other fits beside it"),
        ("namespaces", ["a", "a"], "twice"),
        ("namespaces", ["A"], "one is no name of a namespace"),
        ("drop", ["a..b"], "is no path"),
    ],
)
def test_a_mistake_in_the_options_is_one_line(option: str, given: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ(**{option: given}))
    [line] = caught.value.problems
    assert line.startswith(f"r.source.{option} in HYBRIDSYNC_RESOURCES: ")
    assert reason in line


def test_a_kubeconfig_that_is_not_there_is_no_mistake_of_the_options() -> None:
    assert load_settings(environ(kubeconfig="nowhere.yaml")).settings.resources
