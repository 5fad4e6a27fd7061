"""The C in native/ reads and writes only what it may, whatever damaged input it is given: sanitizers watch over it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "tests" / "native_fuzz.py"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"]
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
ROUNDS = 8000

pytestmark = pytest.mark.timeout(600)


def what_is_missing() -> str | None:
    """What the build needs and this machine lacks."""
    if shutil.which("gcc") is None:
        return "gcc"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python.h"
    return None if sanitizer().is_absolute() else "gcc's libasan"


def sanitizer() -> Path:
    """The library that has to be loaded first; a bare name where gcc has none."""
    asked = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    return Path(asked.stdout.strip())


@pytest.fixture(scope="module")
def watched_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """native/ with the sanitizers built in."""
    missing = what_is_missing()
    if missing is not None and os.environ.get("CI"):
        pytest.fail(f"{missing} is missing, and the checks of a change need it")
    if missing is not None:
        pytest.skip(f"{missing} is missing")
    module = tmp_path_factory.mktemp("watched") / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    sources = sorted(str(path) for path in (REPOSITORY / "native").glob("*.c"))
    include = ["-isystem", sysconfig.get_path("include")]
    built = subprocess.run(
        ["gcc", "-std=c11", *SANITIZERS, *WARNINGS, "-shared", "-fPIC", *include, *sources, "-o", str(module)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return module


def fuzz(module: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the script. Memory comes from malloc, so that the sanitizer sees every piece of it; there is not much of it,
    so that a loop without end does not take the machine's."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(sanitizer()),
        "ASAN_OPTIONS": "detect_leaks=0:hard_rss_limit_mb=2000",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(module), *arguments],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("seed", ["1", "2"])
def test_damaged_input_of_any_kind_does_no_harm(watched_module: Path, seed: str) -> None:
    ran = fuzz(watched_module, seed, str(ROUNDS))
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["calls"] == 4 * ROUNDS


def test_reading_one_byte_too_many_would_be_seen(watched_module: Path) -> None:
    """Of the very bytes that the other test hands over."""
    ran = fuzz(watched_module, "--prove")
    assert ran.returncode != 0
    assert "AddressSanitizer" in ran.stderr
    code = watched_module.read_bytes()
    assert b"__asan_report_load1" in code
    assert b"__ubsan_handle_add_overflow" in code
