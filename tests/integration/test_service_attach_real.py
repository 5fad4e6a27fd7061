"""`attach` with real servers: an application of somebody else's, ready when its mirror is."""

from __future__ import annotations

import json

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from kazoo.client import KazooClient

from hybridsync.embedded import ZooKeeperServer
from hybridsync.service import attach, require_ready
from hybridsync.settings import load_settings
from tests.eventually import eventually


async def test_an_application_answers_once_the_mirror_is_there(
    zookeeper_server: ZooKeeperServer, mongo_uri: str, zk: KazooClient, zk_root: str
) -> None:
    zk.create(zk_root, b"")
    environ = {
        "HYBRIDSYNC_ZOOKEEPER_HOSTS": zookeeper_server.hosts,
        "HYBRIDSYNC_MONGODB_URI": mongo_uri,
        "HYBRIDSYNC_RESOURCES": json.dumps({"services": {"source": {"type": "zookeeper", "path": zk_root}}}),
    }

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application(middlewares=[require_ready()])
    manager = attach(app, load_settings(environ, require_resources=True).settings)
    app.router.add_get("/hello", hello)
    async with TestClient(TestServer(app)) as client:

        async def answers() -> bool:
            return (await client.get("/hello")).status == 200

        await eventually(answers, what="the application answers")
        response = await client.post("/health/sync/trigger", json={"wait": True})

        assert response.status == 200
        assert (await response.json())["results"]["services"]["read"] == 1

    assert manager.stopping
