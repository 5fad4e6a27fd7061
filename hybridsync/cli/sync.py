"""`hybridsync sync`: one full sync and exit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from hybridsync.cli.session import known_names, manager_for, print_json, results, run_async, settings_for_resources
from hybridsync.health_json import one_line, result_json
from hybridsync.settings import Settings
from hybridsync.status import ResourceStatus, SyncResult


def sync(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Resources; all when none.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring the mirrors in step with one full sync each, and exit. Exit code 1 when one failed."""
    settings = settings_for_resources()
    chosen = known_names(settings, names)
    outcome = run_async(_sync(settings, chosen))
    if as_json:
        print_json({"results": {name: result_json(result) for name, result in outcome.items()}})
    else:
        results().print(_table(outcome))
    if any(result.error is not None for result in outcome.values()):
        raise typer.Exit(1)


async def _sync(settings: Settings, names: list[str]) -> dict[str, SyncResult]:
    # on stderr, and on a terminal only: stdout is for results
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[written]} written"),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    async with manager_for(settings) as manager:
        with bar:
            return await manager.sync_once(names, _follow(bar, names))


def _follow(bar: Progress, names: list[str]) -> Callable[[ResourceStatus], None]:
    tasks: dict[str, TaskID] = {name: bar.add_task(name, total=None, written=0) for name in names}

    def show(status: ResourceStatus) -> None:
        now = status.progress
        if now is not None and status.name in tasks:
            written = now.inserted + now.updated + now.deleted
            bar.update(tasks[status.name], completed=now.read, total=now.total, written=written)

    return show


def _table(outcome: dict[str, SyncResult]) -> Table:
    table = Table(
        "resource", "result", "read", "inserted", "updated", "deleted", "unchanged", "seconds", "remarks", box=None
    )
    for name, result in outcome.items():
        counts = (result.read, result.inserted, result.updated, result.deleted, result.unchanged)
        words = [name, "failed" if result.error else "completed", *map(str, counts), f"{result.duration_seconds:.2f}"]
        table.add_row(*(Text(word) for word in [*words, _remarks(result)]))
    return table


def _remarks(result: SyncResult) -> str:
    remarks = [one_line(result.error) or ""] if result.error else []
    if result.unreadable_count:
        remarks.append(f"{result.unreadable_count} unreadable and kept: {', '.join(result.unreadable)}")
    if result.failed_documents:
        remarks.append(f"{result.failed_documents} not stored: {'; '.join(result.failed_samples)}")
    return "; ".join(remarks)
