"""What a start finds and decides: fresh, stale, failed, cut off, missing, configured anew, always, never."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.acceptance.command import hybridsync
from tests.acceptance.place import Place
from tests.mirror_truth import differences
from tests.proxy import TcpProxy
from tests.service import Service, moment, wait_until

Proxies = Callable[[str, int], TcpProxy]
TREE = {"": b"", "/a": b"1", "/b": b"2", "/b/c": b"3", "/tmp": b"", "/tmp/x": b""}


@pytest.fixture
def synced(place: Place) -> Place:
    """A tree that was mirrored by a service which is gone again."""
    place.grow(TREE)
    ended = hybridsync("sync", settings=place.settings())
    assert ended.returncode == 0, ended.stderr
    return place


@pytest.fixture
def proxy(synced: Place, proxy_factory: Proxies) -> TcpProxy:
    """In front of ZooKeeper: refuses until a test lets it go."""
    made = proxy_factory("127.0.0.1", int(synced.zookeeper.rpartition(":")[2]))
    made.refuse()
    return made


def behind(place: Place, proxy: TcpProxy, **more: str) -> dict[str, str]:
    return place.settings(**{"ZOOKEEPER_HOSTS": proxy.address, **more})


def decided(service: Service) -> dict[str, Any]:
    decision: dict[str, Any] = wait_until(lambda: service.resource()["decision"], "it has decided")
    return decision


def edit_state(place: Place, **changes: Any) -> None:
    done = place.database["sync_states"].update_one({"_id": "services"}, {"$set": changes})
    assert done.modified_count == 1


def assert_not_ready_before_the_sync(
    place: Place, proxy: TcpProxy, reason: str, *, trigger: str = "startup", **more: str
) -> dict[str, Any]:
    """Starts without ZooKeeper, sees it wait, lets it sync; returns the entry then."""
    with Service(behind(place, proxy, **more)) as service:
        decision = decided(service)
        assert (decision["action"], decision["reason"]) == ("sync", reason), decision
        wait_until(lambda: "first full sync" in (service.get("/health/ready")[1]["reason"] or ""), "it waits")
        for _ in range(20):
            status, body = service.get("/health/ready")
            assert (status, body["waitingFor"]) == (503, ["services"])
        proxy.accept_again()
        service.wait_in_sync()
        assert service.get("/health/ready")[0] == 200
        entry = service.resource()
        assert entry["lastResult"]["trigger"] == trigger
        assert (entry["isStale"], entry["decision"]["reason"]) == (False, reason)
        return entry


def assert_ready_before_the_sync(place: Place, proxy: TcpProxy, reason: str) -> dict[str, Any]:
    """Starts without ZooKeeper, sees it serve what is there, lets it sync; returns the entry then."""
    with Service(behind(place, proxy)) as service:
        decision = decided(service)
        assert (decision["action"], decision["reason"], decision["blocking"]) == ("sync", reason, False), decision
        service.wait_ready()
        assert not service.resource()["inSync"]
        proxy.accept_again()
        service.wait_in_sync()
        entry = service.resource()
        assert entry["lastResult"]["trigger"] == "catch_up"
        return entry


def test_a_fresh_mirror_is_served_at_once_without_zookeeper_and_caught_up_later(synced: Place, proxy: TcpProxy) -> None:
    before = synced.state()
    synced.set("/a", b"changed while down")
    synced.create("/new", b"while down")
    synced.zk.delete(f"{synced.root}/b", recursive=True)
    with Service(behind(synced, proxy)) as service:
        service.wait_ready()
        assert service.get("/health/startup")[0] == 200
        entry = service.resource()
        assert (entry["decision"]["action"], entry["decision"]["reason"]) == ("skip", "fresh")
        assert (entry["status"], entry["isStale"], entry["lastResult"]) == ("completed", False, None)
        # what is missing is not hidden, and nothing is promised
        assert (entry["inSync"], entry["confirmedAt"]) == (False, None)
        assert moment(entry["gapSince"]) <= datetime.now(UTC)
        assert moment(entry["lastSyncTime"]) == before["lastSyncTime"]
        assert synced.document("/a")["value"] == "1"

        proxy.accept_again()
        service.wait_in_sync()

        result = service.resource()["lastResult"]
        assert result["trigger"] == "catch_up"
        assert (result["inserted"], result["updated"], result["deleted"], result["unchanged"]) == (1, 1, 2, 3)
        assert differences(synced.zk, synced.root, synced.mirror) == []
        assert service.resource()["gapSince"] is None


def test_a_fresh_mirror_is_ready_while_the_listing_still_runs(place: Place, proxy_factory: Proxies) -> None:
    place.grow({"": b""} | {f"/{number}": b"x" * 200 for number in range(3_000)})
    assert hybridsync("sync", settings=place.settings()).returncode == 0
    slow = proxy_factory("127.0.0.1", int(place.zookeeper.rpartition(":")[2]))
    slow.delay(0.1)
    with Service(behind(place, slow)) as service:
        service.wait_ready()
        seen = wait_until(lambda: _running(service), "the catch-up runs")
        assert service.get("/health/ready")[0] == 200
        assert (seen["status"], seen["informer"]["state"], seen["inSync"]) == ("in_progress", "resyncing", False)
        assert set(seen["progress"]) == {
            *("read", "inserted", "updated", "deleted", "unchanged", "elapsedSeconds", "total")
        }
        assert service.get("/health/sync")[1]["summary"]["inProgress"] == 1
        slow.delay(0)
        service.wait_in_sync()
        result = service.resource()["lastResult"]
        assert (result["trigger"], result["read"], result["unchanged"]) == ("catch_up", 3_001, 3_001)


def _running(service: Service) -> dict[str, Any] | None:
    entry = service.resource()
    return entry if entry["progress"] else None


def test_a_stale_mirror_is_synced_before_ready(synced: Place, proxy: TcpProxy) -> None:
    edit_state(synced, lastSyncTime=datetime.now(UTC) - timedelta(seconds=86_500))

    with Service(behind(synced, proxy)) as service:
        decided(service)
        entry = service.resource()
        assert entry["isStale"] is True
        assert entry["ageSeconds"] >= 86_500
        assert service.get("/health/sync")[1]["summary"]["stale"] == 1
    assert_not_ready_before_the_sync(synced, proxy, "stale")


def test_the_threshold_is_a_setting_and_also_read_without_the_prefix(synced: Place, proxy: TcpProxy) -> None:
    edit_state(synced, lastSyncTime=datetime.now(UTC) - timedelta(seconds=30))

    with Service(behind(synced, proxy), environ={"DATA_STALE_THRESHOLD_SECONDS": "20"}) as service:
        assert decided(service)["reason"] == "stale"
    settings = behind(synced, proxy, DATA_STALE_THRESHOLD_SECONDS="600")
    with Service(settings, environ={"DATA_STALE_THRESHOLD_SECONDS": "20"}) as service:
        assert decided(service)["reason"] == "fresh"


def test_after_a_failed_sync_what_was_whole_is_served_and_synced_behind(synced: Place, proxy: TcpProxy) -> None:
    edit_state(synced, status="failed", error="the disk was full")

    with Service(behind(synced, proxy)) as service:
        assert "the disk was full" in decided(service)["detail"]
        entry = service.resource()
        assert (entry["status"], entry["error"]) == ("failed", "the disk was full")
        assert service.get("/health/sync")[1]["summary"]["failed"] == 1
    entry = assert_ready_before_the_sync(synced, proxy, "last_failed")
    assert (entry["status"], entry["error"]) == ("completed", None)


def test_after_a_sync_that_was_cut_off_what_was_whole_is_served_and_synced_behind(
    synced: Place, proxy: TcpProxy
) -> None:
    edit_state(synced, status="in_progress")

    assert_ready_before_the_sync(synced, proxy, "incomplete")


@pytest.mark.parametrize(
    "changes",
    [
        {"partial": True},
        {"configFingerprint": "another"},
        {"lastSyncTime": None},
        {"lastSyncTime": datetime(2020, 1, 1, tzinfo=UTC)},
    ],
)
def test_what_was_not_whole_is_synced_before_ready(synced: Place, proxy: TcpProxy, changes: dict[str, Any]) -> None:
    edit_state(synced, status="in_progress", **changes)

    assert_not_ready_before_the_sync(synced, proxy, "incomplete")


def test_a_state_that_cannot_be_understood_is_no_state_of_success(synced: Place, proxy: TcpProxy) -> None:
    edit_state(synced, status="wonderful", lastSyncTime="yesterday")

    assert_not_ready_before_the_sync(synced, proxy, "incomplete")


@pytest.mark.parametrize("how", ["dropped", "emptied"])
def test_a_mirror_that_is_gone_is_made_again_before_ready(synced: Place, proxy: TcpProxy, how: str) -> None:
    if how == "dropped":
        synced.mirror.drop()
    else:
        synced.mirror.delete_many({})

    entry = assert_not_ready_before_the_sync(synced, proxy, "mirror_missing")

    assert entry["lastResult"]["inserted"] == len(TREE)
    assert differences(synced.zk, synced.root, synced.mirror) == []
    assert [("parent", 1)] in [index["key"] for index in synced.mirror.index_information().values()]


def test_another_exclusion_is_another_configuration(synced: Place, proxy: TcpProxy) -> None:
    resources = synced.excluding("/tmp/**", "/b")

    entry = assert_not_ready_before_the_sync(synced, proxy, "config_changed", RESOURCES=resources)

    assert entry["lastResult"]["deleted"] == 3
    assert synced.paths() == {"", "/a", "/tmp"}
    with Service(synced.settings(RESOURCES=resources)) as service:
        service.wait_in_sync()
        assert service.resource()["decision"]["reason"] == "fresh"


def test_another_root_is_another_configuration_and_leaves_nothing_of_the_old_one(
    synced: Place, proxy: TcpProxy
) -> None:
    below = synced.settings()["RESOURCES"].replace(synced.root, f"{synced.root}/b")

    assert_not_ready_before_the_sync(synced, proxy, "config_changed", RESOURCES=below)

    assert synced.paths() == {"/b", "/b/c"}
    assert synced.document("/b")["parent"] is None


def test_always_syncs_before_ready(synced: Place, proxy: TcpProxy) -> None:
    assert_not_ready_before_the_sync(synced, proxy, "always", SYNC_ON_STARTUP="always")


def test_never_lists_nothing_and_follows_what_changes_from_then_on(synced: Place) -> None:
    synced.set("/a", b"while down")
    before = synced.state()
    with Service(synced.settings(SYNC_ON_STARTUP="never")) as service:
        service.wait_ready()
        entry = wait_until(lambda: _watching(service), "it watches")
        assert (entry["decision"]["action"], entry["decision"]["reason"]) == ("skip", "never")
        synced.set("/b", b"after the start")
        synced.create("/new", b"after the start")
        wait_until(lambda: synced.document("/b")["value"] == "after the start" and synced.held("/new"), "both arrive")

        entry = service.resource()
        assert synced.document("/a")["value"] == "1"
        assert (entry["lastResult"], entry["inSync"]) == (None, False)
        assert entry["gapSince"] is not None
        assert service.logged("full sync begins") == []
        state = synced.state()
        assert (state["lastSyncTime"], state["resourceVersion"]) == (before["lastSyncTime"], before["resourceVersion"])

        assert service.post("/health/sync/trigger", {"wait": True})[0] == 200
        service.wait_in_sync()
        assert synced.document("/a")["value"] == "while down"


def _watching(service: Service) -> dict[str, Any] | None:
    entry = service.resource()
    return entry if entry["informer"]["state"] == "watching" else None


def test_never_on_an_empty_database_is_ready_with_an_empty_mirror(place: Place) -> None:
    place.grow(TREE)
    with Service(place.settings(SYNC_ON_STARTUP="never")) as service:
        service.wait_ready()
        wait_until(lambda: _watching(service), "it watches")
        entry = service.resource()
        assert (entry["status"], entry["isStale"], entry["inSync"]) == ("never", True, False)
        assert place.mirror.count_documents({}) == 0
        assert service.get("/health/sync")[1]["summary"]["never"] == 1


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_restart_goes_on_from_what_the_service_left(place: Place, how: str) -> None:
    place.grow(TREE)
    service = Service(place.settings())
    with service:
        service.wait_in_sync()
        place.set("/a", b"2")
        service.wait_in_sync()
        getattr(service, how)()
    place.set("/a", b"3")
    with service:
        service.wait_ready()
        service.wait_in_sync()
        assert service.resource()["decision"]["reason"] == "fresh"
        assert place.document("/a")["value"] == "3"


def test_killed_in_mid_sync_it_begins_again_before_ready(place: Place, proxy_factory: Proxies) -> None:
    place.grow({"": b""} | {f"/{number}": b"x" * 200 for number in range(2_000)})
    slow = proxy_factory("127.0.0.1", int(place.zookeeper.rpartition(":")[2]))
    slow.delay(0.1)
    with Service(behind(place, slow)) as service:
        wait_until(lambda: _running(service), "the first sync runs")
        service.kill()
    assert place.state()["status"] == "in_progress"
    slow.delay(0)
    slow.refuse()

    entry = assert_not_ready_before_the_sync(place, slow, "incomplete")

    assert entry["lastSyncCount"] == 2_001
    assert differences(place.zk, place.root, place.mirror) == []
