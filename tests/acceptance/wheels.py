"""Wheels made of this checkout, or of a copy of it, as `make wheel` and pip make them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def execute(
    *command: str | Path, cwd: Path, timeout: float = 600, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program without anything of this process's Python or hybridsync in its environment but `variables`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HYBRIDSYNC_"))}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, "COLUMNS": "200", **(variables or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )


def build(output: Path, source: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Makes a wheel of `source` in `output`."""
    return _build("--wheel", "--outdir", output, source, cwd=output, **variables)


def build_both(output: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Makes a source distribution, and of that a wheel."""
    return _build("--outdir", output, ROOT, cwd=output, **variables)


def _build(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """`stderr` is without the steps that the program tells of there."""
    done = execute(sys.executable, "-m", "build", "--no-isolation", *arguments, cwd=cwd, variables=variables)
    done.stderr = "".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith("* "))
    return done


def install_in_place(source: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What `pip install --editable` does in `source`; the wheel that only names this folder is not made."""
    hooks = (
        "from hatchling.builders.wheel import WheelBuilder\n"
        "assert list(WheelBuilder('.').build(directory='.', versions=['editable'], hooks_only=True)) == []"
    )
    return execute(sys.executable, "-W", "error", "-c", hooks, cwd=source, variables=variables)


def copy_of_the_sources(folder: Path) -> Path:
    """What wheels are made of and nothing that was made of it, in a folder where a test may add to it."""
    made = shutil.ignore_patterns("__pycache__", "*.so")
    for name in ("hybridsync", "native", "config"):
        shutil.copytree(ROOT / name, folder / name, ignore=made)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    return folder


def the_wheel(output: Path) -> Path:
    """The one wheel in that folder."""
    (path,) = output.glob("*.whl")
    return path


def names_in(wheel: Path) -> set[str]:
    """The paths of the files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def native_in(wheel: Path) -> list[str]:
    """The compiled modules in a wheel."""
    return [name for name in names_in(wheel) if name.endswith((".so", ".pyd"))]
