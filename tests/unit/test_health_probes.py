"""Each probe in each state a manager can be in."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from hybridsync.health import HealthRoutes
from hybridsync.metrics import Metrics
from hybridsync.status import Readiness
from tests.unit.fake_manager import FakeManager, as_manager, serving

READABLE = ("/health", "/health/live", "/health/startup", "/health/ready", "/health/sync")
WAITING = Readiness(False, "waiting for the first full sync", ("services",))


async def ask(fake: FakeManager, path: str) -> tuple[int, dict[str, Any]]:
    async with serving(fake) as client:
        response = await client.get(path)
        return response.status, await response.json()


async def test_health_is_ok_while_nothing_is_wrong() -> None:
    status, body = await ask(FakeManager(), "/health")

    assert status == 200
    assert body.keys() == {"status", "version", "uptimeSeconds", "instance"}
    assert body["status"] == "ok"
    assert body["instance"] == "host-1234"
    assert isinstance(body["uptimeSeconds"], float)


async def test_health_is_degraded_and_says_why() -> None:
    fake = FakeManager()
    fake.troubles = ["MongoDB cannot be reached"]

    status, body = await ask(fake, "/health")

    assert (status, body["status"], body["reasons"]) == (200, "degraded", ["MongoDB cannot be reached"])


async def test_live_looks_neither_at_readiness_nor_at_mongodb() -> None:
    fake = FakeManager()
    fake.ready, fake.mongodb_reachable, fake.started = WAITING, False, False

    assert (await ask(fake, "/health/live"))[0] == 200


async def test_live_names_a_dead_task() -> None:
    fake = FakeManager()
    fake.dead = ["resource services"]

    status, body = await ask(fake, "/health/live")

    assert status == 503
    assert body["error"] == "dead task: resource services"


async def test_live_stays_good_while_stopping() -> None:
    fake = FakeManager()
    fake.begin_stopping()

    assert (await ask(fake, "/health/live"))[0] == 200


async def test_startup_waits_for_the_first_time_ready() -> None:
    fake = FakeManager()
    fake.started, fake.ready = False, WAITING

    status, body = await ask(fake, "/health/startup")

    assert (status, body["started"], body["waitingFor"]) == (503, False, ["services"])


async def test_startup_stays_good_when_readiness_goes_away_again() -> None:
    fake = FakeManager()
    fake.ready = WAITING

    assert (await ask(fake, "/health/startup"))[0] == 200


async def test_ready_when_the_manager_is() -> None:
    assert await ask(FakeManager(), "/health/ready") == (200, {"ready": True, "reason": None, "waitingFor": []})


async def test_not_ready_with_the_reason_and_whom_it_waits_for() -> None:
    fake = FakeManager()
    fake.ready = WAITING

    assert await ask(fake, "/health/ready") == (
        503,
        {"ready": False, "reason": "waiting for the first full sync", "waitingFor": ["services"]},
    )


async def test_not_ready_while_stopping() -> None:
    fake = FakeManager()
    fake.begin_stopping()

    status, body = await ask(fake, "/health/ready")

    assert (status, body["ready"]) == (503, False)


async def test_sync_is_answered_also_while_not_ready() -> None:
    fake = FakeManager("services", "flags")
    fake.ready = WAITING

    status, body = await ask(fake, "/health/sync")

    assert (status, body["ready"]) == (200, False)
    assert [each["resourceType"] for each in body["sync"]] == ["services", "flags"]


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
@pytest.mark.parametrize("path", [*READABLE, "/metrics"])
async def test_every_route_is_there_twice_answers_head_and_is_never_cached(prefix: str, path: str) -> None:
    async with serving(FakeManager()) as client:
        whole = await client.get(prefix + path)
        head = await client.head(prefix + path)
        refused = await client.post(prefix + path)

        assert (whole.status, head.status, refused.status) == (200, 200, 405)
        assert await head.read() == b""
        assert {answer.headers["Cache-Control"] for answer in (whole, head, refused)} == {"no-store"}
        assert refused.headers["Allow"] == "GET, HEAD"
        assert (await refused.json()).keys() == {"error"}


async def test_the_trigger_takes_post_only() -> None:
    async with serving(FakeManager()) as client:
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            refused = await client.request(method, "/health/sync/trigger")
            assert (refused.status, refused.headers["Allow"]) == (405, "POST")


async def test_an_unknown_path_is_a_404_in_json() -> None:
    status, body = await ask(FakeManager(), "/health/nothing")

    assert status == 404
    assert body == {"error": "nothing is at /health/nothing"}


async def test_a_wrong_method_is_json_in_a_host_application_too() -> None:
    app = web.Application()
    fake = FakeManager()
    HealthRoutes(as_manager(fake), Metrics(as_manager(fake)), None).add_to(app)
    async with TestClient(TestServer(app)) as client:
        refused = await client.delete("/health/ready")

        assert refused.status == 405
        assert "allowed: GET, HEAD" in (await refused.json())["error"]
