"""What the project says about itself is true of the files."""

from __future__ import annotations

import importlib
import stat
import tomllib
from pathlib import Path

import pytest

import hybridsync

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_command_names_a_function_that_exists() -> None:
    module, _, function = PROJECT["project"]["scripts"]["hybridsync"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_version_is_text_that_is_not_empty() -> None:
    assert hybridsync.__version__


def test_the_checks_start_from_an_executable_file() -> None:
    run = ROOT / ".ci" / "run"
    assert run.stat().st_mode & stat.S_IXUSR
    assert "exec make test" in run.read_text()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "Makefile", ".ci/run"])
def test_no_build_file_names_a_download_host(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "index-url" not in text


def test_untyped_packages_are_the_only_ones_excused_from_strict_types() -> None:
    mypy = PROJECT["tool"]["mypy"]
    assert mypy["strict"] is True
    excused = [module for override in mypy["overrides"] for module in override["module"]]
    assert excused == ["kazoo.*", "motor.*"]
