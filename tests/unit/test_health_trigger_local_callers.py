"""Who counts as a caller on this machine when no token is set: headers can only make it worse, never better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from hybridsync.health_trigger import LARGEST_BODY
from hybridsync.manager import Triggered
from tests.unit.fake_manager import FakeManager, a_result, serving

PATH = "/health/sync/trigger"
ELSEWHERE = [("203.0.113.9", 1), ("::ffff:203.0.113.9", 1, 0, 0), ("fe80::1%eth0", 1, 0, 2), ("128.0.0.1", 1)]
HERE = [("127.0.0.1", 1), ("::1", 1, 0, 0), ("::ffff:127.0.0.1", 1, 0, 0)]
TEMPTING = [
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Real-IP": "::1"},
    {"Forwarded": "for=127.0.0.1"},
    {"Host": "localhost"},
    {"Host": "127.0.0.1:3000", "Origin": "http://127.0.0.1:3000"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Authorization": "Bearer "},
    {"X-HTTP-Method-Override": "GET"},
]


async def asked(peer: Any, headers: Any, token: str | None = None) -> tuple[int, int]:
    """The status, and how often something was started."""
    fake = FakeManager()
    async with serving(fake, peer=peer, token=token) as client:
        return (await client.post(PATH, headers=headers)).status, len(fake.triggered)


@pytest.mark.parametrize("peer", ELSEWHERE)
@pytest.mark.parametrize("headers", TEMPTING)
async def test_no_header_makes_a_caller_from_elsewhere_local(peer: Any, headers: dict[str, str]) -> None:
    assert await asked(peer, headers) == (403, 0)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "203.0.113.9"},
        {"X-Forwarded-For": "127.0.0.1, 203.0.113.9"},
        {"X-Forwarded-For": "203.0.113.9, 127.0.0.1"},
        CIMultiDict([("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-For", "203.0.113.9")]),
        {"X-Forwarded-For": "unknown"},
        {"X-Forwarded-For": ""},
        {"X-Real-IP": "2001:db8::1"},
        {"Forwarded": "for=203.0.113.9;proto=https"},
        {"Forwarded": 'proto=http;for="[2001:db8::1]:4711", for=127.0.0.1'},
        {"Forwarded": "by=127.0.0.1"},
        {"Forwarded": "for=_hidden"},
    ],
)
async def test_a_caller_behind_a_proxy_on_this_machine_is_not_local(headers: Any) -> None:
    assert await asked(HERE[0], headers) == (403, 0)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Origin": "null", "Host": ""},
        {"Origin": "http://127.0.0.1:1", "Host": "127.0.0.1:2"},
        {"Origin": "http://rebound.example:3000", "Host": "rebound.example:3000"},
        {"Origin": "http://localhost.example", "Host": "localhost.example"},
        {"Origin": "http://127.0.0.1.example", "Host": "127.0.0.1.example"},
        {"Origin": "http://[::1", "Host": "[::1"},
        {"Origin": "http://0.0.0.0:3000", "Host": "0.0.0.0:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_web_page_that_a_local_browser_shows_is_not_a_local_caller(headers: dict[str, str]) -> None:
    assert await asked(HERE[0], headers) == (403, 0)


@pytest.mark.parametrize("peer", HERE)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "anything.example"},
        {"Host": "localhost:3000", "Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-origin"},
        {"Host": "[::1]:3000", "Origin": "http://[::1]:3000"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-For": "::1, ::ffff:127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"Forwarded": 'for=127.0.0.1;proto=http, proto=http;For="[::1]:4711"'},
        {"Sec-Fetch-Site": "none"},
        {"Content-Type": "text/plain"},
    ],
)
async def test_a_caller_on_this_machine_comes_in(peer: Any, headers: dict[str, str]) -> None:
    assert await asked(peer, headers) == (202, 1)


@pytest.mark.parametrize("headers", [{"X-Forwarded-For": "203.0.113.9"}, {"Origin": "https://example.org"}])
@pytest.mark.parametrize("peer", [HERE[0], ELSEWHERE[0]])
async def test_with_the_token_it_does_not_matter_from_where(peer: Any, headers: dict[str, str]) -> None:
    token = "open-sesame-44"

    assert await asked(peer, headers | {"Authorization": f"Bearer {token}"}, token) == (202, 1)
    assert await asked(peer, headers, token) == (401, 0)


BYTES = st.one_of(
    st.binary(max_size=400),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.recursive(
        st.sampled_from([b"null", b"true", b"1e999", b"-0", b'""', b'"services"', b"NaN", b'"\\ud800"', b"9" * 5000]),
        lambda below: st.one_of(
            st.lists(below, max_size=4).map(lambda parts: b"[" + b",".join(parts) + b"]"),
            st.lists(st.tuples(st.sampled_from([b'"wait"', b'"resources"', b'"x"', b'""']), below), max_size=4).map(
                lambda parts: b"{" + b",".join(key + b":" + value for key, value in parts) + b"}"
            ),
        ),
        max_leaves=8,
    ),
    st.integers(1, LARGEST_BODY + 2).map(lambda size: b"[" * size),
)


class Quick(FakeManager):
    """Every sync that is started has ended well already."""

    def trigger(self, names: Sequence[str] | None, *, allow_sweep: bool = False) -> Triggered:
        started = super().trigger(names, allow_sweep=allow_sweep)
        for future in self.futures.values():
            future.set_result(a_result())
        return started


@settings(max_examples=150)
@given(body=BYTES)
async def test_any_body_is_taken_or_refused_in_one_line(body: bytes) -> None:
    fake = Quick()
    async with serving(fake) as client:
        response = await client.post(PATH, data=body)
        answer = await response.json()

        assert response.status in (200, 202, 400, 404, 413)
        assert bool(fake.triggered) == (response.status in (200, 202))
        if not fake.triggered:
            assert answer.keys() <= {"error", "unknown"}
            assert answer["error"]
            assert "\n" not in answer["error"]
            assert len(answer["error"]) < 1000
