"""`POST /health/sync/trigger`, row for row of the contract's table."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientResponse

from hybridsync.health_trigger import LARGEST_BODY, is_loopback
from tests.eventually import eventually
from tests.unit.fake_manager import Client, FakeManager, a_result, serving

PATH = "/health/sync/trigger"
TOKEN = "s3cret-token"
ELSEWHERE = [("203.0.113.9", 1), ("::ffff:203.0.113.9", 1, 0, 0), ("2001:db8::1", 1, 0, 0)]


async def post(client: Client, body: Any = None, **more: Any) -> ClientResponse:
    return await client.post(PATH, data=body if isinstance(body, bytes) else json.dumps(body), **more)


# -- accepted -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{}", b'{"wait": false}', b" \n"])
async def test_without_names_everything_is_started(body: bytes) -> None:
    fake = FakeManager("services", "flags")
    async with serving(fake) as client:
        response = await post(client, body)

        assert response.status == 202
        assert await response.json() == {"accepted": ["services", "flags"], "alreadyRunning": []}
        assert response.headers["Cache-Control"] == "no-store"
        assert fake.triggered == [None]


async def test_only_the_named_one_is_started_and_naming_it_twice_changes_nothing() -> None:
    fake = FakeManager("services", "flags")
    async with serving(fake) as client:
        response = await post(client, {"resources": ["flags", "flags"]})

        assert (response.status, fake.triggered) == (202, [["flags"]])


async def test_a_resource_that_is_syncing_is_named_as_running() -> None:
    fake = FakeManager("services", "flags")
    fake.running = {"services"}
    async with serving(fake) as client:
        response = await post(client, {})

        assert await response.json() == {"accepted": ["flags"], "alreadyRunning": ["services"]}


async def test_the_same_at_the_longer_path() -> None:
    async with serving(FakeManager()) as client:
        assert (await client.post("/api/v1" + PATH)).status == 202


# -- wait ---------------------------------------------------------------------------------------------


async def test_wait_answers_200_with_the_results_when_all_succeeded() -> None:
    fake = FakeManager("services", "flags")
    async with serving(fake) as client:
        asked = asyncio.create_task(post(client, {"wait": True}))
        await eventually(lambda: fake.futures)
        fake.futures["services"].set_result(a_result(read=7))
        fake.futures["flags"].set_result(a_result(read=8))
        response = await asked

        assert response.status == 200
        results = (await response.json())["results"]
        assert {name: result["read"] for name, result in results.items()} == {"services": 7, "flags": 8}
        assert results["services"].keys() >= {"trigger", "inserted", "updated", "deleted", "unchanged"}


async def test_wait_answers_500_when_one_failed() -> None:
    fake = FakeManager("services", "flags")
    async with serving(fake) as client:
        asked = asyncio.create_task(post(client, {"wait": True}))
        await eventually(lambda: fake.futures)
        fake.futures["services"].set_result(a_result())
        fake.futures["flags"].set_result(a_result(error="MongoDB is away"))
        response = await asked

        assert response.status == 500
        assert (await response.json())["results"]["flags"] == {"error": "MongoDB is away"}


async def test_a_caller_that_hangs_up_does_not_cancel_the_sync() -> None:
    fake = FakeManager()
    async with serving(fake) as client:
        asked = asyncio.create_task(post(client, {"wait": True}))
        await eventually(lambda: fake.futures)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert (await client.get("/health/live")).status == 200

        assert not fake.futures["services"].done()
        fake.futures["services"].set_result(a_result())


# -- refused, and nothing started ---------------------------------------------------------------------


async def test_an_unknown_resource_is_404_and_nothing_is_started() -> None:
    fake = FakeManager("services")
    async with serving(fake) as client:
        response = await post(client, {"resources": ["services", "servces"]})
        body = await response.json()

        assert (response.status, fake.triggered) == (404, [])
        assert body["unknown"] == ["servces"]
        assert body["error"] == "unknown resource 'servces'; known: services"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"null", "must be a JSON object"),
        (b'["services"]', "must be a JSON object"),
        (b'"services"', "must be a JSON object"),
        (b"NaN", "NaN is not a JSON value"),
        (b'{"wait": NaN}', "NaN is not a JSON value"),
        (b'{"wait": 1}', "'wait' must be true or false"),
        (b'{"wait": null}', "'wait' must be true or false"),
        (b'{"wait": "true"}', "'wait' must be true or false"),
        (b'{"resources": "services"}', "'resources' must be a list"),
        (b'{"resources": null}', "'resources' must be a list"),
        (b'{"resources": [1]}', "'resources' must be a list"),
        (b'{"resources": {"services": 1}}', "'resources' must be a list"),
        (b'{"resources": []}', "'resources' is empty"),
        (b'{"resource": ["services"]}', "unknown key 'resource'"),
        (b'{"wait": true, "wait": false}', "a key is there twice"),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"wait": ' + b"1" * 10_000 + b"}", "not JSON that can be read"),
    ],
)
async def test_what_is_not_a_proper_request_is_400_and_one_sentence(body: bytes, said: str) -> None:
    fake = FakeManager()
    async with serving(fake) as client:
        response = await post(client, body)
        answer = await response.json()

        assert (response.status, fake.triggered) == (400, [])
        assert answer.keys() == {"error"}
        assert said in answer["error"]
        assert "\n" not in answer["error"]


async def test_a_body_of_64_kib_is_read_and_one_byte_more_is_413() -> None:
    fake = FakeManager()
    async with serving(fake) as client:
        fits = await post(client, b"{}" + b" " * (LARGEST_BODY - 2))
        too_large = await post(client, b"{}" + b" " * (LARGEST_BODY - 1))

        assert (fits.status, too_large.status) == (202, 413)
        assert (await too_large.json()).keys() == {"error"}


async def test_a_body_of_unannounced_length_is_413_too() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * 1024

    fake = FakeManager()
    async with serving(fake) as client:
        response = await client.post(PATH, data=chunks())

        assert (response.status, fake.triggered) == (413, [])


async def test_while_stopping_nothing_is_started_whoever_asks() -> None:
    fake = FakeManager()
    fake.begin_stopping()
    async with serving(fake, token=TOKEN) as client:
        response = await post(client, b"no JSON")

        assert (response.status, fake.triggered) == (503, [])
        assert (await response.json()).keys() == {"error"}


# -- who may ask --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ünïcode"],
)
async def test_with_a_token_nobody_comes_in_without_it(authorization: str | None) -> None:
    fake = FakeManager()
    headers = {} if authorization is None else {"Authorization": authorization}
    async with serving(fake, token=TOKEN) as client:
        response = await post(client, {}, headers=headers)
        text = await response.text()

        assert (response.status, fake.triggered) == (401, [])
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert TOKEN not in text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
@pytest.mark.parametrize("peer", [("127.0.0.1", 1), ("203.0.113.9", 1)])
async def test_with_the_token_every_caller_comes_in(scheme: str, peer: Any) -> None:
    async with serving(FakeManager(), token=TOKEN, peer=peer) as client:
        assert (await post(client, {}, headers={"Authorization": f"{scheme} {TOKEN}"})).status == 202


async def test_the_token_is_asked_for_before_the_body_is_looked_at() -> None:
    async with serving(FakeManager(), token=TOKEN) as client:
        assert (await post(client, b"x" * (2 * LARGEST_BODY))).status == 401


@pytest.mark.parametrize(
    "peer", [("203.0.113.9", 1), ("::ffff:203.0.113.9", 1, 0, 0), ("2001:db8::1", 1, 0, 0), "", None]
)
@pytest.mark.parametrize("headers", [{}, {"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}])
async def test_without_a_token_a_caller_from_elsewhere_is_told_what_to_set(peer: Any, headers: dict[str, str]) -> None:
    fake = FakeManager()
    async with serving(fake, peer=peer) as client:
        response = await post(client, {}, headers=headers)

        assert (response.status, fake.triggered) == (403, [])
        assert "HYBRIDSYNC_CONTROL_TOKEN" in (await response.json())["error"]


async def test_without_a_token_a_web_page_of_another_origin_is_not_a_local_caller() -> None:
    async with serving(FakeManager()) as client:
        page = await post(client, {}, headers={"Origin": "https://example.org"})
        own = await post(client, {}, headers={"Origin": f"http://{client.host}:{client.port}"})

        assert (page.status, own.status) == (403, 202)


@pytest.mark.parametrize("peer", [("127.0.0.1", 1), ("127.8.9.10", 1), ("::1", 1, 0, 0), ("::ffff:127.0.0.1", 1, 0, 0)])
def test_loopback_is_known_in_every_spelling(peer: Any) -> None:
    assert is_loopback(peer)


async def test_looking_needs_no_token() -> None:
    async with serving(FakeManager(), token=TOKEN, peer=("203.0.113.9", 1)) as client:
        assert (await client.get("/health/sync")).status == 200
