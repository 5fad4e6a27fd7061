"""B10: a session expires although nothing has changed; how soon the service watches and is in sync again.

The process is frozen until ZooKeeper has thrown its session away, then it runs on. The clock starts when
the service has its next session (`ZooKeeper connected` in its log). Next to it, in the same process, a
triggered resync: the B2 of a running service.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from benchmarks.command_line import parser, run_alone
from benchmarks.figures import Figure, Outcome
from benchmarks.rig import COLLECTION, Rig, say
from benchmarks.service import Service

SIZE = 100_000
ROUNDS = 3
SESSION_SECONDS = 4

_POLL_SECONDS = 0.02
_EXPIRY_SECONDS = 60.0


def run(rig: Rig, *, size: int = SIZE, rounds: int = ROUNDS) -> Outcome:
    """Measures; raises `NotEqual` when the mirror is not the tree afterwards."""
    tree = rig.tree(size)
    resyncs: list[float] = []
    recoveries: list[float] = []
    from_resume: list[float] = []
    syncs: list[float] = []
    with rig.database() as database:
        settings = rig.settings(tree, database.name, ZOOKEEPER_SESSION_TIMEOUT_SECONDS=str(SESSION_SECONDS))
        with Service(settings, rig.directory / "service.log") as service:
            service.wait_ready()
            for number in range(rounds):
                service.wait_in_sync()
                resyncs.append(service.resync()["durationSeconds"])
                service.wait_in_sync()
                recovery, whole = _expire(rig, service)
                recoveries.append(recovery)
                from_resume.append(whole)
                syncs.append(service.resource()["lastResult"]["durationSeconds"])
                rig.check(tree, database[COLLECTION])
                say(f"B10 round {number + 1} of {rounds}: resync {resyncs[-1]:.2f} s, after expiry {recovery:.2f} s")
    outcome = Outcome("B10", f"session expiry with {tree.znodes:,} znodes unchanged")
    outcome.figures = [
        Figure("from the reconnect to watching and in sync", recoveries),
        Figure("triggered resync in the same process (B2)", resyncs),
        Figure("the full sync after the expiry alone", syncs),
        Figure("from the moment the process runs on", from_resume),
    ]
    outcome.at_most("time, in times of B2", outcome.figures[0].median / outcome.figures[1].median, 1.3)
    return outcome


def _expire(rig: Rig, service: Service) -> tuple[float, float]:
    """Seconds from the next session, and from the end of the freeze, until all is well."""
    known = len(service.logged("ZooKeeper connected"))
    syncs = len(service.logged("full sync completed"))
    sessions = _sessions(rig)
    service.freeze()
    deadline = time.monotonic() + _EXPIRY_SECONDS
    while _sessions(rig) >= sessions:
        if time.monotonic() > deadline:
            raise RuntimeError("ZooKeeper did not end the session of the frozen process")
        time.sleep(0.1)
    resumed = datetime.now(UTC)
    service.resume()
    # the log first: answers would cost the service time that is being measured
    service.wait_until(
        lambda: len(service.logged("full sync completed")) > syncs, "a full sync after the expiry", _POLL_SECONDS
    )
    service.wait_until(lambda: _is_well(service, known), "in sync after its session expired", _POLL_SECONDS / 4)
    well = datetime.now(UTC)
    connected = service.logged("ZooKeeper connected")[-1]
    return (well - connected).total_seconds(), (well - resumed).total_seconds()


def _is_well(service: Service, connected_before: int) -> bool:
    entry = service.resource()
    recovered = (
        entry["lastResult"]["trigger"] == "expired" and len(service.logged("ZooKeeper connected")) > connected_before
    )
    return bool(recovered and entry["inSync"] and entry["informer"]["state"] == "watching")


def _sessions(rig: Rig) -> int:
    for line in rig.zookeeper.ask("mntr").splitlines():
        name, _, number = line.partition("\t")
        if name == "zk_global_sessions":
            return int(number)
    raise RuntimeError("ZooKeeper does not tell how many sessions it has")


def main() -> None:
    """Runs it alone."""
    options = parser(__doc__, size=SIZE, rounds=ROUNDS).parse_args()
    run_alone(lambda rig: run(rig, size=options.size, rounds=options.rounds))


if __name__ == "__main__":
    main()
