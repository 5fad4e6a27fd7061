"""Compiles native/ into the module `hybridsync._native` while a wheel is made, or the package is installed in place.

Everything works without it, so where it cannot be compiled the build goes on and says so in one line. The variable
`HYBRIDSYNC_BUILD_NATIVE` says otherwise: with `require` the build fails then, with `no` nothing is compiled.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

VARIABLE = "HYBRIDSYNC_BUILD_NATIVE"
MODULE = "hybridsync._native"
FLAGS = ["-std=c11", "-O2", "-g0"] if os.name == "posix" else []


class NotBuilt(Exception):
    """Why there is no module."""


class NativeCode(BuildHookInterface[BuilderConfig]):
    """Adds the module to a wheel; for an installation in place it is put beside the code."""

    _folder: TemporaryDirectory[str] | None = None
    """Where the module of a wheel lies until the wheel is there."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version` is the kind of wheel: `standard` or `editable`."""
        chosen = os.environ.get(VARIABLE, "")
        if chosen not in ("", "require", "no"):
            raise SystemExit(f"{VARIABLE} is {chosen!r}: it can be 'require', 'no' or empty")
        place = f"{MODULE.replace('.', '/')}{sysconfig.get_config_var('EXT_SUFFIX')}"
        if version == "editable":
            Path(self.root, place).unlink(missing_ok=True)  # it may be of other code than that in native/ now
        if chosen == "no" or (sys.implementation.name != "cpython" and chosen != "require"):
            return

        self._folder = TemporaryDirectory(prefix="hybridsync-native-")
        try:
            built = compiled(Path(self.root, "native"), Path(self._folder.name))
        except NotBuilt as reason:
            self._clean_up()
            self._go_on_without(reason, required=chosen == "require")
            return
        if version == "editable":
            shutil.copyfile(built, Path(self.root, place))
            self._clean_up()
        else:
            build_data["force_include"][str(built)] = place
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Now the wheel has its copy of what was compiled."""
        self._clean_up()

    def _clean_up(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def _go_on_without(self, reason: NotBuilt, required: bool) -> None:
        install = "install gcc and the Python headers (Debian: gcc, libc6-dev, python3-dev)"
        if required:
            raise SystemExit(f"hybridsync: {MODULE} was not built: {reason}; {VARIABLE} requires it: {install}")
        without = "the results are the same, first syncs take about half as long again"
        print(f"hybridsync: goes on without {MODULE}: {reason}; {without}; to have it, {install}", file=sys.stderr)


def compiled(sources: Path, folder: Path) -> Path:
    """The module, made of the C files in `sources`; everything that is written is below `folder`.

    What a compiler says of the code goes where the build's own output goes. Raises `NotBuilt`.
    """
    if sys.implementation.name != "cpython":
        raise NotBuilt("it is for CPython only")
    headers = sysconfig.get_path("include")
    if not Path(headers, "Python.h").exists():
        raise NotBuilt(f"there is no Python.h in {headers}")
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "")
    if compiler and shutil.which(compiler[0]) is None:
        raise NotBuilt(f"there is no C compiler {compiler[0]}")

    files = sorted(str(file) for file in sources.glob("*.c"))
    extension = Extension(MODULE, files, extra_compile_args=FLAGS)
    command = build_ext(Distribution({"name": "hybridsync", "ext_modules": [extension]}))
    command.build_lib = str(folder / "made")
    command.build_temp = str(folder / "objects")
    command.ensure_finalized()
    try:
        command.run()
    except (BaseError, CCompilerError) as error:
        raise NotBuilt(f"{compiler[0] if compiler else 'the C compiler'} cannot compile native/") from error
    return Path(command.get_ext_fullpath(MODULE))
