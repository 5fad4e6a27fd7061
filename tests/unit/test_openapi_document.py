"""The OpenAPI document and the application say the same: routes, statuses, keys, words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jsonschema_rs
import pytest
from aiohttp import web
from aiohttp.hdrs import METH_ANY

from hybridsync.decision import Action, Decision, Mode, Reason
from hybridsync.health import PREFIXES, HealthRoutes
from hybridsync.health_json import result_json, sync_json
from hybridsync.metrics import Metrics
from hybridsync.openapi import document
from hybridsync.service import build_app
from hybridsync.settings import Settings
from hybridsync.state import SyncStatus
from hybridsync.status import InformerState, Progress, Readiness, Trigger
from tests.unit.fake_manager import FakeManager, a_result, a_state, a_status, as_manager, at, serving

DOCUMENT = document(PREFIXES)
NOT_READY = Readiness(False, "waiting for the first full sync", ("services",))


def check(name: str, answer: Any) -> None:
    """Fails unless the answer fits the schema of that name."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    jsonschema_rs.validator_for(schema).validate(answer)


def schema_of(operation: dict[str, Any], status: int) -> str:
    """The name of the schema that the document has for an answer."""
    found: str = operation["responses"][str(status)]["content"]["application/json"]["schema"]["$ref"]
    return found.rpartition("/")[2]


def refused(name: str, answer: Any) -> bool:
    try:
        check(name, answer)
    except jsonschema_rs.ValidationError:
        return True
    return False


def test_every_route_of_the_service_is_in_the_document_and_nothing_else() -> None:
    app, _ = build_app(as_manager(FakeManager()), Settings())

    routes = {(route.method.lower(), str(route.resource and route.resource.canonical)) for route in app.router.routes()}

    described = {(method, path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert {(method, path) for method, path in routes if method != METH_ANY} == described
    assert {path for _, path in routes} == set(DOCUMENT["paths"])


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]

    assert len(set(names)) == len(names) == 34


def test_every_reference_leads_somewhere() -> None:
    def references(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            if "$ref" in part:
                yield part["$ref"]
            for below in part.values():
                yield from references(below)
        elif isinstance(part, list):
            for below in part:
                yield from references(below)

    found = {reference.rpartition("/")[2] for reference in references(DOCUMENT)}

    assert found == set(DOCUMENT["components"]["schemas"])


def troubled() -> FakeManager:
    fake = FakeManager("services", "flags")
    fake.started, fake.ready = False, NOT_READY
    fake.dead, fake.troubles = ["resource services"], ["MongoDB cannot be reached"]
    return fake


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("fake", [FakeManager(), troubled()], ids=["well", "troubled"])
async def test_the_probes_answer_as_described(fake: FakeManager, prefix: str) -> None:
    async with serving(fake) as client:
        for path in ("/health", "/health/live", "/health/startup", "/health/ready", "/health/sync"):
            response = await client.get(prefix + path)
            check(schema_of(DOCUMENT["paths"][prefix + path]["get"], response.status), await response.json())


@pytest.mark.parametrize(
    ("body", "running"),
    [(b"{}", False), (b"{}", True), (b"{", False), (b'{"resources": ["nobody"]}', False), (b"x" * 70_000, False)],
)
@pytest.mark.parametrize("peer", [("127.0.0.1", 1), ("203.0.113.9", 1)])
@pytest.mark.parametrize("token", [None, "s3cret"])
async def test_the_trigger_answers_as_described(body: bytes, running: bool, peer: Any, token: str | None) -> None:
    fake = FakeManager()
    fake.running = {"services"} if running else set()
    async with serving(fake, token=token, peer=peer) as client:
        response = await client.post("/health/sync/trigger", data=body)
        operation = DOCUMENT["paths"]["/health/sync/trigger"]["post"]

        check(schema_of(operation, response.status), await response.json())


@pytest.mark.parametrize("trigger", Trigger)
def test_results_fit_however_a_sync_ended(trigger: Trigger) -> None:
    good = result_json(a_result(trigger=trigger))
    odd = result_json(a_result(trigger=trigger, unreadable_count=1, unreadable=("/a",), failed_samples=("/b: big",)))

    check("TriggerResults", {"results": {"services": good, "flags": odd, "texts": {"error": "no progress"}}})
    check("SyncResult", result_json(a_result(error="MongoDB is away")))


@pytest.mark.parametrize("state", InformerState)
@pytest.mark.parametrize("status", SyncStatus)
@pytest.mark.parametrize("mode", Mode)
def test_the_report_fits_in_every_state(state: InformerState, status: SyncStatus, mode: Mode) -> None:
    begun = a_status(state=a_state(status=status), informer_state=state, progress=Progress(read=3, total=None))
    never = a_status(
        state=replace(
            a_state(status=status), last_sync_time=None, last_sync_duration=None, last_sync_count=None,
            resource_version=None,
        ),
        age_seconds=None, confirmed_at=None, gap_since=at(1), last_event_time=at(3), decision=None, last_result=None,
    )  # fmt: skip
    every = [a_status(decision=Decision(mode, action, reason, "why")) for action in Action for reason in Reason]

    check("SyncReport", sync_json(False, "host-1", [begun, never, *every]))


def test_a_clock_that_was_set_back_makes_an_age_below_zero_and_still_fits() -> None:
    check("SyncReport", sync_json(True, "host-1", [a_status(age_seconds=-timedelta(hours=1).total_seconds())]))


VERIFIED = {
    "finishedAt": "2026-11-20T21:00:00.000Z", "compared": 3, "missing": 1, "extra": 0, "different": 0,
    "repaired": 0, "unreadable": 0, "samples": {"missing": ["/a"]}, "error": None,
}  # fmt: skip


@pytest.mark.parametrize("verified", [None, VERIFIED])
@pytest.mark.parametrize("invalid", [{"count": 0, "first": []}, {"count": 9, "first": [{"key": "a", "message": "b"}]}])
def test_what_verify_found_and_which_records_break_the_rules_may_be_there(verified: Any, invalid: Any) -> None:
    report = sync_json(True, "host-1", [a_status()])
    report["sync"][0] |= {"lastVerify": verified, "invalid": invalid}

    check("SyncReport", report)


def test_anything_else_may_not() -> None:
    report = sync_json(True, "host-1", [a_status()])
    for entry in (report, report["summary"], report["sync"][0], report["sync"][0]["informer"]):
        entry["surprise"] = 1
        assert refused("SyncReport", report)
        del entry["surprise"]
    report["sync"][0]["status"] = "unheard_of"
    assert refused("SyncReport", report)


def test_an_application_that_hybridsync_is_a_guest_in_keeps_its_own_document() -> None:
    app = web.Application()
    fake = FakeManager()

    HealthRoutes(as_manager(fake), Metrics(as_manager(fake)), None).add_to(app)

    assert "/openapi.json" not in {resource.canonical for resource in app.router.resources()}
