"""B4: from the start of the process to the first 200 of `/health/ready`, with a mirror that is still fresh.

Two sizes take turns. A catch-up runs behind the ready service; it is let come to its end before the
process is stopped, because a sync that was cut off leaves a mirror that is not fresh.
"""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.command_line import parser, run_alone
from benchmarks.figures import Figure, Outcome
from benchmarks.rig import COLLECTION, Rig, say
from benchmarks.service import Service
from benchmarks.tree import Tree

SIZE = 100_000
SMALL = 1_000
ROUNDS = 5
POLL_SECONDS = 0.005


def run(rig: Rig, *, size: int = SIZE, small: int = SMALL, rounds: int = ROUNDS) -> Outcome:
    """Measures both sizes, in turns."""
    trees = [rig.tree(small), rig.tree(size)]
    times: dict[Tree, list[float]] = {tree: [] for tree in trees}
    with ExitStack() as stack:
        databases = {tree: stack.enter_context(rig.database()) for tree in trees}
        for tree, database in databases.items():
            rig.sync(tree, database.name)
        for number in range(rounds):
            for tree, database in databases.items():
                times[tree].append(_start(rig, tree, database.name))
                rig.check(tree, database[COLLECTION])
            say(f"B4 round {number + 1} of {rounds}: " + ", ".join(f"{values[-1]:.2f} s" for values in times.values()))
    return _outcome(times)


def _start(rig: Rig, tree: Tree, database: str) -> float:
    with Service(rig.settings(tree, database), rig.directory / "service.log") as service:
        seconds = service.wait_ready(POLL_SECONDS)
        decision = service.resource()["decision"]
        if decision["reason"] != "fresh":
            raise RuntimeError(f"the mirror was not fresh: {decision}")
        service.wait_in_sync()
    return seconds


def _outcome(times: dict[Tree, list[float]]) -> Outcome:
    outcome = Outcome("B4", "process start to ready, fresh mirror")
    outcome.figures = [Figure(f"{tree.znodes:,} znodes", values) for tree, values in times.items()]
    small, large = outcome.figures
    for figure in (small, large):
        outcome.at_most(figure.what, figure.median, 1.0, "s")
    outcome.at_most("ratio of the two", large.median / small.median, 1.2)
    return outcome


def main() -> None:
    """Runs it alone."""
    made = parser(__doc__, size=SIZE, rounds=ROUNDS)
    made.add_argument("--small", type=int, default=SMALL, help=f"leaves of the smaller tree (default {SMALL})")
    options = made.parse_args()
    run_alone(lambda rig: run(rig, size=options.size, small=options.small, rounds=options.rounds))


if __name__ == "__main__":
    main()
