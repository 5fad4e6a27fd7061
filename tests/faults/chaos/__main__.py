"""`make chaos MINUTES=30 SEED=1`: a long chaos run on servers of its own, with a report; exits 1 unless clean."""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from hybridsync.embedded import MongoServer, ZooKeeperServer
from tests.faults.chaos.episode import run
from tests.faults.chaos.report import Report

FIRST_SEEDS = 1_000_000


def main() -> int:
    """Runs, prints and writes the report. 0 when nothing was lost, invented or claimed beyond the truth."""
    arguments = _parser().parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(FIRST_SEEDS)
    print(f"seed {seed}", flush=True)
    for name in [name for name in os.environ if name.startswith("HYBRIDSYNC_")]:
        del os.environ[name]  # settings of this machine are not those of the run
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)  # that the writer's connection breaks is part of it
    end = time.monotonic() + 60 * arguments.minutes

    def enough(report: Report) -> bool:
        most: int | None = arguments.episodes
        return time.monotonic() >= end or len(report.outcomes) == most

    with (
        tempfile.TemporaryDirectory(prefix="hybridsync-chaos-") as directory,
        ZooKeeperServer(Path(directory, "zookeeper")) as zookeeper,
        MongoServer(Path(directory, "mongodb")) as mongodb,
    ):
        report = run(zookeeper, mongodb, seed, enough=enough, tell=lambda line: print(line, flush=True))
    file: Path = arguments.report or Path("build", f"chaos-{seed}.md")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(report.text(), encoding="utf-8")
    for outcome in report.outcomes:
        if outcome.log:
            log = file.with_name(f"{file.stem}-{outcome.episode.number}.log")
            log.write_text("\n".join(outcome.log) + "\n", encoding="utf-8")
    print(f"\n{report.text()}\nwritten to {file}")
    return 0 if report.clean else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="no new episode after so many (default 30)")
    parser.add_argument("--episodes", type=int, help="end after so many episodes")
    parser.add_argument("--seed", type=int, help="replays the schedule of an earlier run (default: a random one)")
    parser.add_argument("--report", type=Path, help="file of the report (default build/chaos-SEED.md)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
