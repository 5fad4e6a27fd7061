"""`make chaos PAIR=kubernetes MINUTES=30 SEED=1`: a long run on servers of its own; exits 1 unless it was clean."""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.administered_mongo import AdministeredMongo
from tests.faults.chaos.clock import Clock
from tests.faults.chaos.episode import Told, run
from tests.faults.chaos.faults import Faults, S
from tests.faults.chaos.kubernetes.api import changeable_kube_api
from tests.faults.chaos.kubernetes.faults import KUBERNETES_FAULTS
from tests.faults.chaos.kubernetes.namespaces import NAMESPACES_FAULTS, NamespacesStage
from tests.faults.chaos.kubernetes.stage import TYPES, KubernetesStage
from tests.faults.chaos.publishing.faults import PUBLISHING_FAULTS
from tests.faults.chaos.publishing.stage import PublishingStage
from tests.faults.chaos.report import Enough, Report
from tests.faults.chaos.zookeeper.faults import ZOOKEEPER_FAULTS
from tests.faults.chaos.zookeeper.server import ChangeableZooKeeper
from tests.faults.chaos.zookeeper.stage import ZooKeeperStage

FIRST_SEEDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Order:
    """A run that was asked for: `directory` and what is in it, and what every pair's run is told."""

    directory: Path
    mongodb: AdministeredMongo
    clock: Clock
    seed: int
    enough: Enough
    tell: Told
    only: str

    def run(self, stage: S, faults: Faults[S]) -> Report:
        """Runs it on this stage."""
        wanted = {kind: fault for kind, fault in faults.items() if self.only in kind.words}
        return run(stage, wanted, self.seed, enough=self.enough, tell=self.tell)


def zookeeper(order: Order) -> Report:
    """ZooKeeper → MongoDB."""
    with ChangeableZooKeeper(order.directory / "zookeeper") as server:
        return order.run(ZooKeeperStage(server, order.mongodb, order.clock), ZOOKEEPER_FAULTS)


def kubernetes(order: Order) -> Report:
    """Kubernetes → MongoDB."""
    with changeable_kube_api(*TYPES) as api:
        return order.run(KubernetesStage(api, order.mongodb, order.clock, order.directory), KUBERNETES_FAULTS)


def namespaces(order: Order) -> Report:
    """Kubernetes → MongoDB, with a list of namespaces."""
    with changeable_kube_api(*TYPES) as api:
        return order.run(NamespacesStage(api, order.mongodb, order.clock, order.directory), NAMESPACES_FAULTS)


def publishing(order: Order) -> Report:
    """MongoDB → ZooKeeper."""
    with ChangeableZooKeeper(order.directory / "zookeeper") as server:
        return order.run(PublishingStage(order.mongodb, server, order.clock), PUBLISHING_FAULTS)


PAIRS: dict[str, Callable[[Order], Report]] = {
    "zookeeper": zookeeper,
    "kubernetes": kubernetes,
    "namespaces": namespaces,
    "publishing": publishing,
}


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
        AdministeredMongo(Path(directory, "mongodb")) as mongodb,
    ):
        play = PAIRS[arguments.pair]
        clock, only = Clock(Path(directory)), arguments.only
        report = play(Order(Path(directory), mongodb, clock, seed, enough, lambda line: print(line, flush=True), only))
    file: Path = arguments.report or Path("build", f"chaos-{arguments.pair}-{seed}.md")
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
    parser.add_argument("--pair", choices=PAIRS, default="zookeeper", help="what is broken (default zookeeper)")
    parser.add_argument("--minutes", type=float, default=30.0, help="no new episode after so many (default 30)")
    parser.add_argument("--episodes", type=int, help="end after so many episodes")
    parser.add_argument("--only", default="", help="draw only the kinds whose words contain this")
    parser.add_argument("--seed", type=int, help="replays the schedule of an earlier run (default: a random one)")
    parser.add_argument("--report", type=Path, help="file of the report (default build/chaos-PAIR-SEED.md)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
