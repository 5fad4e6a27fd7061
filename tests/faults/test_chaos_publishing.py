"""A short chaos run on MongoDB → ZooKeeper: every kind of fault, then all is published and no claim was false."""

from __future__ import annotations

import pytest

from tests.administered_mongo import AdministeredMongo
from tests.faults.chaos.clock import Clock
from tests.faults.chaos.episode import run
from tests.faults.chaos.publishing.faults import PUBLISHING_FAULTS
from tests.faults.chaos.publishing.scene import PATH
from tests.faults.chaos.publishing.stage import PublishingStage
from tests.faults.chaos.verdict import assert_clean
from tests.faults.chaos.zookeeper.server import ChangeableZooKeeper

SEED = 15
"""One whose first episodes have every kind of fault."""

EPISODES = 3
STEPS = 7
PACE = 0.3


@pytest.fixture
def stage(
    changeable_zookeeper: ChangeableZooKeeper, administered_mongodb: AdministeredMongo, own_clock: Clock
) -> PublishingStage:
    return PublishingStage(administered_mongodb, changeable_zookeeper, own_clock)


@pytest.mark.timeout(600)
def test_after_every_kind_of_fault_all_is_published_and_no_claim_was_false(stage: PublishingStage) -> None:
    print(f"seed {SEED}")
    stage.pace = PACE
    report = run(
        stage, PUBLISHING_FAULTS, SEED, enough=lambda report: len(report.outcomes) == EPISODES, tell=print, steps=STEPS
    )

    assert_clean(report, EPISODES)


def test_a_run_finds_a_lost_change_a_phantom_a_wrong_value_and_a_false_claim(stage: PublishingStage) -> None:
    def plant(stage: PublishingStage) -> None:
        stage.scene.journal.put(500, {"key": "claimed", "on": True, "n": 1})
        stage.wait_in_sync(60)
        stage.zk.delete(f"{PATH}/claimed")
        assert stage.until(lambda: stage.recorder and stage.recorder.violations, 60)
        stage.zk.create(f"{PATH}/phantom", b"{}")
        stage.zk.delete(f"{PATH}/10310")
        stage.zk.set(f"{PATH}/10311", b"{}")

    report = run(stage, PUBLISHING_FAULTS, 1, enough=lambda _: True, tell=print, steps=0, before_comparison=plant)

    (outcome,) = report.outcomes
    assert outcome.lost[:2] == ["missing: 10310", "missing: claimed"]
    assert [line.partition(" holds ")[0] for line in outcome.lost[2:]] == ["10311:"]
    assert outcome.phantom == ["not at the source: 'phantom'"]
    assert outcome.stale_claims
    assert all("claimed: the mirror holds None" in line for line in outcome.stale_claims)
    assert not report.clean
