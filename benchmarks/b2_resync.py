"""B2 and B3: a full sync over a mirror that is already right, and over one where 1 % has changed.

Each round begins with a first sync into an empty mirror, so that all three are measured side by side.
Every sync is a process of its own; MongoDB counts what it writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.command_line import parser, run_alone
from benchmarks.counters import Writes, writes
from benchmarks.figures import Figure, Outcome
from benchmarks.rig import COLLECTION, Rig, say
from benchmarks.tree import Tree, change

SIZE = 100_000
ROUNDS = 3
CHANGED_PERCENT = 1


@dataclass(slots=True)
class _Times:
    first: list[float] = field(default_factory=list)
    unchanged: list[float] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)
    writes: list[Writes] = field(default_factory=list)


def run(rig: Rig, *, size: int = SIZE, rounds: int = ROUNDS) -> list[Outcome]:
    """Measures; raises `NotEqual` when a mirror is not the tree."""
    tree = rig.tree(size)
    times = _Times()
    with rig.database() as database:
        rig.sync(tree, database.name)  # nobody runs on cold servers
    for number in range(rounds):
        _round(rig, tree, number + 1, times)
        say(
            f"B2 round {number + 1} of {rounds}: first {times.first[-1]:.2f} s, "
            f"unchanged {times.unchanged[-1]:.2f} s, changed {times.changed[-1]:.2f} s"
        )
    return [_b2(tree, times), _b3(tree, times)]


def _round(rig: Rig, tree: Tree, number: int, times: _Times) -> None:
    with rig.database() as database:
        times.first.append(rig.sync(tree, database.name).seconds)
        rig.settle()
        namespace = f"{database.name}.{COLLECTION}"
        before = writes(rig.client, namespace)
        if before.mirror == 0:
            raise RuntimeError(
                f"MongoDB counted no write to {namespace} in the first sync: its count cannot be trusted"
            )
        times.unchanged.append(rig.sync(tree, database.name).seconds)
        times.writes.append(writes(rig.client, namespace).since(before))
        rig.check(tree, database[COLLECTION])
        some = range(number % 100, tree.size, 100 // CHANGED_PERCENT)
        change(rig.hosts, tree, some, number)
        rig.read_again(tree)
        rig.settle()
        times.changed.append(rig.sync(tree, database.name).seconds)
        rig.check(tree, database[COLLECTION])


def _b2(tree: Tree, times: _Times) -> Outcome:
    outcome = Outcome("B2", f"resync of {tree.znodes:,} znodes, nothing changed")
    outcome.figures = [Figure("resync, nothing changed", times.unchanged), Figure("first sync (B1)", times.first)]
    outcome.at_most("time, in times of B1", outcome.figures[0].median / outcome.figures[1].median, 0.5)
    outcome.at_most("writes to the mirror", max(each.mirror for each in times.writes), 0)
    outcome.told("documents written in the whole server (opcounters)", max(each.server for each in times.writes))
    outcome.remarks.append(
        "What is written elsewhere is the state of the resource, two or three times a sync. "
        "The mirror's own count is that of `top`."
    )
    return outcome


def _b3(tree: Tree, times: _Times) -> Outcome:
    outcome = Outcome("B3", f"resync of {tree.znodes:,} znodes, {CHANGED_PERCENT} % changed")
    outcome.figures = [Figure("resync, 1 % changed", times.changed), Figure("nothing changed (B2)", times.unchanged)]
    outcome.at_most("time, in times of B2", outcome.figures[0].median / outcome.figures[1].median, 1.15)
    return outcome


def main() -> None:
    """Runs it alone."""
    options = parser(__doc__, size=SIZE, rounds=ROUNDS).parse_args()
    run_alone(lambda rig: run(rig, size=options.size, rounds=options.rounds))


if __name__ == "__main__":
    main()
