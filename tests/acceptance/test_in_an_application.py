"""hybridsync inside somebody else's aiohttp application: its routes, its middleware, its lifetime."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from hybridsync import attach, require_ready
from hybridsync.service import MANAGER
from hybridsync.settings import Settings, load_settings
from tests.acceptance.place import Place
from tests.eventually import eventually
from tests.proxy import TcpProxy

Client = TestClient[web.Request, web.Application]


def settings_of(place: Place, **more: str) -> Settings:
    variables = {f"HYBRIDSYNC_{name}": value for name, value in place.settings(**more).items()}
    return load_settings(variables, require_resources=True).settings


def application(settings: Settings) -> web.Application:
    async def services(request: web.Request) -> web.Response:
        (status,) = request.app[MANAGER].statuses()
        return web.json_response({"count": status.state.last_sync_count})

    async def breaks(request: web.Request) -> web.Response:
        raise RuntimeError("of the application's own")

    app = web.Application(middlewares=[require_ready()])
    app.router.add_get("/services", services)
    app.router.add_get("/breaks", breaks)
    attach(app, settings)
    return app


@pytest.fixture
def proxy(place: Place) -> TcpProxy:
    return TcpProxy("127.0.0.1", int(place.zookeeper.rpartition(":")[2]))


async def test_it_answers_503_until_the_mirror_is_there_and_stops_with_the_application(
    place: Place, proxy: TcpProxy
) -> None:
    place.grow({"": b"", "/a": b"1"})
    with proxy:
        proxy.refuse()
        app = application(settings_of(place, ZOOKEEPER_HOSTS=proxy.address))
        async with TestClient(TestServer(app)) as client:
            await assert_not_ready(client)
            proxy.accept_again()
            await eventually(lambda: ready(client), what="the application is ready")

            answer = await client.get("/services")
            assert await answer.json() == {"count": 2}
            for prefix in ("", "/api/v1"):
                triggered = await client.post(f"{prefix}/health/sync/trigger", json={"wait": True})
                assert triggered.status == 200
                assert (await client.get(f"{prefix}/metrics")).status == 200
            assert (await client.get("/nothing")).status == 404
            place.set("/a", b"2")
            await eventually(lambda: place.document("/a")["value"] == "2", what="a change arrives")
            manager = app[MANAGER]
        assert manager.stopping
        assert manager.dead_tasks() == []
    place.set("/a", b"3")
    assert place.document("/a")["value"] == "2"
    assert place.state()["status"] == "completed"


async def assert_not_ready(client: Client) -> None:
    for path in ("/services", "/breaks", "/nothing"):
        refused = await client.get(path)
        body = await refused.json()
        assert refused.status == 503
        assert set(body) == {"error", "message"}
        assert body["error"] == "System not ready"
        assert body["message"]
    for path, status in (("/health", 200), ("/health/live", 200), ("/api/v1/health/ready", 503), ("/metrics", 200)):
        assert (await client.get(path)).status == status


async def ready(client: Client) -> bool:
    return (await client.get("/health/ready")).status == 200


async def test_a_fresh_mirror_makes_the_application_ready_without_zookeeper(place: Place, proxy: TcpProxy) -> None:
    place.grow({"": b"", "/a": b"1"})
    with proxy:
        settings = settings_of(place, ZOOKEEPER_HOSTS=proxy.address)
        async with TestClient(TestServer(application(settings))) as client:
            await eventually(lambda: ready(client), what="the first application is ready")
        proxy.refuse()
        async with TestClient(TestServer(application(settings))) as client:
            await eventually(lambda: ready(client), what="the second one is ready without ZooKeeper")
            assert (await client.get("/services")).status == 200
