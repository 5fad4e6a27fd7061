"""hybridsync inside somebody else's aiohttp application, and the middleware that waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from hybridsync import service
from hybridsync.settings import Settings
from hybridsync.status import Readiness
from tests.unit.fake_manager import Client, FakeManager


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeManager:
    fake = FakeManager()
    fake.started = False
    monkeypatch.setattr(service, "build_manager", lambda _: fake)
    return fake


async def _hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


@pytest.fixture
async def client(fake: FakeManager) -> AsyncIterator[Client]:
    app = web.Application(middlewares=[service.require_ready()])
    service.attach(app, Settings())
    app.router.add_get("/hello", _hello)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_the_manager_lives_as_long_as_the_application(fake: FakeManager) -> None:
    app = web.Application()
    manager = service.attach(app, Settings())
    assert not fake.started
    async with TestClient(TestServer(app)) as client:
        assert fake.started
        assert app[service.MANAGER] is manager
        assert (await client.get("/api/v1/health/ready")).status == 200
        assert not fake.stopped

    assert (fake.stopping, fake.stopped) == (True, True)


async def test_what_is_asked_before_ready_is_503_and_says_why(fake: FakeManager, client: Client) -> None:
    fake.ready = Readiness(False, "waiting for the first full sync", ("services",))

    response = await client.get("/hello")

    assert response.status == 503
    assert await response.json() == {"error": "System not ready", "message": "waiting for the first full sync"}
    assert (await client.get("/nothing")).status == 503


@pytest.mark.parametrize("path", ["/health", "/health/live", "/api/v1/health/sync", "/metrics"])
async def test_probes_and_metrics_are_answered_before_ready(fake: FakeManager, client: Client, path: str) -> None:
    fake.ready = Readiness(False, "waiting", ())

    assert (await client.get(path)).status == 200


async def test_once_ready_the_application_answers(client: Client) -> None:
    assert await (await client.get("/hello")).text() == "hello"
    assert (await client.get("/nothing")).status == 404


async def test_the_hosts_own_error_pages_stay_its_own(fake: FakeManager) -> None:
    app = web.Application()
    service.attach(app, Settings())
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/nothing")).content_type == "text/plain"


async def test_inside_a_sub_application_it_works_under_its_prefix(fake: FakeManager) -> None:
    inner = web.Application(middlewares=[service.require_ready()])
    service.attach(inner, Settings())
    inner.router.add_get("/hello", _hello)
    outer = web.Application()
    outer.add_subapp("/mirror", inner)
    fake.ready = Readiness(False, "waiting", ())
    async with TestClient(TestServer(outer)) as client:
        statuses = [(await client.get(path)).status for path in ("/mirror/health/live", "/mirror/hello")]

    assert statuses == [200, 503]


def test_attaching_needs_no_running_event_loop() -> None:
    app = web.Application()

    manager = service.attach(app, Settings())

    assert manager.resource_names == []


async def test_the_middleware_without_attach_says_what_is_missing() -> None:
    app = web.Application(middlewares=[service.require_ready()])
    with pytest.raises(RuntimeError, match="attach"):
        await service.require_ready()(make_mocked_request("GET", "/", app=app), _hello)
