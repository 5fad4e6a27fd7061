"""constraints.txt pins everything that is installed, and records nothing else."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINS = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in LINES if "==" in line}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def wanted() -> dict[str, Requirement]:
    extras = PROJECT["optional-dependencies"]
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    texts = [*PROJECT["dependencies"], *extras["embedded"], *extras["dev"], *build]
    return {str(canonicalize_name(requirement.name)): requirement for requirement in map(Requirement, texts)}


def test_every_line_is_a_name_and_an_exact_version() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.!+]*", line)] == []


def test_the_lines_are_sorted_and_each_name_is_there_once() -> None:
    names = [canonicalize_name(line.split("==")[0]) for line in LINES]
    assert names == sorted(set(names))


def test_every_direct_dependency_is_pinned_to_a_version_it_allows() -> None:
    for name, requirement in wanted().items():
        assert name in PINS, f"{name} is not in constraints.txt"
        assert requirement.specifier.contains(PINS[canonicalize_name(name)]), requirement


def test_every_transitive_dependency_is_pinned() -> None:
    waiting = [(requirement.name, frozenset(requirement.extras)) for requirement in wanted().values()]
    seen: set[tuple[str, frozenset[str]]] = set()
    missing = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if canonicalize_name(name) not in PINS:
            missing.add(name)
        try:
            texts = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # not for this platform
        for requirement in map(Requirement, texts):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (extras or {""})):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    assert missing == set()


def test_the_mongodb_server_is_an_extra_for_the_one_platform_it_is_built_for() -> None:
    (requirement,) = map(Requirement, PROJECT["optional-dependencies"]["embedded"])
    assert str(requirement.specifier) == "==0.4.0"
    marker = requirement.marker
    assert marker is not None
    assert marker.evaluate({"sys_platform": "linux", "platform_machine": "x86_64"})
    assert not marker.evaluate({"sys_platform": "linux", "platform_machine": "aarch64"})
    assert not marker.evaluate({"sys_platform": "darwin", "platform_machine": "x86_64"})
