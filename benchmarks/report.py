"""Writes what was found as `RESULTS.md`: machine, versions, date, targets and figures."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.figures import Figure, Outcome, number
from benchmarks.peers.curator import curator_version
from benchmarks.rig import CACHE_GB, HEAP_MB, Rig
from hybridsync import native
from hybridsync.version import version as hybridsync_version

RESULTS = Path(__file__).with_name("RESULTS.md")

_PACKAGES = ("kazoo", "motor", "pymongo", "aiohttp", "kubernetes_asyncio")
_WORDS = {True: "met", False: "**not met**", None: ""}

_INTRODUCTION = """\
# Benchmarks

Written by `make bench`; what each one does is told at the top of its module in `benchmarks/`. Everything ran
in one run on the same private servers, contenders took turns, and the median of the rounds counts. A tree has
100 leaves of 200 bytes of JSON a parent; the parents and the root come on top. Every mirror was compared with
its tree, and what was published (P1 …) with its collection, by a reader that shares no code with hybridsync.
"""


def write(outcomes: Sequence[Outcome], rig: Rig, minutes: float, path: Path = RESULTS) -> None:
    """Replaces the file; B10 comes after B9, K and P after B."""
    outcomes = sorted(outcomes, key=lambda outcome: outcome.place)
    parts = [_INTRODUCTION, _circumstances(rig, minutes), _targets(outcomes), *map(_details, outcomes)]
    path.write_text("\n".join(parts), encoding="utf-8")


def _circumstances(rig: Rig, minutes: float) -> str:
    told = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "duration": f"{minutes:.0f} minutes",
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gb():.0f} GB, Linux {_kernel()}",
        "load before": f"{rig.load_before:.2f} (1 minute average)",
        "hybridsync": f"{hybridsync_version()}, {'with' if native.QUICK else 'without'} the loops in C",
        "Python": f"{platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in _PACKAGES)}",
        "ZooKeeper": f"{_zookeeper(rig)}, standalone, forceSync=no, heap {HEAP_MB} MB",
        "MongoDB": f"{_mongodb(rig)}, replica set of one, w=majority, journal, cache {CACHE_GB} GB",
        "Java": f"{_java()}; Curator {curator_version() or 'missing'}",
    }
    return _table(["", ""], ([name, text] for name, text in told.items()))


def _targets(outcomes: Iterable[Outcome]) -> str:
    rows = [
        [outcome.name, claim.what, claim.target, claim.measured, _WORDS[claim.met]]
        for outcome in outcomes
        for claim in outcome.claims
    ]
    return "## Targets\n\n" + _table(["#", "what", "target", "measured", ""], rows)


def _details(outcome: Outcome) -> str:
    first = outcome.figures[0]

    def ratio(figure: Figure) -> str:
        return number(figure.median / first.median) if figure.unit == first.unit and first.median else ""

    rows = [[figure.what, figure.text, figure.range, ratio(figure)] for figure in outcome.figures]
    text = f"## {outcome.name}: {outcome.title}\n\n" + _table(["what", "median", "range", "ratio"], rows)
    return text + "".join(f"\n{remark}\n" for remark in outcome.remarks)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _kernel() -> str:
    return ".".join(platform.release().split(".")[:2])


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _zookeeper(rig: Rig) -> str:
    found = re.search(r"version: ([\d.]+)", rig.zookeeper.ask("srvr"))
    return found[1] if found else "unknown"


def _mongodb(rig: Rig) -> str:
    return str(rig.client.server_info()["version"])


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        return "missing"
    told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    found = re.search(r'version "([^"]+)"', told)
    return found[1] if found else "unknown"
