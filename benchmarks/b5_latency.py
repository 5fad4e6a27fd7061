"""B5: from one `set` to its document in MongoDB, while nothing else happens and under a steady load.

Idle: the clock runs from before the `set` is sent until a reader, who asks all the time, first sees the new
version. Under load: every leaf is set once, and a change stream tells when its document was written; the
stream itself, which shows only what the majority has, is part of the time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from kazoo.client import KazooClient
from pymongo.collection import Collection

from benchmarks.command_line import parser, run_alone
from benchmarks.figures import Figure, Outcome, percentile
from benchmarks.rig import COLLECTION, Rig, say
from benchmarks.service import Service
from benchmarks.tree import Tree, connected, in_processes, value
from benchmarks.writers import steadily

SIZE = 100_000
ROUNDS = 3
RATE = 1000.0
LOAD_SECONDS = 30.0
IDLE_SETS = 300

_LATE_SECONDS = 60.0

Documents = Collection[dict[str, Any]]


def run(
    rig: Rig, *, size: int = SIZE, rounds: int = ROUNDS, rate: float = RATE, load_seconds: float = LOAD_SECONDS
) -> Outcome:
    """Measures; raises `NotEqual` when a change was lost."""
    tree = rig.tree(size)
    idle: list[list[float]] = []
    loaded: list[list[float]] = []
    rates: list[float] = []
    missing = 0
    with rig.database() as database:
        mirror = database[COLLECTION]
        with Service(rig.settings(tree, database.name), rig.directory / "service.log") as service:
            service.wait_ready()
            for number in range(1, rounds + 1):
                service.wait_in_sync()
                idle.append(_idle(rig.hosts, tree, mirror, 2 * number - 1))
                latencies, lost, reached = _under_load(rig, tree, mirror, 2 * number, rate, load_seconds)
                loaded.append(latencies)
                rates.append(reached)
                missing += lost
                rig.read_again(tree)
                rig.check(tree, mirror)
                say(
                    f"B5 round {number} of {rounds}: idle {_summary(idle[-1])}; "
                    f"{len(latencies)} changes at {reached:.0f}/s {_summary(latencies)}"
                )
    outcome = _outcome(idle, loaded, rates, rate)
    outcome.at_most("changes lost", missing, 0)
    return outcome


def _idle(hosts: str, tree: Tree, mirror: Documents, number: int) -> list[float]:
    client = connected(hosts)
    chooser = random.Random(number)
    try:
        latencies: list[float] = []
        for leaf in chooser.sample(range(tree.size), min(IDLE_SETS, tree.size)):
            time.sleep(chooser.uniform(0.02, 0.06))
            latencies.append(_one_set(client, tree.leaf(leaf), value(leaf, number), mirror))
        return latencies
    finally:
        client.stop()
        client.close()


def _one_set(client: KazooClient, path: str, data: bytes, mirror: Documents) -> float:
    began = time.monotonic()
    version = client.set(path, data).mzxid
    while time.monotonic() < began + _LATE_SECONDS:
        document = mirror.find_one({"_id": path}, {"version": 1})
        if document is not None and document["version"] == version:
            return time.monotonic() - began
    raise RuntimeError(f"{path} is not in the mirror after {_LATE_SECONDS:.0f} s")


def _under_load(
    rig: Rig, tree: Tree, mirror: Documents, number: int, rate: float, seconds: float
) -> tuple[list[float], int, float]:
    """Seconds of every change that came, how many did not, and how many a second were sent."""
    count = min(int(rate * seconds), tree.size)
    numbers = random.Random(number).sample(range(tree.size), count)
    with mirror.watch([{"$project": {"documentKey": 1}}]) as stream, ThreadPoolExecutor(1) as aside:
        writing = aside.submit(in_processes, steadily, [(rig.hosts, tree, numbers, number, rate)])
        seen = _seen(stream, count, writing)
        (sent,) = writing.result()
    arrived = ((seen.get(tree.leaf(leaf)), at) for leaf, at in zip(numbers, sent, strict=True))
    latencies = [shown - at for shown, at in arrived if shown is not None]
    return latencies, count - len(latencies), (count - 1) / (sent[-1] - sent[0])


def _seen(stream: Any, count: int, writing: Future[Any]) -> dict[str, float]:
    """When each document was first written, until all were or nothing more comes."""
    seen: dict[str, float] = {}
    quiet_since = time.monotonic()
    while len(seen) < count:
        event = stream.try_next()
        now = time.monotonic()
        if event is not None:
            seen.setdefault(event["documentKey"]["_id"], now)
        if event is not None or not writing.done():
            quiet_since = now
        elif now - quiet_since > _LATE_SECONDS:
            break
    return seen


def _summary(latencies: Sequence[float]) -> str:
    return f"p50 {1000 * percentile(latencies, 50):.1f} ms p99 {1000 * percentile(latencies, 99):.1f} ms"


def _outcome(
    idle: Sequence[Sequence[float]], loaded: Sequence[Sequence[float]], rates: Sequence[float], rate: float
) -> Outcome:
    outcome = Outcome("B5", f"from `set` to the document: idle, and at {rate:,.0f} changes a second")

    def figure(what: str, rounds: Sequence[Sequence[float]], percent: float) -> Figure:
        return Figure(what, [1000 * percentile(each, percent) for each in rounds], "ms")

    outcome.figures = [
        figure("idle, p50", idle, 50),
        figure("idle, p99", idle, 99),
        figure("under load, p50", loaded, 50),
        figure("under load, p99", loaded, 99),
        figure("under load, worst", loaded, 100),
        Figure("changes a second that were sent", rates, ""),
    ]
    outcome.at_most("idle p50", outcome.figures[0].median, 5, "ms")
    outcome.at_most("idle p99", outcome.figures[1].median, 30, "ms")
    outcome.at_most("under load p99", outcome.figures[3].median, 250, "ms")
    outcome.remarks.append(
        f"A round is {len(idle[0])} single sets and {len(loaded[0]):,} changes; percentiles are of a round, and the "
        "median of the rounds counts."
    )
    return outcome


def main() -> None:
    """Runs it alone."""
    made = parser(__doc__, size=SIZE, rounds=ROUNDS)
    made.add_argument("--rate", type=float, default=RATE, help=f"changes a second (default {RATE:.0f})")
    made.add_argument("--seconds", type=float, default=LOAD_SECONDS, help=f"of load (default {LOAD_SECONDS:.0f})")
    options = made.parse_args()
    run_alone(
        lambda rig: run(rig, size=options.size, rounds=options.rounds, rate=options.rate, load_seconds=options.seconds)
    )


if __name__ == "__main__":
    main()
