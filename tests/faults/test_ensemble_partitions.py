"""The service's server lags behind its leader or is cut from the quorum: nothing old is taken for new."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from pymongo.database import Database

from hybridsync.embedded import MongoServer
from tests.ensemble import READ_ONLY, Ensemble, Peer, at_once
from tests.faults.cluster_scene import EnsembleScene
from tests.faults.scene import now
from tests.servers import GivenMongo
from tests.service import wait_until

# The servers of an ensemble dial each other without end, also through a proxy that is just going away.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <(function _SelectorTransport|socket.socket):pytest.PytestUnraisableExceptionWarning"
)

NewScene = Callable[..., EnsembleScene]


@pytest.fixture(scope="module")
def _ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    with Ensemble(tmp_path_factory.mktemp("ensemble"), linked=True, jvm_options=[READ_ONLY]) as ensemble:
        yield ensemble


@pytest.fixture
def new_scene(
    _ensemble: Ensemble, mongo_server: MongoServer | GivenMongo, mongo_database: Database[dict[str, object]]
) -> Iterator[NewScene]:
    """A small tree on a whole ensemble; the test writes to the leader and the follower it leaves alone."""
    _ensemble.make_whole()
    root = f"/t-{uuid.uuid4().hex[:8]}"
    with ExitStack() as exits:

        def new_scene(**more: str) -> EnsembleScene:
            settings = {"ZOOKEEPER_SESSION_TIMEOUT_SECONDS": "20", **more}
            scene = EnsembleScene(_ensemble, mongo_server.port, mongo_database.name, root, **settings)
            left_alone = _ensemble.wait_leader(), _ensemble.followers()[1]
            scene.zookeeper_hosts = ",".join(one.address for one in left_alone)
            exits.enter_context(scene)
            scene.populate(300)
            return scene

        yield new_scene


@pytest.fixture
def scene(new_scene: NewScene) -> EnsembleScene:
    """Such a scene with the usual settings."""
    return new_scene()


def test_on_a_lagging_follower_nothing_is_promised_ahead(scene: EnsembleScene) -> None:
    leader, follower = scene.ensemble.wait_leader(), scene.ensemble.followers()[0]
    scene.allow_only(follower)
    link = scene.ensemble.quorum_link(follower, leader)
    with scene.running(pause_seconds=0.02) as recorder:
        scene.wait_confirmed()
        link.delay(0.4)  # each way: the follower is always that much behind
        for _ in range(3):
            scene.wait_for_writes(30)
            scene.proxies[follower.number].cut()
            scene.wait_confirmed()
        assert scene.service.resource()["lastResult"]["trigger"] == "reconnect"
        assert scene.ensemble.wait_leader() is leader
        assert follower.mode == "follower"
        link.delay(0.0)

    assert recorder.checked_promises > 3


def test_a_service_started_on_a_lagging_follower_lists_what_the_leader_has(scene: EnsembleScene) -> None:
    leader, follower = scene.ensemble.wait_leader(), scene.ensemble.followers()[0]
    scene.allow_only(follower)
    scene.ensemble.quorum_link(follower, leader).delay(0.4)
    with scene.running(pause_seconds=0.02) as recorder:
        scene.wait_confirmed()
        scene.wait_for_writes(60)
        scene.wait_confirmed()
        scene.ensemble.quorum_link(follower, leader).delay(0.0)

    assert recorder.checked_promises > 3


def test_a_sync_asked_for_on_a_lagging_follower_lists_what_the_leader_has(new_scene: NewScene) -> None:
    scene = new_scene(CONFIRM_INTERVAL_SECONDS="1.5")  # seldom, so that no proof is under way beside the listing
    leader, follower = scene.ensemble.wait_leader(), scene.ensemble.followers()[0]
    scene.allow_only(follower)
    with scene.running(pause_seconds=0.02) as recorder:
        scene.wait_confirmed()
        scene.ensemble.quorum_link(follower, leader).delay(0.4)
        for _ in range(2):
            scene.wait_for_writes(30)
            asked = now()
            assert scene.service.post("/health/sync/trigger", {"wait": True})[0] == 200
            recorder.wait_asked(now())
            assert (recorder.last.confirmed_at or asked) > asked
        scene.ensemble.quorum_link(follower, leader).delay(0.0)

    assert recorder.checked_promises > 3


def test_a_follower_that_is_behind_what_was_seen_is_not_followed_until_it_has_caught_up(scene: EnsembleScene) -> None:
    leader, behind = scene.ensemble.wait_leader(), scene.ensemble.followers()[0]
    with scene.running(pause_seconds=0.02) as recorder:
        scene.move_to(leader)
        link = scene.ensemble.quorum_link(behind, leader)
        link.stall()
        scene.wait_for_writes(30)
        scene.wait_confirmed()
        scene.allow_only(behind)
        scene.wait_entry("the loss is seen", informer__state="disconnected")
        moved = now()
        tried = scene.proxies[behind.number].connections
        wait_until(lambda: scene.proxies[behind.number].connections > tried, "it tries")
        scene.wait_for_writes(30)
        recorder.wait_asked(moved)
        before_return = now()
        link.resume()
        scene.wait_confirmed()
        scene.allow_all()

    stale = [answer for answer in recorder.since(moved) if answer.until < before_return]
    assert {answer.sync["inSync"] for answer in stale} == {False}
    assert all(answer.confirmed_at is None or answer.confirmed_at < moved for answer in stale)


def test_the_server_is_cut_from_the_quorum_while_the_others_go_on(scene: EnsembleScene) -> None:
    leader, cut_off = scene.ensemble.wait_leader(), scene.ensemble.followers()[0]
    with scene.running(pause_seconds=0.02) as recorder:
        scene.move_to(cut_off)
        scene.allow_only(cut_off)
        link = scene.ensemble.quorum_link(cut_off, leader)
        link.refuse()
        assert_says_that_it_is_cut_off(scene)
        cut = now()
        scene.wait_for_writes(60)
        recorder.wait_asked(cut)
        before_return = now()
        link.accept_again()
        scene.wait_confirmed()
        scene.allow_all()

    away = [answer for answer in recorder.since(cut) if answer.until < before_return]
    assert {answer.ready for answer in away} == {200}
    assert {answer.sync["inSync"] for answer in away} == {False}
    assert {answer.sync["gapSince"] is None for answer in away} == {False}
    assert all(answer.confirmed_at is None or answer.confirmed_at < cut for answer in away)


def test_a_server_left_alone_serves_readers_only_and_is_not_believed(scene: EnsembleScene) -> None:
    alone = scene.ensemble.followers()[0]
    others = [one for one in scene.ensemble.servers if one is not alone]
    with scene.running(pause_seconds=0.02) as recorder:
        scene.move_to(alone)
        at_once(Peer.kill, others)
        wait_until(lambda: alone.mode == "read-only", "it serves readers")
        assert_says_that_it_is_cut_off(scene)
        cut = now()
        tried = scene.proxies[alone.number].connections
        wait_until(lambda: scene.proxies[alone.number].connections > tried + 2, "it tries")
        recorder.wait_asked(cut)
        before_return = now()
        at_once(Peer.start, others)
        scene.wait_for_writes(30)
        scene.wait_confirmed()

    away = [answer for answer in recorder.since(cut) if answer.until < before_return]
    assert {answer.sync["inSync"] for answer in away} == {False}
    assert all(answer.confirmed_at is None or answer.confirmed_at < cut for answer in away)


def assert_says_that_it_is_cut_off(scene: EnsembleScene) -> None:
    """Waits until the service says that it may have missed something, and why."""

    def says() -> bool:
        entry = scene.service.resource()
        assert entry["gapSince"] is not None, entry
        assert not entry["inSync"], entry
        assert entry["informer"]["state"] in ("disconnected", "connecting"), entry
        assert scene.service.get("/health")[1]["status"] == "degraded"
        return True

    wait_until(says, "the service says that it is cut off")
