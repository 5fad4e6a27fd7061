"""`hybridsync plan`: what start-up would decide, and why."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from hybridsync.cli.session import manager_for, print_json, results, run_async, settings_for_resources
from hybridsync.decision import Decision
from hybridsync.health_json import decision_json
from hybridsync.settings import Settings


def plan(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print what start-up would decide for each resource, and why. Writes nothing."""
    settings = settings_for_resources()
    decisions = run_async(_plan(settings))
    if as_json:
        print_json({"plan": {name: decision_json(decision) for name, decision in decisions.items()}})
    else:
        results().print(_table(decisions))


async def _plan(settings: Settings) -> dict[str, Decision]:
    async with manager_for(settings) as manager:
        return await manager.plan()


def _table(decisions: dict[str, Decision]) -> Table:
    table = Table("resource", "mode", "action", "reason", "detail", box=None)
    for name, decision in decisions.items():
        words = (name, decision.mode.value, decision.action.value, decision.reason.value, decision.detail)
        table.add_row(*(Text(word) for word in words))
    return table
