"""B1: the first full sync into an empty mirror, beside everything a user might do instead.

`--peers` names some of them, `all` or `none`; they take turns with hybridsync, round by round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.command_line import parser, run_alone
from benchmarks.contenders import PEERS, run_peer
from benchmarks.figures import Figure, Outcome
from benchmarks.peers.curator import CuratorMissing
from benchmarks.rig import COLLECTION, Rig, say
from benchmarks.tree import Tree

SIZE = 100_000
ROUNDS = 3


@dataclass(slots=True)
class _Times:
    """Seconds of every round: of hybridsync by tree, of its whole process, and of the peers by name."""

    own: dict[Tree, list[float]] = field(default_factory=dict)
    process: list[float] = field(default_factory=list)
    peers: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def run(rig: Rig, *, size: int = SIZE, rounds: int = ROUNDS, peers: Sequence[str] = tuple(PEERS)) -> Outcome:
    """Measures; raises `NotEqual` when anybody's mirror is not the tree."""
    tree = rig.tree(size)
    times = _Times(own={each: [] for each in [tree, *(PEERS[peer].tree(tree) for peer in peers)]})
    for other in times.own:
        rig.tree(other.size)
    with rig.database() as reference:
        rig.sync(tree, reference.name)  # the documents for insert_many; and nobody runs on cold servers
        rig.check(tree, reference[COLLECTION])
        for number in range(rounds):
            _round(rig, tree, peers, reference.name, times)
            say(f"B1 round {number + 1} of {rounds}: {_told(times)}")
    return _outcome(tree, times)


def _round(rig: Rig, tree: Tree, peers: Sequence[str], reference: str, times: _Times) -> None:
    for each, values in times.own.items():
        with rig.database() as database:
            synced = rig.sync(each, database.name)
            rig.check(each, database[COLLECTION])
        values.append(synced.seconds)
        if each == tree:
            times.process.append(synced.process_seconds)
    for peer in peers:
        if peer not in times.missing:
            try:
                taken = run_peer(rig, PEERS[peer].tree(tree), PEERS[peer], reference)
            except CuratorMissing as error:
                times.missing[peer] = str(error)
            else:
                times.peers.setdefault(peer, []).append(taken)


def _told(times: _Times) -> str:
    latest = {f"hybridsync {tree.size}": values[-1] for tree, values in times.own.items()}
    latest |= {peer: values[-1] for peer, values in times.peers.items()}
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in latest.items())


def _outcome(tree: Tree, times: _Times) -> Outcome:
    outcome = Outcome("B1", f"first full sync of {tree.znodes:,} znodes, empty mirror")
    outcome.figures = [Figure("hybridsync sync", times.own[tree])]
    for peer, values in times.peers.items():
        own_tree = PEERS[peer].tree(tree)
        outcome.figures.append(Figure(PEERS[peer].what + _only(own_tree, tree), values))
    outcome.figures += [
        Figure("hybridsync sync" + _only(other, tree), values) for other, values in times.own.items() if other != tree
    ]
    outcome.figures.append(Figure("hybridsync sync, whole process with its start and end", times.process))
    outcome.remarks += [f"{PEERS[peer].what}: not measured, {reason}." for peer, reason in times.missing.items()]
    if any(PEERS[peer].tree(tree) != tree for peer in times.peers):
        outcome.remarks.append(
            "CuratorCache of Curator 5.4 cannot load more than 65,535 znodes (CURATOR-690), so it and hybridsync are "
            "compared on a smaller tree."
        )
    _claim(outcome, tree, times)
    return outcome


def _only(other: Tree, tree: Tree) -> str:
    return "" if other == tree else f", only {other.znodes:,} znodes"


def _claim(outcome: Outcome, tree: Tree, times: _Times) -> None:
    own = {each: Figure("", values).median for each, values in times.own.items()}
    peers = {peer: Figure("", values).median for peer, values in times.peers.items()}
    if "insert_many" in peers:
        outcome.at_most("time, in times of sequential insert_many", own[tree] / peers["insert_many"], 1.0)
    if "insert_many_4" in peers:
        outcome.told("time, in times of insert_many with four in flight", own[tree] / peers["insert_many_4"])
    if "curator_cache" in peers:
        same = own[PEERS["curator_cache"].tree(tree)]
        outcome.at_least("faster than Curator's CuratorCache by", peers["curator_cache"] / same, 3.0)
    if "tree_cache" in peers:
        outcome.at_least("faster than TreeCache + bulk_write by", peers["tree_cache"] / own[tree], 25.0)


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
