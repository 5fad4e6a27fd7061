"""Names of metrics: those in the alerts, in the dashboard and in docs/operations.md are those of the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from hybridsync.metrics import Metrics
from hybridsync.status import Progress, VerifyOutcome
from tests.prometheus import promtool
from tests.unit.fake_manager import FakeManager, a_result, a_status, as_manager, at

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "ops" / "grafana-dashboard.json").read_text())
RULES = yaml.safe_load((ROOT / "ops" / "alerts.rules.yaml").read_text())
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

OURS = re.compile(r"\bhybridsync_\w+")
VARIABLES = {"job", "instance", "resource"}
BY_PROMETHEUS = {"job", "instance", "le"}


def families() -> list[Metric]:
    """Every family of the code, each with a series, as Prometheus reads them."""
    fake = FakeManager()
    fake.shown = [a_status(gap_since=at(3), progress=Progress(), last_verify=VerifyOutcome(finished_at=at(9)))]
    metrics = Metrics(as_manager(fake))
    fake.sync_listeners[0]("services", a_result())
    metrics.timed("/health/live", _nobody)
    text = metrics.render("")[0].decode()
    found = [family for family in text_string_to_metric_families(text) if family.name.startswith("hybridsync_")]
    return [family for family in found if not family.name.endswith("_created")]


async def _nobody(request: object) -> Any:
    raise AssertionError(request)


def labels_by_name() -> dict[str, set[str]]:
    """Name of a series → the labels it has in the code."""
    return {sample.name: set(sample.labels) for family in families() for sample in family.samples}


def queries() -> Iterator[tuple[str, str]]:
    """Where a query is, and the query."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"]
    for group in RULES["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]


def selected(query: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric of ours in a query with the labels it is selected by."""
    for name, _, selector in re.findall(r"\b(hybridsync_\w+)({([^}]*)})?", query):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!=|=)", selector))


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_a_query_names_only_metrics_and_labels_that_exist(where: str, query: str) -> None:
    known = labels_by_name()
    for name, labels in selected(query):
        assert name in known, where
        assert labels <= known[name] | BY_PROMETHEUS, where
    for clause in re.findall(r"\b(?:by|without|on|ignoring) \(([^)]*)\)", query):
        everything = set().union(*known.values()) | BY_PROMETHEUS
        assert set(re.findall(r"\w+", clause)) <= everything, where


def test_every_query_of_the_dashboard_is_one_that_prometheus_understands(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:number_{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, (_, query) in enumerate(queries())
    ]
    file = tmp_path / "queries.json"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


def test_the_dashboard_asks_for_every_family_that_says_how_things_are() -> None:
    asked = {name for _, query in queries() for name, _ in selected(query)}
    # information that has no place in a graph, and what another panel tells in other words
    left_out = {
        "hybridsync_decision_info",
        "hybridsync_informer_state",
        "hybridsync_sync_elapsed_seconds",
        "hybridsync_verify_compared_records",
        "hybridsync_verify_timestamp_seconds",
    }
    known = {family.name: {sample.name for sample in family.samples} for family in families()}
    assert {name for name, series in known.items() if not series & asked} == left_out


def test_the_variables_of_the_dashboard_are_those_its_queries_use() -> None:
    defined = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", " ".join(panel_query for where, panel_query in queries() if "panel" in where)))
    assert used - {"__rate_interval"} == VARIABLES
    assert defined == VARIABLES | {"datasource"}


def test_panels_have_their_own_ids_and_places() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(squares)) == len(squares)
    assert max(x for x, _ in squares) < 24


def test_the_page_lists_every_metric_with_its_type_and_labels() -> None:
    rows = {
        (name, kind, labels)
        for name, kind, labels in re.findall(r"(?m)^\| `(hybridsync_\w+)` \| (\w+) \| ([^|]*) \|", PAGE)
    }
    expected = set()
    for family in families():
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = sorted(set().union(*(sample.labels for sample in family.samples)) - {"le"})
        expected.add((name, family.type, ", ".join(f"`{label}`" for label in labels)))
    assert rows == expected


def test_each_alert_has_its_entry_in_the_runbook_and_each_entry_its_alert() -> None:
    alerts = [rule["alert"] for group in RULES["groups"] for rule in group["rules"]]
    section = PAGE.split("\n## Alerts\n", 1)[1].split("\n## ", 1)[0]
    assert re.findall(r"(?m)^### (\w+)$", section) == alerts
    for entry in section.split("\n### ")[1:]:
        assert re.findall(r"(?m)^\*\*(.+?)\*\*", entry) == ["Means.", "Look at.", "Do."], entry.splitlines()[0]
        assert set(OURS.findall(entry)) <= {*labels_by_name(), *(family.name for family in families())}
