"""Random changes under random faults of the API server: afterwards the sink equals the server."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.fakes.kube_answers import Refusal
from tests.fakes.kube_api import DEPLOYMENTS, KubeApi, kube_api
from tests.kube_scene import Scene, running

STEPS = 60


def change(api: KubeApi, chance: random.Random) -> None:
    name = f"web-{chance.randrange(40)}"
    known = {one["metadata"]["name"] for one in api.do(lambda: list(api.store.objects("deployments")))}
    if name in known and chance.random() < 0.4:
        api.delete("deployments", "prod", name)
    else:
        api.put("deployments", "prod", name, spec={"replicas": chance.random()})


def break_something(api: KubeApi, chance: random.Random, scene: Scene) -> None:
    match chance.randrange(8):
        case 0:
            api.cut_watches()
        case 1:
            api.end_watches()
        case 2:
            api.do(api.store.compact)
            api.cut_watches()
        case 3:
            api.instant = 2
            api.cut_watches()
        case 4:
            verb = chance.choice(["list", "watch", "get"])
            code, reason = chance.choice([(403, "Forbidden"), (500, "InternalError"), (410, "Expired"), (401, "No")])
            api.do(lambda: api.refused.update({(verb, "deployments"): Refusal(code, reason, 3)}))
        case 5:
            api.gone_as_http = not api.gone_as_http
        case 6:
            scene.resource.request_sync()
        case 7:
            api.do(
                lambda: api.refused.update({("watch", "deployments"): Refusal(429, "Busy", 1, {"Retry-After": "1"})})
            )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3))
async def test_the_sink_equals_the_server_after_the_faults(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    with kube_api(DEPLOYMENTS) as api:
        scene = Scene(api, api.kubeconfig(tmp_path))
        async with running(scene):
            for _ in range(STEPS):
                for _ in range(chance.randrange(5)):
                    change(api, chance)
                if chance.random() < 0.3:
                    break_something(api, chance, scene)
                await asyncio.sleep(chance.random() * 0.05)
            api.instant = 0
            api.do(api.refused.clear)
            await scene.level()
        again = Scene(api, scene.kubeconfig, before=scene)
        for _ in range(10):
            change(api, chance)
        async with running(again):
            await again.level()
            assert again.held() == again.expected()
