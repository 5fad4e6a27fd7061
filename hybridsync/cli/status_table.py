"""The table of a running service, made from the JSON of `GET /health/sync`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

_COLOURS = {"completed": "green", "in_progress": "cyan", "failed": "red", "never": "yellow"}


def status_table(report: dict[str, Any], now: datetime | None = None) -> Group:
    """The whole picture: one line on the service, one row a resource, one line an error."""
    moment = now or datetime.now(UTC)
    table = Table(
        "resource", "status", "in sync", "informer", "records", "last sync", "took", "confirmed", "pending", box=None
    )
    lines: list[Text] = []
    for resource in report["sync"]:
        table.add_row(*_row(resource, moment))
        lines += [Text(f"{resource['resourceType']}: {remark}", style="yellow") for remark in _remarks(resource)]
    return Group(_headline(report), table, *lines)


def _headline(report: dict[str, Any]) -> Text:
    summary = report["summary"]
    counts = [f"{summary['completed']} of {summary['total']} completed"]
    counts += [f"{summary[key]} {word}" for key, word in _OTHERS if summary[key]]
    ready = report["ready"]
    text = Text("ready" if ready else "not ready", style="bold green" if ready else "bold red")
    return text.append(f"  {report['instance']}  {', '.join(counts)}", style="default")


_OTHERS = (("inProgress", "in progress"), ("failed", "failed"), ("never", "never synced"), ("stale", "stale"))


def _row(resource: dict[str, Any], now: datetime) -> list[Text]:
    status = resource["status"]
    progress = resource["progress"]
    records = resource["lastSyncCount"] if progress is None else progress["read"]
    age = _ago(resource["lastSyncTime"], now) + (", stale" if resource["isStale"] and resource["lastSyncTime"] else "")
    in_sync = resource["inSync"]
    return [
        Text(resource["resourceType"]),
        Text(status, style=_COLOURS.get(status, "")),
        Text("yes" if in_sync else "no", style="green" if in_sync else "yellow"),
        Text(resource["informer"]["state"]),
        Text("-" if records is None else f"{records:,}", justify="right"),
        Text(age),
        Text("-" if resource["lastSyncDuration"] is None else f"{resource['lastSyncDuration']:.2f} s"),
        Text(_ago(resource["confirmedAt"], now)),
        Text(f"{resource['informer']['pending']:,}", justify="right"),
    ]


_EXCEPTIONS = (
    ("unreadable", "subtrees that may not be read"),
    ("refused", "records that could not be stored"),
    ("invalid", "records that break the rules"),
)


def _remarks(resource: dict[str, Any]) -> list[str]:
    remarks = []
    if resource["error"]:
        remarks.append(resource["error"])
    if resource["gapSince"]:
        remarks.append(f"changes may be missing since {resource['gapSince']}")
    exceptions = resource.get("exceptions") or {"first": []}
    for kind, what in _EXCEPTIONS:
        if exceptions.get(kind):
            first = [f", such as {one['key']}: {one['why']}" for one in exceptions["first"] if one["kind"] == kind]
            remarks.append(f"{what}: {exceptions[kind]}{''.join(first[:1])}")
    remarks += _of_verify(resource.get("lastVerify") or {})  # a service of an earlier version tells nothing of it
    return remarks


def _of_verify(last: dict[str, Any]) -> list[str]:
    """What the last periodic check found, when it is worth a line."""
    remarks = [f"the last check against the source failed: {last['error']}"] if last.get("error") else []
    found = [f"{last[kind]} {kind}" for kind in ("missing", "extra", "different") if last.get(kind)]
    if found:
        remarks.append(f"the last check found {', '.join(found)}; repaired: {last['repaired']}")
    return remarks


def _ago(moment: str | None, now: datetime) -> str:
    if moment is None:
        return "-"
    age = max(0.0, (now - datetime.fromisoformat(moment)).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if age >= 2 * size:
            return f"{age / size:.0f} {unit} ago"
    return f"{age:.1f} s ago" if age < 10 else f"{age:.0f} s ago"
