"""The built wheel, installed into an empty environment, works far away from any checkout."""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.acceptance.wheels import ROOT, build, execute, names_in, the_wheel

pytestmark = pytest.mark.timeout(900)  # installs every dependency from the package registry

SHIPPED = {"development.env", "production.env", "high-reliability.env"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("wheel")
    built = build(output, HYBRIDSYNC_BUILD_NATIVE="require")
    assert built.returncode == 0, built.stdout + built.stderr
    return the_wheel(output)


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed `hybridsync` command."""
    home = tmp_path_factory.mktemp("empty")
    created = execute(sys.executable, "-m", "venv", home / "venv", cwd=home)
    assert created.returncode == 0, created.stderr
    python = home / "venv" / "bin" / "python"
    installed = execute(
        python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel, cwd=home
    )
    assert installed.returncode == 0, installed.stderr
    return home / "venv" / "bin" / "hybridsync"


def test_the_wheel_carries_the_code_the_settings_files_and_no_tests(wheel: Path) -> None:
    names = names_in(wheel)
    assert {f"hybridsync/config/{name}" for name in SHIPPED} <= names
    assert "hybridsync/config/schemas/channel.schema.json" in names
    assert {"hybridsync/__init__.py", "hybridsync/py.typed", "hybridsync/cli/__init__.py"} <= names
    assert f"hybridsync/_native{sysconfig.get_config_var('EXT_SUFFIX')}" in names
    foreign = {name for name in names if not re.match(r"hybridsync(-[^/]+\.dist-info)?/", name)}
    assert foreign == set()


def test_the_installed_package_needs_nothing_that_is_not_declared(program: Path, tmp_path: Path) -> None:
    python = program.with_name("python")
    every_module = (
        "import importlib, pkgutil, hybridsync\n"
        "for module in pkgutil.walk_packages(hybridsync.__path__, 'hybridsync.'):\n"
        "    if module.name != 'hybridsync.__main__': importlib.import_module(module.name)\n"
        "print(hybridsync.__file__)"
    )
    imported = execute(python, "-c", every_module, cwd=tmp_path)
    assert imported.returncode == 0, imported.stderr
    assert Path(imported.stdout.strip()).is_relative_to(program.parents[1])
    checked = execute(python, "-m", "pip", "check", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout


def test_config_shows_the_shipped_settings_in_an_empty_directory(program: Path, tmp_path: Path) -> None:
    shown = execute(program, "config", cwd=tmp_path, variables={"HYBRIDSYNC_ENV": "production"})
    assert shown.returncode == 0, shown.stderr
    for name in ("SYNC_ON_STARTUP", "MONGODB_URI", "ZOOKEEPER_HOSTS", "LOG_FORMAT"):
        assert name in shown.stdout
    assert "production.env" in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_run_without_resources_is_one_line_and_exit_code_2(program: Path, tmp_path: Path) -> None:
    refused = execute(program, "run", cwd=tmp_path, timeout=60)
    assert refused.returncode == 2, refused.stderr
    assert "RESOURCES" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_an_unknown_variable_is_named_together_with_the_nearest_known_one(program: Path, tmp_path: Path) -> None:
    refused = execute(program, "config", cwd=tmp_path, variables={"HYBRIDSYNC_ZOOKEEPER_HOST": "zk:2181"})
    assert refused.returncode == 2, refused.stderr
    assert "HYBRIDSYNC_ZOOKEEPER_HOST" in refused.stderr
    assert "HYBRIDSYNC_ZOOKEEPER_HOSTS" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_module_and_the_command_are_the_same(program: Path, tmp_path: Path) -> None:
    by_module = execute(program.with_name("python"), "-m", "hybridsync", "--help", cwd=tmp_path)
    by_command = execute(program, "--help", cwd=tmp_path)
    assert by_module.returncode == by_command.returncode == 0
    for command in ("run", "plan", "sync", "verify", "status", "config", "demo"):
        assert re.search(rf"\b{command}\b", by_command.stdout)
        assert re.search(rf"\b{command}\b", by_module.stdout)
