"""B7: how soon `/health/live` and `/health/ready` answer while the first full sync runs, 50 requests a second.

All rounds are thrown together: one first sync is too short for a percentile. Until it is done the readiness
probe must say 503; anything else than that, 200, and 200 for liveness counts as a failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.command_line import parser, run_alone
from benchmarks.figures import Figure, Outcome, percentile
from benchmarks.rig import COLLECTION, ROOT, Rig, say
from benchmarks.service import Service
from benchmarks.tree import Tree
from hybridsync.embedded.ports import free_port

SIZE = 100_000
ROUNDS = 10
RATE = 50.0

_SECONDS = 600.0
_STARTS_SECONDS = 1.0
_ENV = os.environ | {"PYTHONPATH": str(ROOT)}
_PATHS = ("/health/live", "/health/ready")


def run(rig: Rig, *, size: int = SIZE, rounds: int = ROUNDS, rate: float = RATE) -> Outcome:
    """Measures."""
    tree = rig.tree(size)
    seconds: dict[str, list[float]] = {}
    failures: list[str] = []
    with rig.database() as database:
        rig.sync(tree, database.name)  # nobody runs on cold servers, as in B1
    with _idle_server() as idle_port:
        for number in range(rounds):
            told = _round(rig, tree, idle_port, rate)
            for path, values in told["seconds"].items():
                seconds.setdefault(path, []).extend(values)
            failures += told["failures"]
            say(
                f"B7 round {number + 1} of {rounds}: {sum(len(told['seconds'][path]) for path in _PATHS)} probes, "
                f"worst {max(1000 * max(told['seconds'][path]) for path in _PATHS):.1f} ms, "
                f"{len(told['failures'])} failures"
            )
    return _outcome(tree, seconds, failures, rate)


@contextmanager
def _idle_server() -> Iterator[int]:
    port = free_port()
    arguments = [sys.executable, "-m", "benchmarks.prober", "--idle-port", str(port)]
    with subprocess.Popen(arguments, env=_ENV, cwd=ROOT) as server:
        try:
            yield port
        finally:
            server.kill()


def _round(rig: Rig, tree: Tree, idle_port: int, rate: float) -> dict[str, Any]:
    with rig.database() as database:
        service = Service(rig.settings(tree, database.name), rig.directory / "service.log")
        arguments = ["-m", "benchmarks.prober", "--port", str(service.port), "--idle-port", str(idle_port)]
        with subprocess.Popen(
            [sys.executable, *arguments, "--rate", str(rate)], env=_ENV, cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as prober:
            try:
                time.sleep(_STARTS_SECONDS)  # so that it does not start up while the service is measured
                with service:
                    output, _ = prober.communicate(timeout=_SECONDS)
            finally:
                prober.kill()
        rig.check(tree, database[COLLECTION])
    told: dict[str, Any] = json.loads(output)
    return told


def _outcome(tree: Tree, seconds: dict[str, list[float]], failures: list[str], rate: float) -> Outcome:
    outcome = Outcome("B7", f"probes while the first sync of {tree.znodes:,} znodes runs, {rate:.0f} a second")
    probes = [1000 * value for path in _PATHS for value in seconds[path]]
    idle = [1000 * value for value in seconds["idle"]]
    outcome.figures = [
        Figure("p99 of both probes", [percentile(probes, 99)], "ms"),
        *(Figure(f"{path} p99", [1000 * percentile(seconds[path], 99)], "ms") for path in _PATHS),
        Figure("both probes p50", [percentile(probes, 50)], "ms"),
        Figure("both probes, worst", [max(probes)], "ms"),
        Figure("an idle server on the same machine, p99", [percentile(idle, 99)], "ms"),
    ]
    outcome.at_most("p99", percentile(probes, 99), 25, "ms")
    outcome.at_most("failures", len(failures), 0)
    outcome.remarks.append(f"{len(probes)} probes in all.")
    outcome.remarks += failures[:5]
    return outcome


def main() -> None:
    """Runs it alone."""
    options = parser(__doc__, size=SIZE, rounds=ROUNDS).parse_args()
    run_alone(lambda rig: run(rig, size=options.size, rounds=options.rounds))


if __name__ == "__main__":
    main()
