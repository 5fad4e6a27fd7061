"""`python -m tests.soak --minutes 60`: private servers, the real service, steady changes, and a verdict.

Exit code 0 when every figure is flat (see `verdict.py`) and the mirror is equal to the tree at the end, else 1.
The first part, at most two minutes, is for warming up and does not count.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import pymongo

from hybridsync.embedded import MongoServer, ZooKeeperServer
from tests.mirror_truth import differences
from tests.servers import connected
from tests.service import Service, settings_for
from tests.soak.changes import Changes
from tests.soak.sampler import Sampler
from tests.soak.verdict import TOLERANCE, rows, table

ROOT = "/soak"
CANARY = f"{ROOT}/canary"
ASIDE = "/soak-aside"
WARM_UP_SHARE = 0.1
LONGEST_WARM_UP_SECONDS = 120.0
TRIGGER_SECONDS = (20.0, 70.0)
VERIFY_HOURS = 1 / 60
_STEP_SECONDS = 0.5
_TOLD_SECONDS = 60.0


def main() -> int:
    """Runs it; returns the exit code."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="hybridsync-soak-") as name:
        directory = Path(name)
        with ZooKeeperServer(directory / "zookeeper") as zookeeper, MongoServer(directory / "mongodb") as mongodb:
            return _soak(options, zookeeper, mongodb)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Steady changes for a long time: does anything grow?")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument("--size", type=int, default=20_000, help="places in the tree (default 20000)")
    parser.add_argument("--rate", type=float, default=200.0, help="changes a second (default 200)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the changes")
    return parser.parse_args()


def _soak(options: argparse.Namespace, zookeeper: ZooKeeperServer, mongodb: MongoServer) -> int:
    seconds = options.minutes * 60
    _say(
        f"{options.minutes:g} minutes, {options.rate:g} changes a second over {options.size:,} places, "
        f"seed {options.seed}"
    )
    changes = Changes(zookeeper.hosts, ROOT, size=options.size, rate=options.rate, seed=options.seed)
    changes.load()
    settings = settings_for(zookeeper.hosts, mongodb.uri_for("soak"), ROOT, VERIFY_INTERVAL_HOURS=f"{VERIFY_HOURS:.6f}")
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(mongodb.uri, tz_aware=True)
    with client, connected(zookeeper.hosts) as zk, Service(settings) as service:
        mirror = client["soak"]["services"]
        zk.create(CANARY, b"")
        zk.create(ASIDE, b"")
        service.wait_in_sync()
        load_before = os.getloadavg()[0]
        sampler = Sampler(service, (zookeeper.port, mongodb.port), zk, CANARY, ASIDE, mirror)
        with sampler, changes:
            triggered = _wait(seconds, sampler, service, changes)
        ended = sampler.elapsed
        service.wait_in_sync()
        wrong = differences(zk, ROOT, mirror)
        drift = [entry for entry in service.logged("source and mirror compared") if entry["drift"]]
        checks = len(service.logged("source and mirror compared"))
        code = service.terminate()
    found = rows(sampler.samples, min(LONGEST_WARM_UP_SECONDS, seconds * WARM_UP_SHARE), ended)
    print(table(found))
    print(
        f"{changes.made:,} changes in {ended / 60:.1f} minutes, {triggered} triggered syncs, {checks} periodic checks; "
        f"load of the machine {load_before:.1f} before, {os.getloadavg()[0]:.1f} after"
    )
    print(
        "Medians of the first and the last quarter after the warm-up (p95: their 95th percentile).\nFlat: at most "
        f"{TOLERANCE:.0%} more, or within the figure's floor; latencies on top of what both servers alone took longer."
    )
    problems = [f"{row.figure.name} grew by {row.growth:.0%}" for row in found if not row.flat]
    problems += [f"the mirror is not equal: {line}" for line in wrong]
    problems += [f"a periodic check found drift: {entry}" for entry in drift]
    problems += [f"the service ended with {code}"] if code else []
    print("\n".join(problems) or "Everything is flat, and the mirror is equal to the tree.")
    return 1 if problems else 0


def _wait(seconds: float, sampler: Sampler, service: Service, changes: Changes) -> int:
    """Lets time pass, with a sync triggered now and then; returns how many."""
    triggered = 0
    due = random.uniform(*TRIGGER_SECONDS)
    told = _TOLD_SECONDS
    while sampler.elapsed < seconds and not sampler.failed:
        time.sleep(min(_STEP_SECONDS, max(0.0, seconds - sampler.elapsed)))
        if sampler.elapsed >= due:
            due = sampler.elapsed + random.uniform(*TRIGGER_SECONDS)
            status, body = service.post("/health/sync/trigger", {"wait": True}, seconds=120)
            if status != 200:
                raise RuntimeError(f"a triggered sync failed: {status} {body}")
            triggered += 1
        if sampler.elapsed >= told:
            told += _TOLD_SECONDS
            memory = sampler.samples["resident memory"][-1].value
            _say(f"{sampler.elapsed / 60:.0f} min, {changes.made:,} changes, {memory:.1f} MiB")
    return triggered


def _say(text: str) -> None:
    """How far it is, on stderr: stdout is for the report."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
