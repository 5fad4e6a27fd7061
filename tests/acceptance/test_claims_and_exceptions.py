"""What is not in the mirror as it should be is named, and a mistake or an outsider never makes a false claim."""

from __future__ import annotations

import json
from typing import Any

from kazoo.security import OPEN_ACL_UNSAFE, make_digest_acl

from tests.acceptance.command import hybridsync
from tests.acceptance.place import Place
from tests.mirror_truth import differences
from tests.servers import connected
from tests.service import Service, wait_until

NO_TOO: dict[str, Any] = {"validator": {"value": {"$ne": "too"}}, "validationAction": "error"}
ANYTHING: dict[str, Any] = {"validator": {}}


def told(service: Service) -> list[dict[str, str]]:
    """All exceptions, page after page."""
    found: list[dict[str, str]] = []
    after = ""
    while True:
        status, page = service.get(f"/health/sync/exceptions?resource=services&after={after}")
        assert status == 200, page
        found += page["exceptions"]
        if page["next"] is None:
            return found
        after = page["next"]


def counts(service: Service) -> dict[str, int]:
    exceptions = service.resource()["exceptions"]
    return {kind: exceptions[kind] for kind in ("unreadable", "refused", "invalid")}


def test_a_document_that_a_validator_refuses_is_named_and_not_in_sync_by_watch_and_by_full_sync(place: Place) -> None:
    place.grow({"": b"", "/a": b"1", "/b": b"2"})
    with Service(place.settings()) as service:
        service.wait_in_sync()
        assert counts(service) == {"unreadable": 0, "refused": 0, "invalid": 0}
        place.database.command("collMod", "services", **NO_TOO)
        place.set("/a", b"too")
        refused = f"{place.root}/a"
        wait_until(lambda: [one["key"] for one in told(service)] == [refused], "it is named")
        place.set("/b", b"3")
        wait_until(lambda: place.document("/b")["value"] == "3", "all others are followed")

        entry = service.resource()
        assert (entry["inSync"], entry["exceptions"]["refused"]) == (False, 1)
        assert entry["exceptions"]["first"][0]["kind"] == "refused"
        assert "validation" in entry["exceptions"]["first"][0]["why"].lower()
        assert service.get("/health")[1]["status"] == "degraded"
        assert 'hybridsync_exceptions{kind="refused",resource="services"} 1.0' in service.get("/metrics")[1]
        begun = [entry["key"] for entry in service.logged("a document could not be stored")]
        assert begun == [refused]

        assert service.post("/health/sync/trigger", {"wait": True})[0] == 200
        assert (service.resource()["inSync"], counts(service)["refused"]) == (False, 1)
        place.database.command("collMod", "services", **ANYTHING)
        service.wait_in_sync()
        assert [entry["key"] for entry in service.logged("a document is no longer refused")] == [refused]
        assert differences(place.zk, place.root, place.mirror) == []


def test_a_subtree_that_is_hidden_is_named_and_read_again_by_itself_when_it_opens(place: Place) -> None:
    place.grow({"": b"", "/open": b"1"})
    with connected(place.zookeeper, auth_data=[("digest", "keeper:sesame")]) as keeper:
        only_keeper = [make_digest_acl("keeper", "sesame", all=True)]
        keeper.create(f"{place.root}/closed", b"1", acl=only_keeper)
        with Service(place.settings()) as service:
            wait_until(lambda: counts(service)["unreadable"] == 1, "it is named")
            wait_until(lambda: service.resource()["confirmedAt"], "the rest is proven")
            assert service.get("/health/ready")[0] == 200
            assert not service.resource()["inSync"]
            (one,) = told(service)
            assert (one["key"], one["kind"]) == (f"{place.root}/closed", "unreadable")

            keeper.set(f"{place.root}/closed", b"2")
            keeper.create(f"{place.root}/closed/below", b"3", acl=OPEN_ACL_UNSAFE)
            keeper.set_acls(f"{place.root}/closed", OPEN_ACL_UNSAFE)
            service.wait_in_sync()
            assert told(service) == []
            assert differences(place.zk, place.root, place.mirror) == []


def test_the_page_of_exceptions_refuses_what_it_cannot_answer_in_one_line(place: Place) -> None:
    place.grow({"": b""})
    with Service(place.settings()) as service:
        service.wait_in_sync()
        assert service.get("/health/sync/exceptions?resource=services") == (200, {"exceptions": [], "next": None})
        assert service.get("/api/v1/health/sync/exceptions?resource=services&after=/x")[0] == 200
        for query, status in (("", 400), ("?resource=services&x=1", 400), ("?resource=nobody", 404)):
            answer = service.get(f"/health/sync/exceptions{query}")
            assert answer[0] == status
            assert "\n" not in answer[1]["error"]


def elsewhere(place: Place, path: str) -> str:
    return json.dumps({"services": {"source": {"type": "zookeeper", "path": path}}})


def test_a_mistyped_path_empties_no_mirror_however_small_and_plan_says_so(place: Place) -> None:
    place.grow({"": b"", **{f"/f{number}": b"1" for number in range(60)}})
    with Service(place.settings()) as service:
        service.wait_in_sync()
    mistyped = place.settings(RESOURCES=elsewhere(place, f"{place.root}z"))

    planned = hybridsync("plan", "--json", settings=mistyped)
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)["plan"]["services"]
    assert (plan["reason"], plan["blocking"]) == ("config_changed", True)
    assert plan["changes"] == {"insert": 0, "update": 0, "delete": 61}
    assert "is not there" in plan["refused"]
    once = hybridsync("sync", settings=mistyped)
    assert once.returncode == 1
    assert "is not there" in once.stdout
    assert place.mirror.count_documents({}) == 61

    with Service(mistyped) as service:
        wait_until(lambda: service.resource()["status"] == "failed", "the sync is refused")
        assert service.get("/health/ready")[0] == 503
        assert place.mirror.count_documents({}) == 61
        status, answer = service.post("/health/sync/trigger", {"wait": True, "allowSweep": True})
        assert (status, answer["results"]["services"]["deleted"]) == (200, 61)


def test_a_root_that_is_deleted_before_its_eyes_is_followed_and_stays_followed_after_a_restart(place: Place) -> None:
    place.grow({"": b"", "/a": b"1", "/a/b": b"2"})
    with Service(place.settings()) as service:
        service.wait_in_sync()
        place.zk.delete(place.root, recursive=True)
        wait_until(lambda: place.mirror.count_documents({}) == 0, "the mirror follows")
        service.wait_in_sync()
        assert service.post("/health/sync/trigger", {"wait": True})[0] == 200
    with Service(place.settings()) as service:
        service.wait_in_sync()


def test_a_stop_during_a_resync_is_no_failure_and_the_next_start_is_fresh(place: Place) -> None:
    place.grow({"": b"", **{f"/{number:04}": b"x" * 500 for number in range(3000)}})
    with Service(place.settings()) as service:
        service.wait_in_sync()
        for _ in range(3):
            service.post("/health/sync/trigger")
        assert service.terminate() == 0
    state = place.database["sync_states"].find_one({"_id": "services"})
    assert state is not None
    assert (state["status"], state["error"]) == ("completed", None)
    with Service(place.settings()) as service:
        wait_until(lambda: service.resource()["decision"], "it decides")
        decision = service.resource()["decision"]
        assert (decision["reason"], decision["blocking"]) == ("fresh", False)


def test_a_mirror_that_is_dropped_is_noticed_and_made_good_without_anybody_asking(place: Place) -> None:
    place.grow({"": b"", "/a": b"1", "/b": b"2"})
    with Service(place.settings()) as service:
        service.wait_in_sync()
        place.mirror.drop()
        wait_until(lambda: place.mirror.count_documents({}) == 3, "it is there again")
        service.wait_in_sync()
        assert "parent_1" in place.mirror.index_information()
        place.mirror.rename("elsewhere")
        wait_until(lambda: place.mirror.count_documents({}) == 3, "and again")
        service.wait_in_sync()
