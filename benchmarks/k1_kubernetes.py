"""K1 to K5: ConfigMaps of 3 KB of a Kubernetes cluster: first sync, restart, 410, changes, memory.

The cluster is the tests' own API server in a process of its own; it counts the requests. Next to K1 and K4 stands what
one writes by hand: kubernetes_asyncio's list and watch feeding `replace_one`. Contenders take turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymongo.collection import Collection

from benchmarks.cluster import Cluster, cluster
from benchmarks.command_line import parser, run_alone
from benchmarks.figures import Figure, Outcome
from benchmarks.rig import COLLECTION, ROOT, Rig, environ, run_process, say
from benchmarks.service import Service, peak_memory_mb

SIZE = 20_000
ROUNDS = 3
RESTART_SECONDS = 1.0
EVENTS_A_SECOND = 2000.0


@dataclass(slots=True)
class _Times:
    first: list[float] = field(default_factory=list)
    by_hand: list[float] = field(default_factory=list)
    watching: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    listings: list[int] = field(default_factory=list)
    gone: list[float] = field(default_factory=list)
    resync: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    rate_by_hand: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    peak_by_hand_mb: list[float] = field(default_factory=list)


def run(rig: Rig, *, size: int = SIZE, rounds: int = ROUNDS) -> list[Outcome]:
    """Measures; raises `NotEqual` when a mirror is not equal to the cluster."""
    times = _Times()
    for number in range(rounds):
        with cluster(rig, size) as made:
            _own(rig, made, times)
            _peer(rig, made, times)
        say(
            f"K1 round {number + 1} of {rounds}: first {times.first[-1]:.2f} s, by hand {times.by_hand[-1]:.2f} s, "
            f"watching {times.watching[-1]:.2f} s, after a 410 {times.gone[-1]:.2f} s, "
            f"{times.rate[-1]:,.0f} changes a second, by hand {times.rate_by_hand[-1]:,.0f}, "
            f"{times.peak_mb[-1]:.0f} MB"
        )
    return [_k1(size, times), _k2(size, times), _k3(size, times), _k4(size, times), _k5(size, times)]


def _own(rig: Rig, made: Cluster, times: _Times) -> None:
    with rig.database() as database:
        mirror = database[COLLECTION]
        settings = made.settings(database.name)
        times.first.append(_sync(made, settings))
        made.check(mirror)
    with rig.database() as database:
        mirror, settings = database[COLLECTION], made.settings(database.name)
        log = rig.directory / "service.log"
        with Service(settings, log) as service:
            service.wait_ready()
            service.wait_in_sync()
            made.check(mirror)
            _expire(made, mirror, service, times)
            times.rate.append(_changes(made, mirror, turn=2))
            service.wait_in_sync()
            times.peak_mb.append(service.peak_memory_mb())
        made.do("clear")
        with Service(settings, log) as service:
            _restart(made, service, times)
        made.check(mirror)


def _sync(made: Cluster, settings: dict[str, str]) -> float:
    """`hybridsync sync` into an empty database; seconds of the sync itself."""
    result = json.loads(run_process(["-m", "hybridsync", "sync", "--json"], environ(settings)))["results"][COLLECTION]
    if "error" in result or "warnings" in result or result["inserted"] != made.size:
        raise RuntimeError(f"the full sync did not do its work: {result}")
    return float(result["durationSeconds"])


def _expire(made: Cluster, mirror: Collection[dict[str, Any]], service: Service, times: _Times) -> None:
    """The watch breaks off and its version is gone when it comes back. The clock starts with that request."""
    changed = range(max(1, made.size // 100))
    made.do("forget", 1, len(changed))
    service.wait_until(lambda: made.do("asked")["watches"] > 0, "watching again")
    since = made.do("asked")["first_watch"]
    times.gone.append(made.wait_changed(mirror, changed, 1, since, gone=made.size - 1))
    last = service.wait_in_sync()["lastResult"]
    if (last["updated"], last["deleted"]) != (len(changed), 1):
        raise RuntimeError(f"the full sync after the 410 did not do its work: {last}")
    times.resync.append(last["durationSeconds"])
    made.do("restore")
    service.wait_in_sync()
    made.wait_changed(mirror, [made.size - 1], 0, since)


def _changes(made: Cluster, mirror: Collection[dict[str, Any]], turn: int) -> float:
    """Every object changes once; changes a second until the mirror is equal."""
    since = time.monotonic()
    made.do("change", turn)
    return made.size / made.wait_changed(mirror, range(made.size), turn, since)


def _restart(made: Cluster, service: Service, times: _Times) -> None:
    times.ready.append(service.wait_ready())
    service.wait_in_sync()
    asked = made.do("asked")
    times.watching.append(asked["first_watch"] - service.began)
    times.listings.append(asked["listings"])


def _peer(rig: Rig, made: Cluster, times: _Times) -> None:
    with rig.database() as database:
        mirror = database[COLLECTION]
        arguments = ["--kubeconfig", made.kubeconfig, "--uri", rig.mongodb.uri, "--database", database.name]
        made.do("clear")
        with _by_hand([*arguments, "--collection", COLLECTION]) as process:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline() or "{}")
            if told.get("count") != made.size:
                raise RuntimeError(f"the list by hand did not do its work: {told}")
            made.check(mirror)
            times.by_hand.append(told["seconds"])
            while not made.do("asked")["watches"]:
                if process.poll() is not None:
                    raise RuntimeError("the watch by hand has ended")
                time.sleep(0.01)
            times.rate_by_hand.append(_changes(made, mirror, turn=3))
            times.peak_by_hand_mb.append(peak_memory_mb(process.pid))


@contextmanager
def _by_hand(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.peers.list_watch", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=Path(ROOT),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _k1(size: int, times: _Times) -> Outcome:
    outcome = Outcome("K1", f"first sync of {size:,} Kubernetes objects of 3 KB")
    outcome.figures = [
        Figure("hybridsync sync", times.first),
        Figure("kubernetes_asyncio list + replace_one", times.by_hand),
    ]
    outcome.told("faster than list + replace_one by", outcome.figures[1].median / outcome.figures[0].median)
    return outcome


def _k2(size: int, times: _Times) -> Outcome:
    outcome = Outcome("K2", f"restart of the service over {size:,} objects, from the start of the process")
    outcome.figures = [
        Figure("until the watch reaches the API server", times.watching),
        Figure("until ready", times.ready),
        Figure("listings, counted by the API server", times.listings, ""),
    ]
    outcome.at_most("process start to watching", outcome.figures[0].median, RESTART_SECONDS, "s")
    outcome.at_most("listings", max(times.listings), 0)
    return outcome


def _k3(size: int, times: _Times) -> Outcome:
    outcome = Outcome("K3", f"410 Gone over {size:,} objects, of which 1 % had changed")
    outcome.figures = [
        Figure("from the refused watch until the mirror is equal", times.gone),
        Figure("the full sync within", times.resync),
    ]
    return outcome


def _k4(size: int, times: _Times) -> Outcome:
    outcome = Outcome("K4", f"{size:,} objects change once each: changes a second until the mirror is equal")
    outcome.figures = [
        Figure("hybridsync", times.rate, ""),
        Figure("kubernetes_asyncio watch + replace_one", times.rate_by_hand, ""),
    ]
    outcome.at_least("changes a second", outcome.figures[0].median, EVENTS_A_SECOND)
    return outcome


def _k5(size: int, times: _Times) -> Outcome:
    outcome = Outcome("K5", f"peak memory over {size:,} objects: first sync, 410, every object changed")
    outcome.figures = [
        Figure("hybridsync run", times.peak_mb, "MB"),
        Figure("kubernetes_asyncio, first list, every object changed", times.peak_by_hand_mb, "MB"),
    ]
    return outcome


def main() -> None:
    """Runs all five alone."""
    options = parser(__doc__, size=SIZE, rounds=ROUNDS, sized="objects").parse_args()
    run_alone(lambda rig: run(rig, size=options.size, rounds=options.rounds))


if __name__ == "__main__":
    main()
