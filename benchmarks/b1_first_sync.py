"""B1: the first full sync into an empty mirror, beside everything a user might do instead.

`--peers` names some of them, `all` or `none`; they take turns with hybridsync, round by round.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.command_line import parser, run_alone
from benchmarks.contenders import PEERS, run_peer
from benchmarks.figures import Figure, Outcome
from benchmarks.peers.curator import CuratorMissing
from benchmarks.rig import COLLECTION, Rig, say
from benchmarks.tree import Tree

SIZE = 100_000
ROUNDS = 3


def run(rig: Rig, *, size: int = SIZE, rounds: int = ROUNDS, peers: Sequence[str] = tuple(PEERS)) -> Outcome:
    """Measures; raises `NotEqual` when anybody's mirror is not the tree."""
    tree = rig.tree(size)
    outcome = Outcome("B1", f"first full sync of {tree.znodes:,} znodes, empty mirror")
    times: dict[str, list[float]] = {peer: [] for peer in peers}
    own: list[float] = []
    whole: list[float] = []
    with rig.database() as reference:
        rig.sync(tree, reference.name)  # the documents for insert_many; and nobody runs on cold servers
        rig.check(tree, reference[COLLECTION])
        for number in range(rounds):
            seconds, process_seconds = _first_sync(rig, tree)
            own.append(seconds)
            whole.append(process_seconds)
            say(f"B1 round {number + 1} of {rounds}: hybridsync {seconds:.2f} s")
            for peer in list(times):
                try:
                    taken = run_peer(rig, tree, PEERS[peer], reference.name)
                except CuratorMissing as error:
                    del times[peer]
                    outcome.remarks.append(f"{PEERS[peer].what}: not measured, {error}")
                else:
                    times[peer].append(taken)
                    say(f"B1 round {number + 1} of {rounds}: {peer} {taken:.2f} s")
    outcome.figures = [
        Figure("hybridsync sync", own),
        *(Figure(PEERS[peer].what, values) for peer, values in times.items()),
        Figure("hybridsync sync, whole process with start and end", whole),
    ]
    _claim(outcome, outcome.figures[0].median, {peer: Figure(peer, values).median for peer, values in times.items()})
    return outcome


def _first_sync(rig: Rig, tree: Tree) -> tuple[float, float]:
    with rig.database() as database:
        synced = rig.sync(tree, database.name)
        rig.check(tree, database[COLLECTION])
        return synced.seconds, synced.process_seconds


def _claim(outcome: Outcome, own: float, medians: dict[str, float]) -> None:
    if "insert_many" in medians:
        outcome.at_most("time, in times of sequential insert_many", own / medians["insert_many"], 1.0)
    if "insert_many_4" in medians:
        outcome.told("time, in times of insert_many with four in flight", own / medians["insert_many_4"])
    if "curator_cache" in medians:
        outcome.at_least("faster than Curator's CuratorCache by", medians["curator_cache"] / own, 3.0)
    if "tree_cache" in medians:
        outcome.at_least("faster than TreeCache + bulk_write by", medians["tree_cache"] / own, 25.0)


def main() -> None:
    """Runs it alone."""
    made = parser(__doc__, size=SIZE, rounds=ROUNDS)
    made.add_argument("--peers", default="all", help=f"all, none, or some of {','.join(PEERS)}")
    options = made.parse_args()
    chosen = {"all": list(PEERS), "none": []}.get(options.peers, options.peers.split(","))
    unknown = [peer for peer in chosen if peer not in PEERS]
    if unknown:
        made.error(f"unknown peers {', '.join(unknown)}; there are {', '.join(PEERS)}")
    run_alone(lambda rig: run(rig, size=options.size, rounds=options.rounds, peers=chosen))


if __name__ == "__main__":
    main()
