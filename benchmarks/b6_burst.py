"""B6: 50,000 changes as fast as ZooKeeper takes them, and how soon after the last one the mirror is equal.

A fifth as many leaves are changed five times each, by two processes with a few multi requests under way.
The mirror counts as equal when no changed leaf's document shows anything but the last value.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo.collection import Collection

from benchmarks.command_line import parser, run_alone
from benchmarks.figures import Figure, Outcome
from benchmarks.rig import COLLECTION, Rig, say
from benchmarks.service import Service
from benchmarks.tree import Tree
from benchmarks.writers import burst

SIZE = 100_000
ROUNDS = 3
CHANGES = 50_000
TIMES_EACH = 5

_LATE_SECONDS = 120.0
_POLL_SECONDS = 0.01
_LOOKED_AT = 20


@dataclass(slots=True)
class _Found:
    behind: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    written: list[float] = field(default_factory=list)


def run(rig: Rig, *, size: int = SIZE, rounds: int = ROUNDS, changes: int = CHANGES) -> Outcome:
    """Measures; raises `NotEqual` when the mirror is not the tree in the end."""
    tree = rig.tree(size)
    numbers = range(0, tree.size, max(1, tree.size * TIMES_EACH // changes))
    found = _Found()
    with rig.database() as database:
        mirror = database[COLLECTION]
        with Service(rig.settings(tree, database.name), rig.directory / "service.log") as service:
            service.wait_ready()
            for number in range(rounds):
                service.wait_in_sync()
                _round(
                    rig,
                    tree,
                    mirror,
                    numbers,
                    service,
                    [1000 + TIMES_EACH * number + at for at in range(TIMES_EACH)],
                    found,
                )
                rig.read_again(tree)
                rig.check(tree, mirror)
                say(
                    f"B6 round {number + 1} of {rounds}: {found.rates[-1]:,.0f} changes/s, equal after "
                    f"{found.behind[-1]:.2f} s, {found.written[-1]:,.0f} documents written"
                )
    return _outcome(len(numbers) * TIMES_EACH, found)


def _round(
    rig: Rig,
    tree: Tree,
    mirror: Collection[dict[str, Any]],
    numbers: Sequence[int],
    service: Service,
    changes: Sequence[int],
    found: _Found,
) -> None:
    before = service.counter("hybridsync_changes_total")
    began, ended = burst(rig.hosts, tree, numbers, changes)
    _wait_equal(mirror, [tree.leaf(leaf) for leaf in numbers], changes[-1])
    found.behind.append(time.monotonic() - ended)
    found.rates.append(len(numbers) * len(changes) / (ended - began))
    service.wait_in_sync()
    found.written.append(service.counter("hybridsync_changes_total") - before)


def _wait_equal(mirror: Collection[dict[str, Any]], paths: list[str], last: int) -> None:
    """Asks for a few of those that are behind, and for all only when those few are right: asking costs time too."""
    deadline = time.monotonic() + _LATE_SECONDS
    while paths := _behind(mirror, paths, last):
        while _behind(mirror, paths[-_LOOKED_AT:], last):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(paths)} documents are behind after {_LATE_SECONDS:.0f} s: {paths[:5]}")
            time.sleep(_POLL_SECONDS)


def _behind(mirror: Collection[dict[str, Any]], paths: list[str], last: int) -> list[str]:
    found = mirror.find({"_id": {"$in": paths}, "value.change": {"$ne": last}}, {"_id": 1}, batch_size=100_000)
    return [document["_id"] for document in found]


def _outcome(changes: int, found: _Found) -> Outcome:
    outcome = Outcome("B6", f"burst of {changes:,} changes, {TIMES_EACH} of each changed leaf")
    outcome.figures = [
        Figure("from the last write to an equal mirror", found.behind),
        Figure("changes a second that ZooKeeper took", found.rates, ""),
        Figure("documents written or found unchanged", found.written, ""),
    ]
    outcome.at_most("equal after the last write", outcome.figures[0].median, 1.0, "s")
    outcome.at_most("writes a change (below 1: reads were coalesced)", outcome.figures[2].median / changes, 0.999)
    return outcome


def main() -> None:
    """Runs it alone."""
    made = parser(__doc__, size=SIZE, rounds=ROUNDS)
    made.add_argument("--changes", type=int, default=CHANGES, help=f"in one burst (default {CHANGES})")
    options = made.parse_args()
    run_alone(lambda rig: run(rig, size=options.size, rounds=options.rounds, changes=options.changes))


if __name__ == "__main__":
    main()
