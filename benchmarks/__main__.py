"""`python -m benchmarks`: everything in one run on the same servers; a whole run writes `benchmarks/RESULTS.md`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    b1_first_sync,
    b2_resync,
    b4_start,
    b5_latency,
    b6_burst,
    b7_probes,
    b8_memory,
    b10_expiry,
    k1_kubernetes,
    p1_publish,
    p3_edit,
    p4_replay,
    report,
)
from benchmarks.command_line import parser
from benchmarks.figures import Outcome
from benchmarks.rig import Rig, say

SIZE = 100_000
LARGEST = 1_000_000
ROUNDS = 3


def benchmarks(rig: Rig, size: int, largest: int, rounds: int) -> dict[str, Callable[[], Outcome | Sequence[Outcome]]]:
    """All of them by name, the largest tree last: it stays in the server."""
    more = rounds if rounds < ROUNDS else rounds + 2  # of what is short
    tenth = max(1, size // 10)  # channels, or operations on them
    return {
        "B1": lambda: b1_first_sync.run(rig, size=size, rounds=rounds),
        "B2": lambda: b2_resync.run(rig, size=size, rounds=rounds),
        "B4": lambda: b4_start.run(rig, size=size, small=max(1, size // 100), rounds=more),
        "B5": lambda: b5_latency.run(rig, size=size, rounds=rounds),
        "B6": lambda: b6_burst.run(rig, size=size, rounds=rounds),
        "B7": lambda: b7_probes.run(rig, size=size, rounds=2 * more),  # a p99 wants many probes
        "B10": lambda: b10_expiry.run(rig, size=size, rounds=rounds),
        "K1": lambda: k1_kubernetes.run(rig, size=max(1, size // 5), rounds=rounds),
        "P1": lambda: p1_publish.run(rig, size=tenth, rounds=more),
        "P3": lambda: p3_edit.run(rig, size=tenth, rounds=rounds),
        "P4": lambda: p4_replay.run(rig, size=tenth, rounds=rounds),
        "B8": lambda: b8_memory.run(rig, sizes=(largest // 100, largest // 10, largest), rounds=rounds),
    }


def main() -> None:
    """Runs all and writes the results after each; of those named by `--only`, only where `--output` says."""
    made = parser(__doc__, size=SIZE, rounds=ROUNDS)
    made.add_argument(
        "--largest", type=int, default=LARGEST, help=f"leaves of the largest tree of B8 (default {LARGEST})"
    )
    made.add_argument("--only", help="some of them, such as B1,B5; B2 includes B3, B8 B9, P1 P2, K1 the others of K")
    made.add_argument("--output", type=Path, help="file to write (default of a whole run: benchmarks/RESULTS.md)")
    options = made.parse_args()
    output = options.output or (None if options.only else report.RESULTS)
    began = time.monotonic()
    outcomes: list[Outcome] = []
    with Rig() as rig:
        known = benchmarks(rig, options.size, options.largest, options.rounds)
        chosen = options.only.split(",") if options.only else list(known)
        if unknown := [name for name in chosen if name not in known]:
            made.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        for name in chosen:
            found = known[name]()
            outcomes += [found] if isinstance(found, Outcome) else found
            outcomes.sort(key=lambda outcome: outcome.place)
            if output is not None:
                report.write(outcomes, rig, (time.monotonic() - began) / 60, output)
            say(f"{name} done after {(time.monotonic() - began) / 60:.1f} minutes")
    for outcome in outcomes:
        print(outcome.text, flush=True)


if __name__ == "__main__":
    main()
