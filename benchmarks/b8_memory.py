"""B8 and B9: peak memory of the process, and time of the first sync, as the tree grows.

One `hybridsync run` for each size and round: it starts on an empty mirror, syncs, is in sync, and then
syncs once more over what it has written. The peak is the largest resident size of all that. Then pymongo's
`insert_many` writes the same documents, to tell how much of the growth is MongoDB's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.command_line import parser, run_alone
from benchmarks.contenders import PEERS, run_peer
from benchmarks.figures import Figure, Outcome
from benchmarks.rig import COLLECTION, Rig, say
from benchmarks.service import Service
from benchmarks.tree import Tree

SIZES = (10_000, 100_000, 1_000_000)
ROUNDS = 3
LIMITS_MB = {10_000: 120.0, 100_000: 160.0, 1_000_000: 400.0}
LINEAR = 1.15


class _Measured:
    """What was measured at one size."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.first_mb: list[float] = []
        self.peak_mb: list[float] = []
        self.floor: list[float] = []


def run(rig: Rig, *, sizes: Sequence[int] = SIZES, rounds: int = ROUNDS) -> list[Outcome]:
    """Measures all sizes in turns."""
    found = {rig.tree(size): _Measured() for size in sizes}
    for number in range(rounds):
        for tree, measured in found.items():
            _measure(rig, tree, measured)
            say(
                f"B8 round {number + 1} of {rounds}: {tree.znodes:,} znodes, first sync {measured.seconds[-1]:.2f} s, "
                f"{measured.first_mb[-1]:.0f} MB, after a resync {measured.peak_mb[-1]:.0f} MB, "
                f"insert_many {measured.floor[-1]:.2f} s"
            )
    return [_memory(found), _time(found)]


def _measure(rig: Rig, tree: Tree, measured: _Measured) -> None:
    with rig.database() as database:
        with Service(rig.settings(tree, database.name), rig.directory / "service.log") as service:
            service.wait_ready()
            first = service.wait_in_sync()["lastResult"]
            if first["inserted"] != tree.znodes:
                raise RuntimeError(f"the first sync did not do its work: {first}")
            measured.seconds.append(first["durationSeconds"])
            measured.first_mb.append(service.peak_memory_mb())
            service.resync()
            measured.peak_mb.append(service.peak_memory_mb())
        rig.check(tree, database[COLLECTION])
        measured.floor.append(run_peer(rig, tree, PEERS["insert_many"], database.name))


def _memory(found: dict[Tree, _Measured]) -> Outcome:
    outcome = Outcome("B8", "peak memory of the process: first sync, watch, resync")
    for tree, measured in found.items():
        peak = Figure(f"{tree.znodes:,} znodes", measured.peak_mb, "MB")
        outcome.figures += [peak, Figure(f"{tree.znodes:,} znodes, first sync alone", measured.first_mb, "MB")]
        if tree.size in LIMITS_MB:
            outcome.at_most(peak.what, peak.median, LIMITS_MB[tree.size], "MB")
    return outcome


def _time(found: dict[Tree, _Measured]) -> Outcome:
    outcome = Outcome("B9", "time of the first sync as the tree grows (in the running service)")
    trees = list(found)
    floors = [
        Figure(f"{tree.znodes:,} documents, insert_many alone", measured.floor) for tree, measured in found.items()
    ]
    outcome.figures = [Figure(f"{tree.znodes:,} znodes", measured.seconds) for tree, measured in found.items()]
    for at in range(1, len(trees)):
        growth = outcome.figures[at].median / outcome.figures[at - 1].median
        linear = trees[at].znodes / trees[at - 1].znodes
        what = f"{trees[at - 1].znodes:,} to {trees[at].znodes:,}: time a znode grows by"
        outcome.at_most(what, growth / linear, LINEAR)
        outcome.told("the same for insert_many alone", floors[at].median / floors[at - 1].median / linear)
    outcome.figures += floors
    return outcome


def main() -> None:
    """Runs it alone."""
    made = parser(__doc__, size=SIZES[-1], rounds=ROUNDS)
    options = made.parse_args()
    sizes = [options.size // 100, options.size // 10, options.size]
    run_alone(lambda rig: run(rig, sizes=sizes, rounds=options.rounds))


if __name__ == "__main__":
    main()
