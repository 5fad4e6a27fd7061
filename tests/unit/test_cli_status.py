"""`hybridsync status`: the table, and what is not a hybridsync service."""

from __future__ import annotations

import asyncio
import io
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console

from hybridsync.cli.status import NotAnswering, fetch
from hybridsync.cli.status_table import status_table
from hybridsync.exceptions import Exceptions
from hybridsync.health_json import sync_json
from hybridsync.http_address import base_url
from hybridsync.state import SyncState, SyncStatus
from hybridsync.status import Progress, ResourceStatus, VerifyOutcome
from tests.unit.fake_manager import FakeManager, a_state, a_status, at, serving


def shown(*statuses: ResourceStatus, ready: bool = True, after: timedelta = timedelta(seconds=20)) -> list[str]:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(status_table(sync_json(ready, "host-1234", statuses), at(0) + after))
    return [line.strip() for line in console.export_text().splitlines()]


def test_a_resource_in_step_is_one_row() -> None:
    headline, _, row = shown(a_status())

    assert headline == "ready  host-1234  1 of 1 completed"
    words = "services completed yes watching 100,000 20 s ago 1.84 s 6.0 s ago 0"
    assert row.split() == words.split()


def test_trouble_is_said_in_words_below_the_table() -> None:
    failed = a_status(
        "flags",
        state=a_state("flags", status=SyncStatus.FAILED, error="listing [b]failed[/b]"),
        gap_since=at(3),
        is_stale=True,
        in_sync=False,
        exceptions=Exceptions(lambda: dict.fromkeys(("/a", "/b"), "hidden"), lambda: {"/c": "too large"}, dict),
    )

    lines = shown(a_status(), failed, ready=False)

    assert lines[0] == "not ready  host-1234  1 of 2 completed, 1 failed, 1 stale"
    assert "20 s ago, stale" in lines[3]
    assert lines[4:] == [
        "flags: listing [b]failed[/b]",
        "flags: changes may be missing since 2026-11-20T21:00:03.000Z",
        "flags: subtrees that may not be read: 2, such as /a: hidden",
        "flags: records that could not be stored: 1, such as /c: too large",
    ]


def test_what_the_last_periodic_check_found_is_said_in_words() -> None:
    drifted = VerifyOutcome(finished_at=at(1), compared=9, missing=1, different=2, repaired=3)
    away = VerifyOutcome(finished_at=at(1), error="there is no connection")

    assert shown(a_status(last_verify=VerifyOutcome(finished_at=at(1), compared=9)))[3:] == []
    assert shown(a_status(last_verify=drifted))[3:] == [
        "services: the last check found 1 missing, 2 different; repaired: 3"
    ]
    assert shown(a_status(last_verify=away))[3:] == [
        "services: the last check against the source failed: there is no connection"
    ]


def test_a_first_sync_shows_how_far_it_is() -> None:
    state = SyncState(resource_type="services", status=SyncStatus.IN_PROGRESS)
    running = a_status(state=state, confirmed_at=None, in_sync=False, progress=Progress(read=1234), last_result=None)

    headline, _, row = shown(running, ready=False)

    assert "1 in progress" in headline
    assert row.split() == ["services", "in_progress", "no", "watching", "1,234", "-", "-", "-", "0"]


@pytest.mark.parametrize(
    ("age", "text"), [(5, "5.0 s ago"), (90, "90 s ago"), (300, "5 min ago"), (7300, "2 h ago"), (3 * 86400, "3 d ago")]
)
def test_ages_are_told_in_a_fitting_unit(age: int, text: str) -> None:
    assert text in shown(a_status(), after=timedelta(seconds=age))[2]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3000"),
        ("0.0.0.0", "http://127.0.0.1:3000"),
        ("::", "http://[::1]:3000"),
        ("::1", "http://[::1]:3000"),
        ("db.example", "http://db.example:3000"),
    ],
)
def test_a_service_on_every_interface_is_asked_on_loopback(host: str, url: str) -> None:
    assert base_url(host, 3000) == url


async def test_the_report_of_a_service_is_fetched() -> None:
    async with serving(FakeManager()) as client, aiohttp.ClientSession() as session:
        report = await fetch(session, str(client.make_url("")).rstrip("/"))

    assert report["instance"] == "host-1234"


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", '{"sync": []}', ""])
async def test_something_else_that_answers_is_not_taken_for_hybridsync(body: str) -> None:
    async def reply(_: web.Request) -> web.Response:
        return web.Response(text=body)

    app = web.Application()
    app.router.add_get("/health/sync", reply)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        with pytest.raises(NotAnswering, match="it is not hybridsync"):
            await fetch(session, str(server.make_url("")).rstrip("/"))


async def test_a_service_that_does_not_answer_in_time_is_not_waited_for() -> None:
    async def stall(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app = web.Application()
    app.router.add_get("/health/sync", stall)
    timeout = aiohttp.ClientTimeout(total=0.05)
    async with TestServer(app) as server, aiohttp.ClientSession(timeout=timeout) as session:
        with pytest.raises(NotAnswering, match="did not answer within"):
            await fetch(session, str(server.make_url("")).rstrip("/"))
