"""`plan`, `sync`, `verify` and `status` while a service runs on the same mirror, and what they print."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from hybridsync.embedded.ports import free_port
from tests.acceptance.command import hybridsync
from tests.acceptance.place import Place
from tests.mirror_truth import differences
from tests.service import Service, wait_until


@pytest.fixture(scope="module")
def service(shared_place: Place) -> Iterator[Service]:
    shared_place.grow({"": b"", "/a": b"1", "/b": b"2", "/b/c": b'{"n": 3}'})
    with Service(shared_place.settings()) as started:
        started.wait_in_sync()
        yield started


@pytest.fixture
def place(shared_place: Place, service: Service) -> Place:
    assert service.running
    return shared_place


def results(place: Place, *arguments: str, code: int = 0) -> dict[str, Any]:
    """What a command says about the resource, as JSON; nothing but JSON may be on stdout."""
    ended = hybridsync(*arguments, "--json", settings=place.settings())
    assert ended.returncode == code, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    found: dict[str, Any] = next(iter(answer.values()))["services"]
    return found


def test_plan_tells_what_a_restart_would_do_and_changes_nothing(place: Place) -> None:
    before = (list(place.mirror.find()), place.state())

    plan = results(place, "plan")

    assert (plan["mode"], plan["action"], plan["reason"]) == ("auto", "skip", "fresh")
    assert (list(place.mirror.find()), place.state()) == before


def test_a_sync_beside_the_service_finds_nothing_to_do(place: Place, service: Service) -> None:
    before = list(place.mirror.find())

    result = results(place, "sync")

    assert (result["read"], result["unchanged"]) == (4, 4)
    assert list(place.mirror.find()) == before
    service.wait_in_sync()


def test_verify_of_a_mirror_that_moves_finds_no_drift(place: Place, service: Service) -> None:
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            place.set("/a", b"%d" % number)
            place.create(f"/b/{number}")
            place.zk.delete(f"{place.root}/b/{number}")
            number += 1

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        found = [results(place, "verify") for _ in range(2)]
    finally:
        over.set()
        writer.join(30)
    assert [(each["missing"], each["extra"], each["different"]) for each in found] == [(0, 0, 0)] * 2
    service.wait_in_sync()
    assert differences(place.zk, place.root, place.mirror) == []


def test_verify_finds_and_repairs_drift_while_the_service_runs(place: Place, service: Service) -> None:
    document = place.document("/b/c")
    place.mirror.delete_one({"_id": f"{place.root}/a"})
    place.mirror.update_one({"_id": document["_id"]}, {"$set": {"value.n": 4}})
    place.mirror.insert_one({**document, "_id": f"{place.root}/ghost", "name": "ghost"})
    place.mirror.update_one({"_id": f"{place.root}/b"}, {"$set": {"parent": None}})

    found = results(place, "verify", code=1)
    repaired = results(place, "verify", "services", "--repair")
    again = results(place, "verify")

    assert found["samples"]["missing"] == [f"{place.root}/a"]
    assert found["samples"]["extra"] == [f"{place.root}/ghost"]
    assert sorted(found["samples"]["different"]) == [f"{place.root}/b", document["_id"]]
    assert (repaired["repaired"], again["missing"] + again["extra"] + again["different"]) == (4, 0)
    assert differences(place.zk, place.root, place.mirror) == []
    service.wait_in_sync()


def test_verify_finds_what_is_in_the_mirror_though_it_is_excluded(place: Place) -> None:
    settings = place.settings(RESOURCES=place.excluding("/b/**"))
    before = place.document("/b/c")

    found = hybridsync("verify", "--json", settings=settings)

    report = json.loads(found.stdout)["results"]["services"]
    assert (found.returncode, report["extra"], report["samples"]) == (1, 1, {"extra": [f"{place.root}/b/c"]})
    assert place.document("/b/c") == before


def test_a_full_sync_makes_good_what_somebody_took_out_of_the_mirror(place: Place, service: Service) -> None:
    place.mirror.delete_one({"_id": f"{place.root}/b"})
    place.mirror.insert_one({"_id": f"{place.root}/foreign", "made": "by hand"})

    result = service.post("/health/sync/trigger", {"wait": True})[1]["results"]["services"]

    assert (result["inserted"], result["deleted"], result["unchanged"]) == (1, 1, 3)
    assert differences(place.zk, place.root, place.mirror) == []


def test_status_shows_the_service_as_a_table_and_as_json(place: Place, service: Service) -> None:
    port = service.url.rpartition(":")[2]

    table = hybridsync("status", settings={"HTTP_PORT": port})
    as_json = hybridsync("status", "--json", "--url", service.url)

    assert (table.returncode, as_json.returncode) == (0, 0)
    assert "services" in table.stdout
    assert "completed" in table.stdout
    assert set(json.loads(as_json.stdout)) == {"ready", "instance", "summary", "sync"}
    assert place.root not in table.stderr


def _asked(service: Service) -> float:
    """How often it was asked for the status."""
    counted = 'hybridsync_http_request_duration_seconds_count{route="/health/sync"} '
    (line,) = [line for line in service.get("/metrics")[1].splitlines() if line.startswith(counted)]
    return float(line.removeprefix(counted))


def test_watching_shows_it_again_and_again_until_it_is_gone(place: Place) -> None:
    place.database.drop_collection("unused")
    with Service(place.settings()) as second:
        second.wait_in_sync()
        url, before = second.url, _asked(second)
        lines: list[str] = []

        def watch() -> None:
            ended = hybridsync("status", "--watch", "--json", "--url", url)
            lines.extend(ended.stdout.splitlines())
            lines.append(f"code {ended.returncode}")

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        wait_until(lambda: _asked(second) >= before + 2, "it asks again and again")
        assert watching.is_alive(), lines
        second.kill()
        watching.join(30)
    assert lines[-1] == "code 1"
    assert len(lines) > 2
    assert all(json.loads(line)["sync"] for line in lines[:-1])


def test_without_zookeeper_sync_and_verify_fail_with_a_reason_on_stdout_as_json(place: Place) -> None:
    settings = place.settings(ZOOKEEPER_HOSTS=f"127.0.0.1:{free_port()}", ZOOKEEPER_SESSION_TIMEOUT_SECONDS="2")
    before = list(place.mirror.find())
    answers: dict[str, Any] = {}

    def ask(command: str) -> None:
        ended = hybridsync(command, "--json", settings=settings)
        answers[command] = (ended.returncode, json.loads(ended.stdout)["results"]["services"].get("error", ""))

    asking = [threading.Thread(target=ask, args=(command,)) for command in ("sync", "verify")]
    for each in asking:
        each.start()
    for each in asking:
        each.join(60)

    for command in ("sync", "verify"):
        code, error = answers[command]
        assert code == 1
        assert "ZooKeeper" in error
    assert list(place.mirror.find()) == before


def test_two_services_on_one_mirror_do_not_harm_it(place: Place, service: Service) -> None:
    with Service(place.settings()) as second:
        second.wait_in_sync()
        for number in range(200):
            place.set("/a", b"%d" % number)
        place.zk.delete(f"{place.root}/b/c")
        place.create("/b/c", b"again")
        service.wait_in_sync()
        second.wait_in_sync()
        wait_until(lambda: differences(place.zk, place.root, place.mirror) == [], "source and mirror are equal")
