"""A short chaos run on Kubernetes → MongoDB: every kind of fault, then the mirror is equal and no claim was false."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.administered_mongo import AdministeredMongo
from tests.faults.chaos.clock import Clock
from tests.faults.chaos.episode import run
from tests.faults.chaos.kubernetes.api import changeable_kube_api
from tests.faults.chaos.kubernetes.faults import KUBERNETES_FAULTS
from tests.faults.chaos.kubernetes.namespaces import NAMESPACE_OUTSIDERS, NamespacesStage
from tests.faults.chaos.kubernetes.stage import TYPES, KubernetesStage
from tests.faults.chaos.verdict import assert_clean

SEED = 13
"""One whose first episodes have every kind of fault."""

EPISODES = 3
STEPS = 10
PACE = 0.3


@pytest.fixture
def stage(administered_mongodb: AdministeredMongo, own_clock: Clock, tmp_path: Path) -> Iterator[KubernetesStage]:
    with changeable_kube_api(*TYPES) as api:
        yield KubernetesStage(api, administered_mongodb, own_clock, tmp_path)


@pytest.mark.timeout(600)
def test_after_every_kind_of_fault_the_mirror_is_equal_and_no_claim_was_false(stage: KubernetesStage) -> None:
    print(f"seed {SEED}")
    stage.pace = PACE
    report = run(
        stage, KUBERNETES_FAULTS, SEED, enough=lambda report: len(report.outcomes) == EPISODES, tell=print, steps=STEPS
    )

    assert_clean(report, EPISODES)


@pytest.mark.timeout(600)
def test_after_rights_in_some_namespaces_were_withdrawn_and_given_back_the_mirror_is_equal(
    administered_mongodb: AdministeredMongo, own_clock: Clock, tmp_path: Path
) -> None:
    with changeable_kube_api(*TYPES) as api:
        stage = NamespacesStage(api, administered_mongodb, own_clock, tmp_path)
        report = run(stage, NAMESPACE_OUTSIDERS, 1, enough=lambda report: len(report.outcomes) == 2, tell=print)

    assert_clean(report, 2)


def test_a_run_finds_a_lost_change_a_phantom_a_wrong_value_and_a_false_claim(stage: KubernetesStage) -> None:
    def plant(stage: KubernetesStage) -> None:
        stage.scene.journal.put("prod/claimed", {"spec": {"n": 1}})
        stage.wait_in_sync(60)
        stage.scene.collection.delete_one({"_id": "prod/claimed"})
        assert stage.until(lambda: stage.recorder and stage.recorder.violations, 60)
        stage.scene.collection.insert_one({"_id": "prod/phantom", "uid": "x", "version": "1"})
        stage.scene.collection.delete_one({"_id": "group-3/member-310"})
        stage.scene.collection.update_one({"_id": "group-3/member-311"}, {"$set": {"value.spec.n": 312}})

    report = run(stage, KUBERNETES_FAULTS, 1, enough=lambda _: True, tell=print, steps=0, before_comparison=plant)

    (outcome,) = report.outcomes
    assert outcome.lost[:2] == ["missing: group-3/member-310", "missing: prod/claimed"]
    assert [line.partition(" is ")[0] for line in outcome.lost[2:]] == ["group-3/member-311: value"]
    assert outcome.phantom == ["not at the source: 'prod/phantom'"]
    assert outcome.stale_claims
    assert all("prod/claimed: the mirror holds None" in line for line in outcome.stale_claims)
    assert not report.clean
    assert "| lost | 3 |" in report.text()
    assert "| phantom | 1 |" in report.text()
    assert "## Episode 1 went wrong" in report.text()
