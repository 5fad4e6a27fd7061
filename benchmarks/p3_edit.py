"""P3: from one edit in MongoDB to the znode that shows it, in a collection of many channels.

The clock runs from before the edit is sent until a reader, who asks all the time, first sees it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from kazoo.client import KazooClient

from benchmarks.channels import Channels, channels, client_of, key_of
from benchmarks.command_line import parser, run_alone
from benchmarks.figures import Figure, Outcome, percentile
from benchmarks.rig import Rig, say
from benchmarks.service import Service

SIZE = 10_000
ROUNDS = 3
EDITS = 300

_LATE_SECONDS = 60.0


def run(rig: Rig, *, size: int = SIZE, rounds: int = ROUNDS, edits: int = EDITS) -> Outcome:
    """Measures; raises `NotEqual` when an edit was lost."""
    latencies: list[list[float]] = []
    with channels(rig) as made:
        made.fill(size)
        with Service(made.settings(), rig.directory / "service.log") as service, client_of(rig) as client:
            service.wait_ready()
            for number in range(1, rounds + 1):
                service.wait_in_sync()
                latencies.append(_edits(made, client, size, edits, number))
                made.check(client, made.root)
                p50, p99 = (1000 * percentile(latencies[-1], percent) for percent in (50, 99))
                say(f"P3 round {number} of {rounds}: p50 {p50:.1f} ms p99 {p99:.1f} ms")
    return _outcome(size, latencies)


def _edits(made: Channels, client: KazooClient, size: int, edits: int, number: int) -> list[float]:
    chooser = random.Random(number)
    latencies: list[float] = []
    for chosen in chooser.sample(range(size), min(edits, size)):
        time.sleep(chooser.uniform(0.02, 0.06))
        latencies.append(_one_edit(made, client, key_of(chosen)))
    return latencies


def _one_edit(made: Channels, client: KazooClient, key: str) -> float:
    path = f"{made.root}/{key}"
    version = client.get(path)[1].version
    began = time.monotonic()
    made.collection.update_one({"channel_id": key}, {"$inc": {"rate_limit": 1}})
    while time.monotonic() < began + _LATE_SECONDS:
        if client.get(path)[1].version > version:
            return time.monotonic() - began
    raise RuntimeError(f"{path} does not show its edit after {_LATE_SECONDS:.0f} s")


def _outcome(size: int, latencies: Sequence[Sequence[float]]) -> Outcome:
    outcome = Outcome("P3", f"from an edit to the znode that shows it, {size:,} channels")
    outcome.figures = [
        Figure(what, [1000 * percentile(each, percent) for each in latencies], "ms")
        for what, percent in (("p50", 50), ("p99", 99), ("worst", 100))
    ]
    outcome.at_most("p50", outcome.figures[0].median, 10, "ms")
    outcome.remarks.append(
        f"A round is {len(latencies[0])} single edits, acknowledged by the majority, in a quiet time."
    )
    return outcome


def main() -> None:
    """Runs it alone."""
    made = parser(__doc__, size=SIZE, rounds=ROUNDS, sized="channels")
    made.add_argument("--edits", type=int, default=EDITS, help=f"edits a round (default {EDITS})")
    options = made.parse_args()
    run_alone(lambda rig: run(rig, size=options.size, rounds=options.rounds, edits=options.edits))


if __name__ == "__main__":
    main()
