"""A wheel has the module that is made of native/; where it cannot be compiled it has none, and that is said."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from tests.acceptance.wheels import build, build_both, copy_of_the_sources, native_in, the_wheel

MODULE = f"hybridsync/_native{sysconfig.get_config_var('EXT_SUFFIX')}"
PURE = "-py3-none-any.whl"
ADVICE = "install gcc and the Python headers (Debian: gcc, libc6-dev, python3-dev)"


def said(stderr: str) -> list[str]:
    """The lines that are about the module."""
    return [line for line in stderr.splitlines() if "_native" in line or "NATIVE" in line]


def test_with_a_compiler_the_wheel_is_for_this_platform_and_nothing_is_said(tmp_path: Path) -> None:
    built = build(tmp_path)
    assert (built.returncode, built.stderr) == (0, ""), built.stdout
    assert native_in(the_wheel(tmp_path)) == [MODULE]
    assert not the_wheel(tmp_path).name.endswith(PURE)


def test_the_source_distribution_has_what_the_module_is_made_of(tmp_path: Path) -> None:
    built = build_both(tmp_path, HYBRIDSYNC_BUILD_NATIVE="require")
    assert built.returncode == 0, built.stdout + built.stderr
    assert native_in(the_wheel(tmp_path)) == [MODULE]


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [("false", "false cannot compile native/"), ("no-such-compiler -O1", "there is no C compiler no-such-compiler")],
    ids=["one that fails", "none"],
)
def test_without_a_compiler_the_wheel_is_for_every_platform_and_one_line_says_so(
    tmp_path: Path, compiler: str, reason: str
) -> None:
    built = build(tmp_path, CC=compiler)
    assert built.returncode == 0, built.stdout + built.stderr
    assert the_wheel(tmp_path).name.endswith(PURE)
    assert native_in(the_wheel(tmp_path)) == []
    (line,) = built.stderr.splitlines()
    assert line.startswith("hybridsync: goes on without hybridsync._native: ")
    assert reason in line
    assert "the results are the same, first syncs take about half as long again" in line
    assert line.endswith(ADVICE)


def test_what_the_compiler_says_of_the_code_is_not_kept_back(tmp_path: Path) -> None:
    source = copy_of_the_sources(tmp_path / "source")
    with (source / "native" / "module.c").open("a") as file:
        file.write("\n#error not yet\n")
    output = tmp_path / "output"
    output.mkdir()
    built = build(output, source)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "not yet" in built.stderr
    assert the_wheel(output).name.endswith(PURE)


def test_where_the_module_is_required_the_build_fails_with_the_line(tmp_path: Path) -> None:
    built = build(tmp_path, CC="false", HYBRIDSYNC_BUILD_NATIVE="require")
    assert built.returncode != 0
    assert list(tmp_path.iterdir()) == []
    (line,) = said(built.stderr)
    assert line.startswith("hybridsync: hybridsync._native was not built: ")
    assert "HYBRIDSYNC_BUILD_NATIVE requires it" in line
    assert line.endswith(ADVICE)
    assert "Traceback" not in built.stdout + built.stderr


def test_where_the_module_is_not_wanted_no_compiler_is_asked_and_nothing_is_said(tmp_path: Path) -> None:
    built = build(tmp_path, HYBRIDSYNC_BUILD_NATIVE="no")
    assert (built.returncode, built.stderr) == (0, ""), built.stdout
    assert the_wheel(tmp_path).name.endswith(PURE)
    assert native_in(the_wheel(tmp_path)) == []


def test_any_other_wish_is_refused_in_one_line(tmp_path: Path) -> None:
    built = build(tmp_path, HYBRIDSYNC_BUILD_NATIVE="yes")
    assert built.returncode != 0
    assert list(tmp_path.iterdir()) == []
    assert said(built.stderr) == ["HYBRIDSYNC_BUILD_NATIVE is 'yes': it can be 'require', 'no' or empty"]
    assert "Traceback" not in built.stdout + built.stderr
