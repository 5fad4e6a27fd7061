"""Installed in place, the package finds the module made of native/ beside its code, and nothing else is left there."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from tests.acceptance.wheels import build, copy_of_the_sources, execute, install_in_place, native_in, the_wheel

MODULE = f"hybridsync/_native{sysconfig.get_config_var('EXT_SUFFIX')}"


def files(folder: Path) -> set[str]:
    """Without what Python itself writes wherever it finds code."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {str(path) for path in found if "__pycache__" not in path.parts}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return copy_of_the_sources(tmp_path / "source")


def test_the_module_is_beside_the_code_and_nothing_else_is_left(source: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    before = files(source)
    done = install_in_place(source, HYBRIDSYNC_BUILD_NATIVE="require", TMPDIR=str(temporary))

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert files(source) - before == {MODULE}
    assert list(temporary.iterdir()) == []
    loaded = execute(sys.executable, "-c", "import hybridsync._native as module; print(module.__file__)", cwd=source)
    assert loaded.stdout.strip() == str(source / MODULE), loaded.stderr


@pytest.mark.parametrize("variables", [{"CC": "false"}, {"HYBRIDSYNC_BUILD_NATIVE": "no"}], ids=["cannot", "may not"])
def test_a_module_that_cannot_be_made_again_does_not_stay_beside_newer_code(
    source: Path, variables: dict[str, str]
) -> None:
    (source / MODULE).write_bytes(b"made of code that has changed")
    done = install_in_place(source, **variables)
    assert done.returncode == 0, done.stderr
    assert not (source / MODULE).exists()


def test_a_wheel_has_the_module_that_was_made_for_it_and_none_that_lay_beside_the_code(
    source: Path, tmp_path: Path
) -> None:
    for name in (MODULE, "hybridsync/_native.cpython-39-x86_64-linux-gnu.so"):
        (source / name).write_bytes(b"of another time")
    output = tmp_path / "output"
    output.mkdir()
    done = build(output, source)
    assert done.returncode == 0, done.stdout + done.stderr
    assert native_in(the_wheel(output)) == [MODULE]

    unpacked = execute(sys.executable, "-m", "zipfile", "-e", the_wheel(output), tmp_path / "unpacked", cwd=output)
    assert unpacked.returncode == 0, unpacked.stderr
    assert (tmp_path / "unpacked" / MODULE).read_bytes() != b"of another time"
