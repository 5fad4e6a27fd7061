"""`hybridsync status`: the table of a running service."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import Annotated, Any

import aiohttp
import typer
from rich.console import Console
from rich.live import Live

from hybridsync.cli.session import print_json, results, run_async
from hybridsync.cli.status_table import status_table
from hybridsync.errors import HybridSyncError
from hybridsync.http_address import base_url
from hybridsync.settings import load_settings

ANSWER_SECONDS = 5.0
WATCH_SECONDS = 1.0

_USER_INFO = re.compile(r"[^/\s]+@")
"""User and password in an address: they are used, and not shown."""


class NotAnswering(HybridSyncError):
    """No service answered at the address, or something else did."""


def status(
    url: Annotated[str | None, typer.Option(help="Address of the service; from the settings when not given.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the resources of a running service. Exit code 1 when it cannot be reached."""
    address = (url or _configured_url()).rstrip("/")
    if not watch:
        report = run_async(_once(address))
        if as_json:
            print_json(report)
        else:
            results().print(status_table(report))
        return
    try:
        run_async(_watch(address, as_json))
    except KeyboardInterrupt:
        raise typer.Exit from None


def _configured_url() -> str:
    settings = load_settings(require_resources=False).settings
    return base_url(settings.http_host, settings.http_port)


async def _once(address: str) -> dict[str, Any]:
    async with _client() as client:
        return await fetch(client, address)


async def _watch(address: str, as_json: bool) -> None:
    async with _client() as client:
        report = await fetch(client, address)
        console = results()
        if as_json or not console.is_terminal:
            while True:
                if as_json:
                    typer.echo(json.dumps(report, ensure_ascii=False))
                else:
                    console.print(status_table(report))
                sys.stdout.flush()
                await asyncio.sleep(WATCH_SECONDS)
                report = await fetch(client, address)
        await _watch_on_terminal(console, client, address, report)


async def _watch_on_terminal(
    console: Console, client: aiohttp.ClientSession, address: str, report: dict[str, Any]
) -> None:
    with Live(status_table(report), console=console, auto_refresh=False, screen=False) as live:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            live.update(status_table(await fetch(client, address)), refresh=True)


def _client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS))


async def fetch(client: aiohttp.ClientSession, address: str) -> dict[str, Any]:
    """The answer of `GET /health/sync`. Raises `NotAnswering`."""
    url = f"{address}/health/sync"
    address = _USER_INFO.sub("***@", address)
    try:
        async with client.get(url) as response:
            report = await response.json(content_type=None)
    except TimeoutError:
        raise NotAnswering(f"{address} did not answer within {ANSWER_SECONDS:.0f} s") from None
    except aiohttp.InvalidURL:
        raise NotAnswering(f"{address!r} is not a URL; an example is http://127.0.0.1:3000") from None
    except aiohttp.ClientConnectorError as error:
        reason = error.os_error.strerror or str(error.os_error)
        raise NotAnswering(f"cannot reach the service at {address}: {reason}; is it running?") from None
    except aiohttp.ClientError as error:
        reason = _USER_INFO.sub("***@", str(error)) or type(error).__name__
        raise NotAnswering(f"cannot reach the service at {address}: {reason}") from None
    except ValueError:
        raise NotAnswering(f"{address} answers, but it is not hybridsync: no JSON at /health/sync") from None
    if not isinstance(report, dict) or not {"ready", "instance", "summary", "sync"} <= report.keys():
        raise NotAnswering(f"{address} answers, but it is not hybridsync: no report at /health/sync")
    return report
