"""The periodic check inside the service, on real servers: drift made by hand, a moving mirror, a source away."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from bson.int64 import Int64
from pymongo import DeleteOne, InsertOne, UpdateOne

from hybridsync.embedded.ports import LOOPBACK
from tests.acceptance.command import hybridsync
from tests.acceptance.place import Place
from tests.mirror_truth import differences
from tests.proxy import TcpProxy
from tests.service import Service, wait_until

OFTEN = str(1 / 3600)
"""Hours: once a second."""

NOT_SO_OFTEN = str(10 / 3600)
FOUND = "the mirror differs from its source: repairing"
COMPARED = "source and mirror compared"


@pytest.fixture
def grown(place: Place) -> Place:
    place.grow({"": b"", "/a": b'{"n": 1}', "/b": b"2", "/b/c": b'{"n": 3}', "/b/d": b"", "/e": b"\xff\x00"})
    return place


def wait_equal(place: Place) -> None:
    wait_until(lambda: differences(place.zk, place.root, place.mirror) == [], "source and mirror are equal")


def counts(outcome: dict[str, Any]) -> tuple[int, int, int, int]:
    return outcome["missing"], outcome["extra"], outcome["different"], outcome["repaired"]


def test_it_is_off_by_default(grown: Place) -> None:
    with Service(grown.settings()) as service:
        service.wait_in_sync()

        assert service.resource()["lastVerify"] is None
        assert service.logged(COMPARED) == []


def test_drift_made_by_hand_is_found_named_and_repaired_without_a_full_sync(grown: Place) -> None:
    root, mirror = grown.root, grown.mirror
    with Service(grown.settings(VERIFY_INTERVAL_HOURS=NOT_SO_OFTEN)) as service:
        service.wait_in_sync()
        extra = {**grown.document("/b/c"), "_id": f"{root}/ghost", "name": "ghost"}
        mirror.bulk_write(
            [
                DeleteOne({"_id": f"{root}/b/d"}),
                UpdateOne({"_id": f"{root}/a"}, {"$set": {"value.n": 99}}),
                UpdateOne({"_id": f"{root}/b/c"}, {"$set": {"parent": f"{root}/a"}}),
                InsertOne(extra),
            ]
        )

        outcome: dict[str, Any] = wait_until(
            lambda: (last := service.resource()["lastVerify"]) and last["repaired"] == 4 and last, "all is repaired"
        )

        assert (counts(outcome), outcome["compared"], outcome["error"]) == ((1, 1, 2, 4), 6, None)
        assert {kind: sorted(keys) for kind, keys in outcome["samples"].items()} == {
            "missing": [f"{root}/b/d"],
            "extra": [f"{root}/ghost"],
            "different": [f"{root}/a", f"{root}/b/c"],
        }
        assert service.resource()["lastResult"]["trigger"] == "startup"
        assert differences(grown.zk, root, mirror) == []
        (told,) = service.logged(FOUND)
        assert (told["level"], told["resource"], told["samples"]["missing"]) == ("error", "services", [f"{root}/b/d"])
        shown = hybridsync("status", "--url", service.url).stdout
        assert "the last check found 1 missing, 1 extra, 2 different; repaired: 4" in shown
        service.wait_in_sync()


def test_what_only_a_full_sync_can_settle_gets_one_called_verify(grown: Place) -> None:
    """A version from the future is in front of every watched write, and a stranger is at no path of the tree."""
    root, mirror = grown.root, grown.mirror
    with Service(grown.settings(VERIFY_INTERVAL_HOURS=OFTEN)) as service:
        service.wait_in_sync()
        stranger = {**grown.document("/b/c"), "_id": "/elsewhere/c", "parent": "/elsewhere"}
        mirror.update_one({"_id": f"{root}/a"}, {"$set": {"version": Int64(2**60)}})
        mirror.insert_one(stranger)

        wait_equal(grown)
        wait_until(lambda: service.resource()["lastResult"]["trigger"] == "verify", "a full sync called verify")
        wait_until(lambda: service.resource()["lastVerify"]["missing"] == 0, "a check has ended")
        service.wait_in_sync()


def test_steady_changes_under_the_check_are_never_called_drift(grown: Place) -> None:
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            grown.set("/a", b'{"n": %d}' % number)
            grown.create(f"/b/{number}", b"x" * (number % 300))
            if number >= 5:
                grown.zk.delete(f"{grown.root}/b/{number - 5}")
            number += 1

    with Service(grown.settings(VERIFY_INTERVAL_HOURS=OFTEN)) as service:
        service.wait_in_sync()
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        try:
            wait_until(lambda: len(service.logged(COMPARED)) >= 5, "five checks have ended")
        finally:
            over.set()
            writer.join(30)

        assert service.logged(FOUND) == []
        assert [entry["drift"] for entry in service.logged(COMPARED)] == [0] * len(service.logged(COMPARED))
        service.wait_in_sync()
        assert differences(grown.zk, grown.root, grown.mirror) == []


def test_a_source_that_is_away_is_an_error_in_the_result_and_no_drift(grown: Place) -> None:
    host, port = grown.zookeeper.split(",")[0].split(":")
    with (
        TcpProxy(host or LOOPBACK, int(port)) as proxy,
        Service(grown.settings(ZOOKEEPER_HOSTS=proxy.address, VERIFY_INTERVAL_HOURS=OFTEN)) as service,
    ):
        service.wait_in_sync()
        wait_until(lambda: (service.resource()["lastVerify"] or {}).get("compared") == 6, "a check has ended")
        before = list(grown.mirror.find().sort("_id"))
        proxy.refuse()
        proxy.cut()

        failed: dict[str, Any] = wait_until(
            lambda: (last := service.resource()["lastVerify"])["error"] and last, "the check says that it failed"
        )
        assert counts(failed) == (0, 0, 0, 0)
        assert list(grown.mirror.find().sort("_id")) == before
        assert service.get("/health/live")[0] == 200
        proxy.accept_again()

        wait_until(lambda: service.resource()["lastVerify"]["error"] is None, "a check has ended well again")
        assert service.logged(FOUND) == []
