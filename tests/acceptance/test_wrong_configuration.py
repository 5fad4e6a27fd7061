"""Wrong configuration of every kind through the real command: a line each on stderr, exit code 2, no secret."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.command import ROOT, environment, hybridsync

SECRET = "sesame-seed-9"
RIGHT = {"RESOURCES": json.dumps({"services": {"source": {"type": "zookeeper", "path": "/services"}}})}


def lines_of(*arguments: str, settings: dict[str, str], cwd: Path | None = None) -> list[str]:
    """What the command complains of, checked for its form."""
    ended = hybridsync(*arguments, settings=settings, cwd=cwd)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    lines = ended.stderr.splitlines()
    assert lines
    assert all(line.startswith("hybridsync: ") for line in lines), ended.stderr
    assert SECRET not in ended.stderr
    assert "Traceback" not in ended.stderr
    return lines


WRONG = {
    "SYNC_ON_STARTUP": "sometimes",
    "AUTO_SYNC_ON_INFORMER_FAILURE": "perhaps",
    "PERIODIC_SYNC_INTERVAL_HOURS": "-1",
    "DATA_STALE_THRESHOLD_SECONDS": "a day",
    "INFORMER_MAX_RECONNECTS": "1.5",
    "SYNC_TIMEOUT_SECONDS": "0",
    "CONFIRM_INTERVAL_SECONDS": "nan",
    "READY_MAX_AGE_SECONDS": "inf",
    "SWEEP_LIMIT_PERCENT": "101",
    "MONGODB_URI": f"mongodb://me:{SECRET}@:bad:port/",
    "ZOOKEEPER_HOSTS": "host:port",
    "ZOOKEEPER_SESSION_TIMEOUT_SECONDS": "0",
    "ZOOKEEPER_AUTH": f"plain:{SECRET}",
    "HTTP_PORT": "65536",
    "CONTROL_TOKEN": f"{SECRET} with blanks",
    "LOG_LEVEL": "loud",
    "LOG_FORMAT": "xml",
    "RESOURCES": "not json",
    "RESOURCES_FILE": "/nowhere/resources.toml",
    "ZOOKEEPER_TLS_CA": "/nowhere/ca.pem",
}
HIDDEN = ("MONGODB_URI", "ZOOKEEPER_AUTH", "CONTROL_TOKEN", "RESOURCES")


@pytest.mark.parametrize("command", ["run", "plan", "sync", "verify", "status", "config"])
def test_everything_that_is_wrong_is_told_at_once_a_line_each(command: str) -> None:
    lines = lines_of(command, settings=WRONG)

    for name, value in WRONG.items():
        (line,) = [line for line in lines if f"HYBRIDSYNC_{name}:" in line]
        assert "; allowed: " in line
        assert value in line or name in HIDDEN, line
    assert len(lines) == len(WRONG)


def test_an_unknown_variable_names_the_nearest_known_one() -> None:
    (line,) = lines_of("run", settings={**RIGHT, "MONGO_URI": f"mongodb://me:{SECRET}@db/x"})

    assert "HYBRIDSYNC_MONGO_URI" in line
    assert "HYBRIDSYNC_MONGODB_URI" in line


@pytest.mark.parametrize("command", ["run", "plan", "sync", "verify", "config"])
@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("ZOOKEEPER_HOSTS", "h1:2181/app,h2:2181/app", "the chroot may stand once, after the last host"),
        ("ZOOKEEPER_HOSTS", "zk://h1:2181/app", "without a scheme"),
        ("MONGODB_URI", f"mongodb://me:{SECRET}@h/a%5Cb", "MongoDB refuses"),
        ("MONGODB_URI", f"mongodb://me:{SECRET}@h/a\\b", "MongoDB refuses"),
        ("MONGODB_URI", f"mongodb://me:{SECRET}@h/{'x' * 64}", "63 bytes"),
        ("ZOOKEEPER_AUTH", f"digest:me:{SECRET}\n", "white space"),
        ("ZOOKEEPER_AUTH_FILE", "/nowhere/auth", "cannot be read"),
        ("CONTROL_TOKEN_FILE", "/dev/zero", "not a regular file"),
    ],
)
def test_a_typing_mistake_is_one_line_before_anything_is_asked_or_deleted(
    command: str, name: str, value: str, why: str
) -> None:
    (line,) = lines_of(command, settings={**RIGHT, name: value})

    assert line.startswith(f"hybridsync: HYBRIDSYNC_{name}: ")
    assert why in line
    assert "; allowed: " in line


def test_no_resource_at_all_is_told_by_whoever_needs_one() -> None:
    for command in ("run", "plan", "sync", "verify"):
        (line,) = lines_of(command, settings={})
        assert "no resource" in line
    assert hybridsync("config").returncode == 0


def resources(**each: object) -> dict[str, str]:
    return {"RESOURCES": json.dumps(each)}


PUBLISHED = {"type": "zookeeper", "path": "/a", "acl_file": "/nowhere/acl"}
TREE = {"type": "zookeeper", "path": "/services"}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (resources(Upper={"source": TREE}), "Upper"),
        (resources(services={}), "source"),
        (resources(services={"source": {"type": "zookeeper"}}), "path"),
        (resources(services={"source": {"type": "zookeeper", "path": "services"}}), "absolute"),
        (resources(services={"source": {"type": "zookeeper", "path": "/services/"}}), "/services/"),
        (resources(services={"source": {"type": "etcd", "path": "/services"}}), "etcd"),
        (resources(services={"source": TREE, "sink": {"type": "redis"}}), "redis"),
        (resources(services={"source": TREE, "sink": {"collection": "sync_states"}}), "sync_states"),
        (resources(services={"source": TREE, "sink": {"collection": "a$b"}}), "a$b"),
        (resources(services={"source": TREE | {"exclude": ["tmp"]}}), "exclude"),
        (resources(services={"source": TREE | {"exclude": ["/services"]}}), "exclude"),
        (resources(services={"source": TREE | {"exclud": []}}), "exclude"),
        (resources(a={"source": TREE}, b={"source": TREE, "sink": {"collection": "a"}}), "resource a"),
        ({"RESOURCES__SERVICES__SOURCE__PATHH": "/services"}, "PATH"),
        (
            resources(a={"source": {"type": "mongodb", "collection": "c", "key": "k"}, "sink": PUBLISHED}),
            "/nowhere/acl",
        ),
        ({**RIGHT, "ENV": "no-such-profile"}, "no-such-profile"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_resource_that_cannot_be_meant_is_told(settings: dict[str, str], named: str) -> None:
    lines = lines_of("config", settings=settings)

    assert any(named in line for line in lines), lines


def test_two_resources_of_one_path_are_refused_only_when_they_write_the_same_collection() -> None:
    same = resources(a={"source": TREE}, b={"source": TREE})

    assert hybridsync("config", settings=same).returncode == 0


def test_a_broken_resources_file_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "resources.toml").write_text("[resources.services\n")

    lines = lines_of("run", settings={"RESOURCES_FILE": "resources.toml"}, cwd=tmp_path)

    assert any("resources.toml" in line and "line 1" in line and "; allowed: " in line for line in lines)


def test_the_environment_wins_over_the_profile_and_the_prefixed_name_over_the_plain_one(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "mine.env").write_text("HYBRIDSYNC_HTTP_PORT=4001\nHYBRIDSYNC_LOG_LEVEL=debug\n")
    settings = {**RIGHT, "ENV": "mine", "LOG_LEVEL": "error", "SYNC_ON_STARTUP": "never"}
    plain = {"SYNC_ON_STARTUP": "always", "PERIODIC_SYNC_INTERVAL_HOURS": "2"}
    ended = subprocess.run(
        [sys.executable, "-m", "hybridsync", "config"],
        env=environment(settings) | plain,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    rows = {line.split()[0]: line.split()[1:] for line in ended.stdout.splitlines()}
    assert ended.returncode == 0, ended.stderr
    assert rows["HYBRIDSYNC_HTTP_PORT"] == ["4001", "mine.env"]
    assert rows["HYBRIDSYNC_LOG_LEVEL"] == ["error", "environment"]
    assert rows["HYBRIDSYNC_SYNC_ON_STARTUP"] == ["never", "environment"]
    assert rows["HYBRIDSYNC_PERIODIC_SYNC_INTERVAL_HOURS"] == ["2", "environment"]


@pytest.mark.parametrize("profile", ["development", "production", "high-reliability"])
def test_the_shipped_profiles_can_be_used(profile: str, tmp_path: Path) -> None:
    ended = hybridsync("config", settings={**RIGHT, "ENV": profile}, cwd=tmp_path)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"{profile}.env" in ended.stdout


def test_the_example_of_resources_can_be_used() -> None:
    example = ROOT / "config" / "resources.example.toml"

    ended = hybridsync("config", settings={"RESOURCES_FILE": str(example)})

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "resources.example.toml" in ended.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        *(["synk"], ["run", "--fast"], ["sync", "--repair"], ["status", "--url"], ["plan", "services"]),
        *(["verify", "--jsn"], ["--loud"], ["run", "extra"], ["config", "--json=1"], []),
    ],
    ids=" ".join,
)
def test_what_the_command_does_not_know_is_2_without_a_traceback(arguments: list[str]) -> None:
    ended = hybridsync(*arguments, settings=RIGHT)

    assert ended.returncode == 2
    assert ended.stderr or ended.stdout
    assert "Traceback" not in ended.stderr
