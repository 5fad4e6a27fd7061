"""What the one-shot commands share: settings, a manager for the length of one command, output."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from rich.console import Console

from hybridsync.errors import ConfigurationError
from hybridsync.settings import load_settings

if TYPE_CHECKING:
    from hybridsync.manager import HybridSyncManager
    from hybridsync.settings import Settings

T = TypeVar("T")

CLOSE_SECONDS = 10.0
_WIDE = 160
"""Columns of a table that goes to a file or a pipe: nothing is cut off to fit a terminal."""


def settings_for_resources() -> Settings:
    """The settings of a command that works on resources. Raises `ConfigurationError`."""
    return load_settings(require_resources=True).settings


def known_names(settings: Settings, asked: Sequence[str] | None) -> list[str]:
    """The resources to work on: those asked for, or all. Raises `ConfigurationError` for unknown ones."""
    known = list(settings.resources)
    unknown = [name for name in asked or () if name not in known]
    if unknown:
        raise ConfigurationError([f"unknown resource {name!r}; known: {', '.join(known)}" for name in unknown])
    return list(dict.fromkeys(asked)) if asked else known


@asynccontextmanager
async def manager_for(settings: Settings) -> AsyncIterator[HybridSyncManager]:
    """A manager that is not started, and closed afterwards whatever happens."""
    # imported here: the clients of both servers are no concern of `--help` and `status`
    from hybridsync import logs
    from hybridsync.wiring import build_manager, secrets_of

    # what went well is the command's own output; the log only tells of trouble
    level = "warning" if settings.log_level == "info" else settings.log_level
    logs.configure(level, settings.log_format, secrets_of(settings))
    manager = build_manager(settings)
    try:
        yield manager
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await manager.stop()


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Runs one coroutine to its end; Ctrl-C cancels it.

    Unlike `asyncio.run` it does not wait for the threads of the executor: one may be stuck in a call
    to a frozen server.
    """
    runner = asyncio.Runner()
    try:
        return runner.run(work)
    finally:
        loop = runner.get_loop()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=1.0))
        asyncio.set_event_loop(None)
        loop.close()


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def results() -> Console:
    """A console for results: stdout, as wide as its terminal."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _WIDE)
