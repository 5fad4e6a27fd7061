"""`hybridsync verify`: source and mirror compared record by record."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from hybridsync.cli.session import known_names, manager_for, print_json, results, run_async, settings_for_resources
from hybridsync.health_json import one_line
from hybridsync.settings import Settings
from hybridsync.verify import VerifyReport


def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Resources; all when none.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Make good what differs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare source and mirror record by record. Exit code 1 when they differ and that was not made good."""
    settings = settings_for_resources()
    reports = run_async(_verify(settings, known_names(settings, names), repair))
    if as_json:
        print_json({"results": {name: _report_json(report) for name, report in reports.items()}})
    else:
        _print(reports)
    if any(report.error is not None or _left(report) for report in reports.values()):
        raise typer.Exit(1)


async def _verify(settings: Settings, names: list[str], repair: bool) -> dict[str, VerifyReport]:
    async with manager_for(settings) as manager:
        return await manager.verify(names, repair)


def _left(report: VerifyReport) -> int:
    """How many records still differ."""
    return report.drift - report.repaired


def _report_json(report: VerifyReport) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "compared": report.compared,
        "missing": report.missing,
        "extra": report.extra,
        "different": report.different,
        "repaired": report.repaired,
        "unreadable": report.unreadable,
        "samples": report.samples,
    }
    if report.error is not None:
        answer["error"] = one_line(report.error)
    return answer


def _print(reports: dict[str, VerifyReport]) -> None:
    table = Table("resource", "result", "compared", "missing", "extra", "different", "repaired", "unreadable", box=None)
    for name, report in reports.items():
        counts = (
            *(report.compared, report.missing, report.extra, report.different),
            *(report.repaired, report.unreadable),
        )
        table.add_row(*(Text(word) for word in (name, _word(report), *map(str, counts))))
    results().print(table)
    for name, report in reports.items():
        if report.error is not None:
            typer.echo(f"{name}: {one_line(report.error)}")
        for kind, keys in report.samples.items():
            for key in keys:
                typer.echo(f"{name}: {kind}: {key}")


def _word(report: VerifyReport) -> str:
    if report.error is not None:
        return "failed"
    if not report.drift:
        return "equal"
    return "drift" if _left(report) else "repaired"
