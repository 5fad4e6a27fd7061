"""Apache Curator's caches, which only load the tree into memory: a Java program, compiled when it is needed.

The jars are those of Debian's `libcurator-recipes-java`; `CURATOR_CLASS_PATH` names others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

CACHES = ("CuratorCache", "TreeCache")

_JARS = Path("/usr/share/java")
_NAMES = ("curator-recipes", "curator-framework", "curator-client", "zookeeper", "guava", "slf4j-nop")
_SOURCE = Path(__file__).with_name("CuratorLoad.java")
_SECONDS = 900.0


class CuratorMissing(Exception):
    """There is no Curator, or no compiler, on this machine."""


def class_path() -> str:
    """The jars. Raises `CuratorMissing`."""
    given = os.environ.get("CURATOR_CLASS_PATH")
    if given:
        return given
    missing = [name for name in _NAMES if not (_JARS / f"{name}.jar").exists()]
    if missing:
        raise CuratorMissing(f"no {', '.join(missing)} in {_JARS}: install libcurator-recipes-java")
    return ":".join(str(_JARS / f"{name}.jar") for name in _NAMES)


def compiled(directory: Path) -> str:
    """Compiles the program into `directory`, once, and returns the class path to run it with."""
    jars = class_path()
    javac = shutil.which("javac")
    if javac is None:
        raise CuratorMissing("no javac on PATH: install default-jdk-headless")
    if not (directory / f"{_SOURCE.stem}.class").exists():
        directory.mkdir(exist_ok=True)
        command = [javac, "-nowarn", "-d", str(directory), "-cp", jars, str(_SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        if done.returncode != 0:
            raise CuratorMissing(f"{_SOURCE.name} does not compile: {done.stderr[:500]}")
    return f"{directory}:{jars}"


def load(hosts: str, root: str, cache: str, directory: Path) -> dict[str, Any]:
    """Seconds and count of one load in a fresh JVM. Raises `CuratorMissing` and `RuntimeError`."""
    command = ["java", "-Xmx4g", "-cp", compiled(directory), _SOURCE.stem, hosts, root, cache]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{cache} of Curator ended with {done.returncode}: {done.stderr[-1000:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def curator_version() -> str | None:
    """The version of Debian's Curator, by the name of its jar; `None` when it is not installed."""
    jar = _JARS / "curator-recipes.jar"
    named = [found.stem.rpartition("-")[2] for found in _JARS.glob("curator-recipes-[0-9]*.jar")]
    return named[0] if named and jar.exists() else None
