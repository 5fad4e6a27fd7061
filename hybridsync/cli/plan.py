"""`hybridsync plan`: what start-up would decide, why, and what a full sync would do. Nothing is written."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import typer
from rich.table import Table
from rich.text import Text

from hybridsync.cli.session import manager_for, print_json, results, run_async, settings_for_resources
from hybridsync.decision import Decision
from hybridsync.health_json import decision_json, one_line
from hybridsync.preview import Preview
from hybridsync.settings import Settings

Planned: TypeAlias = dict[str, tuple[Decision, Preview]]


def plan(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print what start-up would decide for each resource, and what a full sync would do. Writes nothing."""
    settings = settings_for_resources()
    planned = run_async(_plan(settings))
    if as_json:
        print_json({"plan": {name: _json(*parts) for name, parts in planned.items()}})
        return
    results().print(_table(planned))
    for name, (_, changes) in planned.items():
        if changes.refused is not None:
            typer.echo(f"{name}: the sync would be refused: {one_line(changes.refused)}")
        if changes.error is not None:
            typer.echo(f"{name}: what a sync would do is not known: {one_line(changes.error)}")


async def _plan(settings: Settings) -> Planned:
    async with manager_for(settings) as manager:
        return await manager.plan()


def _json(decision: Decision, changes: Preview) -> dict[str, Any]:
    counts = {"insert": changes.insert, "update": changes.update, "delete": changes.delete}
    answer = {**decision_json(decision), "changes": None if changes.error is not None else counts}
    if changes.refused is not None:
        answer["refused"] = one_line(changes.refused)
    if changes.error is not None:
        answer["error"] = one_line(changes.error)
    return answer


def _table(planned: Planned) -> Table:
    table = Table("resource", "mode", "action", "reason", "blocking", "insert", "update", "delete", "detail", box=None)
    for name, (decision, changes) in planned.items():
        counts = ["?"] * 3 if changes.error is not None else [changes.insert, changes.update, changes.delete]
        words = [name, decision.mode, decision.action, decision.reason, "yes" if decision.blocking else "no"]
        table.add_row(*(Text(str(word)) for word in [*words, *counts, decision.detail]))
    return table
