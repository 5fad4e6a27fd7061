"""Limits that a user sets: how much a sync may delete, how often it runs by itself, how old an answer may be."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.acceptance.command import hybridsync
from tests.acceptance.place import Place
from tests.proxy import TcpProxy
from tests.service import Service, moment, wait_until

RECORDS = 200


def grown(place: Place) -> None:
    place.grow({"": b"", "/many": b""} | {f"/many/{number}": b"1" for number in range(RECORDS - 2)})
    ended = hybridsync("sync", settings=place.settings())
    assert ended.returncode == 0, ended.stderr


def test_a_sync_that_would_delete_too_much_changes_nothing_and_says_so(place: Place) -> None:
    grown(place)
    for number in range(150):
        place.zk.delete(f"{place.root}/many/{number}")
    place.set("/many/190", b"changed")
    place.create("/new", b"")
    before = list(place.mirror.find().sort("_id"))
    with Service(place.settings()) as service:
        service.wait_ready()
        wait_until(lambda: service.resource()["status"] == "failed", "the catch-up is refused")
        entry = service.resource()
        assert all(word in entry["error"] for word in ("150 of 200", "SWEEP_LIMIT_PERCENT"))
        assert (entry["inSync"], entry["lastResult"]["deleted"]) == (False, 0)
        assert entry["gapSince"] is not None
        assert service.get("/health/ready")[0] == 200
        assert service.get("/health")[1]["status"] == "degraded"
        status, answer = service.post("/health/sync/trigger", {"wait": True})
        assert status == 500
        assert "SWEEP_LIMIT_PERCENT" in answer["results"]["services"]["error"]
        service.terminate()
    assert list(place.mirror.find().sort("_id")) == before
    # a refused sync is tried again by itself, and the stop may have cut that one off
    assert place.state()["status"] in ("failed", "in_progress")

    refused = hybridsync("sync", "--json", settings=place.settings())
    planned = hybridsync("plan", "--json", settings=place.settings())
    assert refused.returncode == 1
    assert "SWEEP_LIMIT_PERCENT" in json.loads(refused.stdout)["results"]["services"]["error"]
    assert json.loads(planned.stdout)["plan"]["services"]["reason"] == "last_failed"
    assert list(place.mirror.find().sort("_id")) == before

    with Service(place.settings(SWEEP_LIMIT_PERCENT="100")) as service:
        service.wait_in_sync()
        result = service.resource()["lastResult"]
        assert (result["deleted"], result["updated"], result["inserted"]) == (150, 1, 1)


def test_a_repair_that_would_delete_too_much_changes_nothing_and_says_so(place: Place) -> None:
    grown(place)
    place.zk.delete(f"{place.root}/many", recursive=True)
    place.create("/new", b"")
    before = list(place.mirror.find().sort("_id"))

    refused = hybridsync("verify", "--repair", "--json", settings=place.settings())

    report = json.loads(refused.stdout)["results"]["services"]
    assert (refused.returncode, report["missing"], report["extra"], report["repaired"]) == (1, 1, RECORDS - 1, 0)
    assert all(word in report["error"] for word in (f"{RECORDS - 1} of {RECORDS}", "SWEEP_LIMIT_PERCENT"))
    assert list(place.mirror.find().sort("_id")) == before
    allowed = hybridsync("verify", "--repair", settings=place.settings(SWEEP_LIMIT_PERCENT="100"))
    assert allowed.returncode == 0, allowed.stdout
    assert place.paths() == {"", "/new"}


def test_deletes_under_the_watch_and_of_half_the_mirror_are_no_matter_for_the_guard(place: Place) -> None:
    grown(place)
    for number in range(RECORDS // 2):
        place.zk.delete(f"{place.root}/many/{number}")
    with Service(place.settings()) as service:
        service.wait_in_sync()
        assert service.resource()["lastResult"]["deleted"] == RECORDS // 2

        place.zk.delete(f"{place.root}/many", recursive=True)

        wait_until(lambda: place.paths() == {""}, "a watched delete is followed however large")


def test_a_small_mirror_is_not_guarded(place: Place) -> None:
    place.grow({"": b""} | {f"/{number}": b"" for number in range(98)})
    assert hybridsync("sync", settings=place.settings()).returncode == 0
    for number in range(98):
        place.zk.delete(f"{place.root}/{number}")

    with Service(place.settings()) as service:
        service.wait_in_sync()
        assert place.paths() == {""}


def test_periodic_syncs_run_by_themselves(place: Place) -> None:
    place.grow({"": b"", "/a": b"1"})
    half_a_second = str(0.5 / 3600)
    with Service(place.settings(PERIODIC_SYNC_INTERVAL_HOURS=half_a_second)) as service:
        service.wait_ready()
        first = service.resource()["lastSyncTime"]
        wait_until(lambda: service.resource()["lastResult"]["trigger"] == "periodic", "one runs")
        place.mirror.delete_one({"_id": f"{place.root}/a"})
        wait_until(lambda: place.held("/a"), "the next one makes good what somebody deleted from the mirror")
        wait_until(lambda: len(service.logged("full sync completed")) > 4, "and so on")
        assert moment(service.resource()["lastSyncTime"]) > moment(first)
        assert {entry["trigger"] for entry in service.logged("full sync completed")} == {"startup", "periodic"}


def test_it_is_not_ready_while_the_proof_is_too_old(
    place: Place, proxy_factory: Callable[[str, int], TcpProxy]
) -> None:
    place.grow({"": b"", "/a": b"1"})
    proxy = proxy_factory("127.0.0.1", int(place.zookeeper.rpartition(":")[2]))
    with Service(place.settings(ZOOKEEPER_HOSTS=proxy.address, READY_MAX_AGE_SECONDS="2")) as service:
        service.wait_in_sync()
        assert service.get("/health/ready")[0] == 200

        proxy.stall()
        body = wait_until(lambda: _not_ready(service), "it is not ready any more")
        entry = service.resource()
        assert "READY_MAX_AGE_SECONDS" in body["reason"]
        assert body["waitingFor"] == ["services"]
        assert entry["inSync"] is False
        assert (datetime.now(UTC) - moment(entry["confirmedAt"])).total_seconds() > 2
        assert service.get("/health/startup")[0] == 200
        assert service.get("/health/live")[0] == 200

        proxy.resume()
        service.wait_ready()
        service.wait_in_sync()


def _not_ready(service: Service) -> dict[str, Any] | None:
    status, body = service.get("/health/ready")
    return body if status == 503 else None


def test_with_a_maximal_age_a_fresh_mirror_is_ready_only_once_it_is_proven(
    place: Place, proxy_factory: Callable[[str, int], TcpProxy]
) -> None:
    place.grow({"": b""})
    assert hybridsync("sync", settings=place.settings()).returncode == 0
    proxy = proxy_factory("127.0.0.1", int(place.zookeeper.rpartition(":")[2]))
    proxy.refuse()
    settings = place.settings(ZOOKEEPER_HOSTS=proxy.address, READY_MAX_AGE_SECONDS="600")
    with Service(settings) as service:
        wait_until(lambda: service.resource()["decision"], "it has decided")
        reason = wait_until(lambda: _reason_about_age(service), "it says why it is not ready")
        assert "not confirmed" in reason
        proxy.accept_again()
        service.wait_ready()


def _reason_about_age(service: Service) -> str | None:
    reason: str | None = service.get("/health/ready")[1]["reason"]
    return reason if reason and "READY_MAX_AGE_SECONDS" in reason else None
