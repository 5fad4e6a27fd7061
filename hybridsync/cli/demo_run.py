"""The life of the demo: servers up, service up, until Ctrl-C or until in sync, everything down again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import structlog
import typer

from hybridsync import logs
from hybridsync.cli.demo_servers import HOME, DemoServers
from hybridsync.cli.session import results
from hybridsync.cli.status_table import status_table
from hybridsync.health_json import sync_json
from hybridsync.process import StopSignal
from hybridsync.service import Service

IN_SYNC_SECONDS = 120.0
"""How long `--once` waits for a first sync of about a thousand znodes on a busy machine."""

_POLL_SECONDS = 0.1

log: structlog.stdlib.BoundLogger = structlog.get_logger("hybridsync")


async def run_demo(stop: StopSignal, *, once: bool) -> int:
    """Runs the whole demo and returns the exit code. Leaves no process behind."""
    stop.follow(asyncio.get_running_loop())
    logs.configure()
    servers = DemoServers()
    log.info("starting a private ZooKeeper and MongoDB", directory=str(HOME))
    try:
        # not cut short by a signal: half a start-up is harder to clean up than a whole one
        new = await asyncio.to_thread(servers.start)
        log.info("sample tree loaded", new_znodes=new, zookeeper=servers.zookeeper.hosts)
        return 0 if stop.asked else await _run_service(servers, stop, once=once)
    finally:
        await asyncio.to_thread(servers.stop)


async def _run_service(servers: DemoServers, stop: StopSignal, *, once: bool) -> int:
    settings = servers.settings()
    logs.configure(settings.log_level, settings.log_format)
    service = Service(settings)
    try:
        await service.start()
        in_sync = await _until_in_sync(service, stop)
        if once:
            _print_status(service)
            return 0 if in_sync else 1
        if not stop.asked:
            _print_status(service)
            typer.echo(_what_to_try(service.url, servers))
        await stop.wait()
        return 0
    finally:
        service.begin_stopping()
        await service.stop()


async def _until_in_sync(service: Service, stop: StopSignal) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + IN_SYNC_SECONDS
    while loop.time() < deadline and not stop.asked:
        if service.manager.readiness().ready and all(status.in_sync for status in service.manager.statuses()):
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return False


def _print_status(service: Service) -> None:
    manager = service.manager
    results().print(status_table(sync_json(manager.readiness().ready, manager.instance, manager.statuses())))


def _program() -> str:
    """How this program can be called again from here: in a fresh virtual environment it is not on the PATH."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m hybridsync"
    return str(called.relative_to(Path.cwd())) if called.is_relative_to(Path.cwd()) else called.name


def _what_to_try(url: str, servers: DemoServers) -> str:
    program = _program()
    return f"""
The service answers at {url}. In another terminal, in this directory, try:

  curl {url}/health/ready
  curl {url}/health/sync
  curl -X POST {url}/health/sync/trigger -d '{{"wait": true}}'
  curl {url}/metrics
  {program} status --watch --url {url}
  {program} demo --set /flags/feature-001 '{{"enabled": true}}'

The last one changes a znode and shows it arrive in MongoDB. The servers, for tools of your own:

  ZooKeeper  {servers.zookeeper.hosts}
  MongoDB    {servers.mongodb_uri}

Ctrl-C stops everything; the data stays in {HOME}/ for the next time."""
