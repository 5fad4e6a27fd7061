"""P1 and P2: channels published for the first time, and again when nothing has changed.

Next to P1 stands what one writes by hand: one kazoo `create` after the other. Every contender is a process of
its own and they take turns. P2 is a resync of a running service; ZooKeeper counts what it writes.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from benchmarks.channels import Channels, channels, client_of
from benchmarks.command_line import parser, run_alone
from benchmarks.counters import ZooKeeperWrites, zookeeper_writes
from benchmarks.figures import Figure, Outcome
from benchmarks.rig import COLLECTION, ROOT, Rig, environ, run_process, say
from benchmarks.service import Service

SIZE = 10_000
ROUNDS = 5


@dataclass(slots=True)
class _Times:
    first: list[float] = field(default_factory=list)
    transactions: list[int] = field(default_factory=list)
    by_hand: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    writes: list[ZooKeeperWrites] = field(default_factory=list)


def run(rig: Rig, *, size: int = SIZE, rounds: int = ROUNDS) -> list[Outcome]:
    """Measures; raises `NotEqual` when what is published is not what is on."""
    times = _Times()
    with channels(rig) as warming:
        warming.fill(size)
        _sync(warming, size)  # nobody runs on cold servers
    for number in range(rounds):
        with channels(rig) as made:
            made.fill(size)
            _round(made, size, times)
        say(
            f"P1 round {number + 1} of {rounds}: first {times.first[-1]:.2f} s, "
            f"one create after the other {times.by_hand[-1]:.2f} s, unchanged {times.again[-1]:.2f} s"
        )
    return [_p1(size, times), _p2(size, times)]


def _round(made: Channels, size: int, times: _Times) -> None:
    rig = made.rig
    before = zookeeper_writes(rig.zookeeper, made.namespace)
    times.first.append(_sync(made, size))
    written = zookeeper_writes(rig.zookeeper, made.namespace).since(before)
    if written.znodes < size:
        raise RuntimeError(f"ZooKeeper counted {written.znodes} znodes written: its count cannot be trusted")
    times.transactions.append(written.transactions)
    times.by_hand.append(_by_hand(made, size))
    with client_of(rig) as client:
        made.check(client, made.root)
        made.check(client, made.other_root)
    with Service(made.settings(), rig.directory / "service.log") as service:
        service.wait_ready()
        service.wait_in_sync()
        before = zookeeper_writes(rig.zookeeper, made.namespace)
        result = service.resync()
        times.writes.append(zookeeper_writes(rig.zookeeper, made.namespace).since(before))
    if (result["read"], result["unchanged"]) != (size, size):
        raise RuntimeError(f"the resync did not do its work: {result}")
    times.again.append(result["durationSeconds"])


def _sync(made: Channels, size: int) -> float:
    """`hybridsync sync`, where nothing is published yet; seconds of the sync itself."""
    output = run_process(["-m", "hybridsync", "sync", "--json"], environ(made.settings()))
    result = json.loads(output)["results"][COLLECTION]
    if "error" in result or "warnings" in result or result["inserted"] != size:
        raise RuntimeError(f"the full sync did not do its work: {result}")
    return float(result["durationSeconds"])


def _by_hand(made: Channels, size: int) -> float:
    arguments = ["-m", "benchmarks.peers.create_each", "--hosts", made.rig.hosts, "--root", made.other_root]
    arguments += ["--uri", made.rig.mongodb.uri, "--database", made.database.name]
    arguments += ["--collection", made.collection.name]
    told = json.loads(run_process(arguments, os.environ | {"PYTHONPATH": str(ROOT)}))
    if told["count"] != size:
        raise RuntimeError(f"{told['count']} znodes instead of {size}")
    return float(told["seconds"])


def _p1(size: int, times: _Times) -> Outcome:
    outcome = Outcome("P1", f"{size:,} channels that are on, published for the first time")
    outcome.figures = [
        Figure("hybridsync sync, each document checked", times.first),
        Figure("one kazoo create after the other, nothing checked", times.by_hand),
        Figure("transactions of hybridsync, begin and end of its session included", times.transactions, ""),
    ]
    faster = outcome.figures[1].median / outcome.figures[0].median
    outcome.at_least("faster than one create after the other by", faster, 5.0)
    return outcome


def _p2(size: int, times: _Times) -> Outcome:
    outcome = Outcome("P2", f"resync of {size:,} published channels, unchanged")
    outcome.figures = [
        Figure("triggered resync of the running service", times.again),
        Figure("first publication (P1)", times.first),
        Figure("znodes written, counted by ZooKeeper", [written.znodes for written in times.writes], ""),
    ]
    outcome.at_most("writes, counted by ZooKeeper (zxid)", max(written.transactions for written in times.writes), 0)
    return outcome


def main() -> None:
    """Runs both alone."""
    options = parser(__doc__, size=SIZE, rounds=ROUNDS, sized="channels").parse_args()
    run_alone(lambda rig: run(rig, size=options.size, rounds=options.rounds))


if __name__ == "__main__":
    main()
