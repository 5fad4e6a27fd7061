"""Dockerfile, .dockerignore and compose.yaml: linted, pinned, and true of the package."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from hybridsync.settings import load_settings
from tests.dockerfile import ROOT, read

BUILD, RESULT = read()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICE = COMPOSE["services"]["hybridsync"]


def tool(name: str) -> str:
    """A program of the virtual environment the tests run in."""
    return str(Path(sys.prefix) / "bin" / name)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    linted = run(tool("hadolint"), "--failure-threshold", "style", "Dockerfile")
    assert (linted.returncode, linted.stdout) == (0, "")


def test_hadolint_would_speak_up(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp && sudo true\n")
    assert run(tool("hadolint"), str(tmp_path / "Dockerfile")).returncode == 1


def test_compose_is_what_the_compose_specification_allows(tmp_path: Path) -> None:
    checked = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    valid = run(*checked, "compose.yaml")
    assert valid.returncode == 0, valid.stdout

    (tmp_path / "compose.yaml").write_text("services: {one: {image: a, read_onyl: true}}")
    assert run(*checked, str(tmp_path / "compose.yaml")).returncode == 1


def test_every_image_is_pinned_by_its_tag() -> None:
    images = [BUILD.image, RESULT.image, *(service["image"] for service in COMPOSE["services"].values())]
    assert all(re.fullmatch(r"[a-z]+:\d[\w.-]*", image) for image in images), images
    assert {COMPOSE["services"][name]["image"] for name in ("zookeeper", "mongodb")} == {"zookeeper:3.9", "mongo:7"}


def test_the_result_starts_from_a_slim_image_and_installs_nothing_into_it() -> None:
    assert BUILD.image == RESULT.image
    assert "-slim" in RESULT.image
    assert not re.search(r"\b(apt|apt-get|pip|gcc|make|curl|wget)\b", " ".join(RESULT.values("RUN")))
    assert RESULT.values("COPY") == [f"--from={BUILD.name} /opt/hybridsync /opt/hybridsync"]
    assert RESULT.values("ADD") == []


def test_the_result_runs_the_service_as_an_ordinary_user_on_every_interface() -> None:
    uid = RESULT.last("USER").partition(":")[0]
    assert int(uid) > 0
    assert f"--uid {uid} " in " ".join(RESULT.values("RUN"))
    assert RESULT.command("ENTRYPOINT") + RESULT.command("CMD") == ["hybridsync", "run"]
    settings = load_settings({n: v for n, v in RESULT.pairs("ENV").items() if n.startswith("HYBRIDSYNC_")}).settings
    assert settings.http_host == "0.0.0.0"
    assert RESULT.values("EXPOSE") == [str(settings.http_port)]


def test_the_labels_say_what_the_package_says() -> None:
    labels = RESULT.pairs("LABEL")
    assert RESULT.pairs("ARG")["VERSION"] == PROJECT["project"]["version"]
    assert labels["org.opencontainers.image.title"] == PROJECT["project"]["name"]
    assert labels["org.opencontainers.image.description"] == PROJECT["project"]["description"]
    assert labels["org.opencontainers.image.licenses"] == PROJECT["project"]["license"]
    assert labels["org.opencontainers.image.version"] == "${VERSION}"


def test_only_what_the_wheel_is_built_from_is_sent_to_the_engine() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = {name for value in BUILD.values("COPY") for name in value.split()[:-1]}

    assert lines[0] == "*"
    assert sent == copied
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_has_the_native_code_or_is_not_built() -> None:
    (build,) = (value for value in BUILD.values("RUN") if "pip wheel" in value)
    assert build.startswith("HYBRIDSYNC_BUILD_NATIVE=require pip wheel ")
    assert not any(name.startswith("HYBRIDSYNC_") for name in BUILD.pairs("ENV")), "a service would refuse it"


def test_what_was_compiled_on_this_machine_is_not_sent_to_the_engine() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines.index("**/*.so") > lines.index("!hybridsync")


def test_the_service_accepts_what_compose_sets() -> None:
    variables = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in SERVICE["environment"].items()}
    settings = load_settings(variables | RESULT.pairs("ENV"), require_resources=True).settings

    assert settings.zookeeper_hosts == "zookeeper:2181"
    assert list(settings.resources) == ["services"]
    assert settings.control_token is None
    (published,) = SERVICE["ports"]
    assert published == f"127.0.0.1:{settings.http_port}:{settings.http_port}"


def test_compose_founds_the_replica_set_that_the_service_connects_to() -> None:
    mongodb = COMPOSE["services"]["mongodb"]
    (name,) = re.findall(r"replicaSet=(\w+)", SERVICE["environment"]["HYBRIDSYNC_MONGODB_URI"])
    script = mongodb["healthcheck"]["test"][-1]

    assert mongodb["command"][:2] == ["--replSet", name]
    assert f'_id: "{name}"' in script
    assert '"mongodb:27017"' in script


def test_compose_runs_it_hardened_and_waits_longer_than_its_stop_takes() -> None:
    assert SERVICE["read_only"] is True
    assert SERVICE["cap_drop"] == ["ALL"]
    assert SERVICE["security_opt"] == ["no-new-privileges:true"]
    assert SERVICE["stop_grace_period"] == "15s"
    assert SERVICE["depends_on"].keys() == {"zookeeper", "mongodb"}
    assert all("healthcheck" in COMPOSE["services"][name] for name in SERVICE["depends_on"])


@pytest.mark.parametrize("where", ["k8s/overlays/development/mongodb.yaml", "compose.yaml"])
def test_both_found_the_replica_set_in_the_same_way(where: str) -> None:
    """The script is tried on a real server by no test, so at least there is only one of it."""
    script = COMPOSE["services"]["mongodb"]["healthcheck"]["test"][-1]
    text = (ROOT / where).read_text(encoding="utf-8")
    assert [line.strip() for line in script.splitlines()] == [
        line.strip() for line in text[text.index("try { rs.status()") :].splitlines()[: len(script.splitlines())]
    ]
