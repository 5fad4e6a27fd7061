"""P4: what a day of mixed operations costs ZooKeeper: hybridsync, and a sync of the channel on every operation.

Both act on the same seeded series; ZooKeeper counts. A day is replayed in seconds, so edits of one channel
may come together and cost hybridsync one write; what it would cost without that is told as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from kazoo.client import KazooClient

from benchmarks.channels import Channels, channels, client_of
from benchmarks.command_line import parser, run_alone
from benchmarks.counters import ZooKeeperWrites, zookeeper_writes
from benchmarks.day import Operation, as_before, in_mongodb, operations, told
from benchmarks.figures import Figure, Outcome
from benchmarks.rig import Rig, say
from benchmarks.service import Service

SIZE = 10_000
ROUNDS = 3
OPERATIONS_A_CHANNEL = 20


def run(rig: Rig, *, size: int = SIZE, rounds: int = ROUNDS) -> Outcome:
    """Measures; raises `NotEqual` when one of the two ends with anything else than what is on."""
    own: list[ZooKeeperWrites] = []
    old: list[ZooKeeperWrites] = []
    days = [list(operations(size, max(1, size // OPERATIONS_A_CHANNEL), seed)) for seed in range(1, rounds + 1)]
    for number, day in enumerate(days, 1):
        with channels(rig) as made, client_of(rig) as client:
            own.append(_replayed(made, client, day))
            old.append(_as_before(made, client, day))
        say(f"P4 round {number} of {rounds}: {own[-1].znodes} znodes written, {old[-1].znodes} by the old strategy")
    return _outcome(days, own, old)


def _replayed(made: Channels, client: KazooClient, day: Sequence[Operation]) -> ZooKeeperWrites:
    made.fill(0)
    with Service(made.settings(), made.rig.directory / "service.log") as service:
        service.wait_ready()
        service.wait_in_sync()
        before = zookeeper_writes(made.rig.zookeeper, made.namespace)
        for operation in day:
            in_mongodb(operation, made.collection)
        _wait_confirmed(service)
        written = zookeeper_writes(made.rig.zookeeper, made.namespace).since(before)
        made.check(client, made.root)
    return written


def _wait_confirmed(service: Service) -> None:
    """Returns when everything that was committed before this call is published."""
    since = datetime.now(UTC)

    def confirmed() -> bool:
        entry = service.resource()
        return bool(entry["inSync"]) and datetime.fromisoformat(entry["confirmedAt"]) > since

    service.wait_until(confirmed, "done with all operations")


def _as_before(made: Channels, client: KazooClient, day: Sequence[Operation]) -> ZooKeeperWrites:
    client.ensure_path(made.other_root)
    before = zookeeper_writes(made.rig.zookeeper, made.namespace)
    for operation in day:
        as_before(operation, client, made.other_root)
    written = zookeeper_writes(made.rig.zookeeper, made.namespace).since(before)
    made.check(client, made.other_root)
    return written


def _outcome(
    days: Sequence[Sequence[Operation]], own: Sequence[ZooKeeperWrites], old: Sequence[ZooKeeperWrites]
) -> Outcome:
    outcome = Outcome("P4", f"a day of {len(days[0]):,} mixed operations, replayed")
    outcome.figures = [
        Figure("hybridsync, znodes written", [each.znodes for each in own], ""),
        Figure("a sync on every operation, znodes written", [each.znodes for each in old], ""),
        Figure("operations that change what is published", [_publishing(day) for day in days], ""),
        Figure("hybridsync, write requests (zxid)", [each.transactions for each in own], ""),
        Figure("a sync on every operation, write requests (zxid)", [each.transactions for each in old], ""),
    ]
    ours, theirs, needed, own_requests, old_requests = (figure.median for figure in outcome.figures)
    outcome.told("znodes written by the old strategy, in times of hybridsync", theirs / ours)
    outcome.told("the same if no edits came together", theirs / needed)
    outcome.told("write requests of the old strategy, in times of hybridsync", old_requests / own_requests)
    extra = [written.znodes - _publishing(day) for written, day in zip(own, days, strict=True)]
    outcome.at_most("znodes written more than operations that change them", max(0, *extra), 0)
    outcome.remarks.append(f"The first round is {told(days[0])}.")
    return outcome


def _publishing(day: Sequence[Operation]) -> int:
    return sum(operation.publishes for operation in day)


def main() -> None:
    """Runs it alone."""
    options = parser(__doc__, size=SIZE, rounds=ROUNDS, sized="operations").parse_args()
    run_alone(lambda rig: run(rig, size=options.size, rounds=options.rounds))


if __name__ == "__main__":
    main()
