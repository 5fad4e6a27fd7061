"""A short chaos run: every kind of fault once, then the mirror is equal and no answer claimed too much."""

from __future__ import annotations

import pytest
from kazoo.exceptions import ThrottledOpError

from hybridsync.embedded import ZooKeeperServer
from hybridsync.embedded.ports import LOOPBACK
from tests.administered_mongo import AdministeredMongo
from tests.faults.chaos.clock import Clock
from tests.faults.chaos.episode import run
from tests.faults.chaos.verdict import assert_clean
from tests.faults.chaos.zookeeper.faults import ZOOKEEPER_FAULTS
from tests.faults.chaos.zookeeper.replies import ErringProxy
from tests.faults.chaos.zookeeper.server import ChangeableZooKeeper
from tests.faults.chaos.zookeeper.sessions import sessions
from tests.faults.chaos.zookeeper.stage import ZooKeeperStage
from tests.servers import connected

SEED = 16
"""One whose first episodes have every kind of fault."""

EPISODES = 3
STEPS = 8
PACE = 0.3


@pytest.fixture
def stage(
    changeable_zookeeper: ChangeableZooKeeper, administered_mongodb: AdministeredMongo, own_clock: Clock
) -> ZooKeeperStage:
    return ZooKeeperStage(changeable_zookeeper, administered_mongodb, own_clock)


@pytest.mark.timeout(600)
def test_after_every_kind_of_fault_the_mirror_is_equal_and_no_claim_was_false(stage: ZooKeeperStage) -> None:
    print(f"seed {SEED}")
    stage.pace = PACE
    report = run(
        stage, ZOOKEEPER_FAULTS, SEED, enough=lambda report: len(report.outcomes) == EPISODES, tell=print, steps=STEPS
    )

    assert_clean(report, EPISODES)


def test_a_run_finds_a_lost_change_a_phantom_and_a_false_claim(stage: ZooKeeperStage) -> None:
    def plant(stage: ZooKeeperStage) -> None:
        stage.scene.journal.create("/services/claimed", b"x")
        stage.wait_in_sync(60)
        stage.scene.collection.delete_one({"_id": "/services/claimed"})
        assert stage.until(lambda: stage.recorder and stage.recorder.violations, 60)
        stage.scene.collection.insert_one({"_id": "/services/phantom", "version": 1})
        stage.scene.collection.delete_one({"_id": "/services/group-3/member-310"})

    report = run(stage, ZOOKEEPER_FAULTS, 1, enough=lambda _: True, tell=print, steps=0, before_comparison=plant)

    (outcome,) = report.outcomes
    assert outcome.lost == ["missing: /services/claimed", "missing: /services/group-3/member-310"]
    assert outcome.phantom == ["not at the source: '/services/phantom'"]
    assert outcome.stale_claims
    assert all("/services/claimed: the mirror holds None" in line for line in outcome.stale_claims)
    assert not report.clean
    assert "| lost | 2 |" in report.text()
    assert "| phantom | 1 |" in report.text()
    assert "## Episode 1 went wrong" in report.text()


def test_the_password_of_a_session_follows_from_its_number(own_zookeeper: ZooKeeperServer) -> None:
    with connected(own_zookeeper.hosts) as client:
        assert sessions(own_zookeeper) == [client.client_id]


def test_one_reply_becomes_an_error_and_the_connection_lives_on(changeable_zookeeper: ChangeableZooKeeper) -> None:
    with ErringProxy(LOOPBACK, changeable_zookeeper.port) as proxy, connected(proxy.address) as client:
        client.create("/one", b"1")
        session = client.client_id
        proxy.err(1)
        with pytest.raises(ThrottledOpError):
            client.get("/one")
        assert client.get("/one")[0] == b"1"
        assert client.client_id == session
        assert (proxy.erred, proxy.connections) == (1, 1)


def test_a_zookeeper_that_was_put_back_holds_what_it_held_and_counts_on_from_there(
    changeable_zookeeper: ChangeableZooKeeper,
) -> None:
    with connected(changeable_zookeeper.hosts) as client:
        client.create("/kept", b"1")
    changeable_zookeeper.stop()
    changeable_zookeeper.copy()
    changeable_zookeeper.start()
    with connected(changeable_zookeeper.hosts) as client:
        client.set("/kept", b"2")
        later = client.create("/gone", b"", include_data=True)[1].mzxid
    changeable_zookeeper.kill()
    changeable_zookeeper.put_back()
    changeable_zookeeper.start()
    with connected(changeable_zookeeper.hosts) as client:
        assert client.get("/kept")[0] == b"1"
        assert client.exists("/gone") is None
        assert client.create("/again", b"", include_data=True)[1].mzxid <= later
