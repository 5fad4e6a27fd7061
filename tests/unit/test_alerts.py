"""The alerts in ops/: each fires on its cause and is silent when all is well; both files are the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.prometheus import promtool

OPS = Path(__file__).parents[2] / "ops"
RULES = OPS / "alerts.rules.yaml"
RUNBOOK = "docs/operations.md#"

TARGET = 'instance="h:3000", job="hybridsync"'
RESOURCE = f'{TARGET}, resource="services"'
MINUTES = 40

# Time in a promtool test begins at 0, so a timestamp that rises by 60 a minute is "now".
HEALTHY = {
    f"up{{{TARGET}}}": f"1x{MINUTES}",
    f'hybridsync_build_info{{{TARGET}, version="1", python="3"}}': f"1x{MINUTES}",
    f"hybridsync_ready{{{TARGET}}}": f"1x{MINUTES}",
    f"hybridsync_event_loop_lag_seconds{{{TARGET}}}": f"0.004x{MINUTES}",
    f"hybridsync_confirmed_timestamp_seconds{{{RESOURCE}}}": f"0+60x{MINUTES}",
    f"hybridsync_stale{{{RESOURCE}}}": f"0x{MINUTES}",
    f'hybridsync_resource_status{{{RESOURCE}, status="completed"}}': f"1x{MINUTES}",
    f'hybridsync_resource_status{{{RESOURCE}, status="failed"}}': f"0x{MINUTES}",
    f'hybridsync_resource_status{{{RESOURCE}, status="in_progress"}}': f"0x{MINUTES}",
    # a burst that is worked off, and a full sync that is seen by one scrape
    f"hybridsync_pending_changes{{{RESOURCE}}}": f"0x10 5000 300 0x{MINUTES - 12}",
    f'hybridsync_sync_progress_records{{{RESOURCE}, operation="read"}}': "_x5 700 stale",
    # a reconnect a few hours apart, and an old failure
    f"hybridsync_informer_reconnects_total{{{RESOURCE}}}": f"3x20 4x{MINUTES - 20}",
    f"hybridsync_session_expiries_total{{{RESOURCE}}}": f"1x{MINUTES}",
    f"hybridsync_failed_documents_total{{{RESOURCE}}}": f"2x{MINUTES}",
    f'hybridsync_exceptions{{{RESOURCE}, kind="unreadable"}}': f"0x{MINUTES}",
    f'hybridsync_exceptions{{{RESOURCE}, kind="refused"}}': f"0x{MINUTES}",
    f'hybridsync_exceptions{{{RESOURCE}, kind="invalid"}}': f"0x{MINUTES}",
    f'hybridsync_verify_drift_records{{{RESOURCE}, kind="missing"}}': f"0x{MINUTES}",
    f'hybridsync_verify_drift_records{{{RESOURCE}, kind="extra"}}': f"0x{MINUTES}",
    f'hybridsync_verify_drift_records{{{RESOURCE}, kind="different"}}': f"0x{MINUTES}",
    f"hybridsync_verify_failed{{{RESOURCE}}}": f"0x{MINUTES}",
}

NOTHING = {name: f"_x{MINUTES}" for name in HEALTHY}

CAUSES: dict[str, dict[str, str]] = {
    "HybridsyncDown": NOTHING
    | {
        f"up{{{TARGET}}}": f"1x5 0x{MINUTES - 5}",
        f'hybridsync_build_info{{{TARGET}, version="1", python="3"}}': "1x5 stale",
        # another instance lives, or they would all be absent
        'hybridsync_build_info{instance="other:3000", job="hybridsync"}': f"1x{MINUTES}",
    },
    "HybridsyncAbsent": NOTHING,
    "HybridsyncNotReady": {f"hybridsync_ready{{{TARGET}}}": f"1x5 0x{MINUTES}"},
    "HybridsyncNoProof": {f"hybridsync_confirmed_timestamp_seconds{{{RESOURCE}}}": f"0+60x10 600x{MINUTES}"},
    "HybridsyncSyncFailed": {
        f'hybridsync_resource_status{{{RESOURCE}, status="completed"}}': f"0x{MINUTES}",
        # it fails, and is tried again every two minutes
        f'hybridsync_resource_status{{{RESOURCE}, status="failed"}}': "0 1 " * (MINUTES // 2),
        f'hybridsync_resource_status{{{RESOURCE}, status="in_progress"}}': "1 0 " * (MINUTES // 2),
    },
    "HybridsyncStale": {f"hybridsync_stale{{{RESOURCE}}}": f"0x5 1x{MINUTES}"},
    "HybridsyncSyncStuck": {
        f'hybridsync_resource_status{{{RESOURCE}, status="completed"}}': f"0x{MINUTES}",
        f'hybridsync_resource_status{{{RESOURCE}, status="in_progress"}}': f"1x{MINUTES}",
        f'hybridsync_sync_progress_records{{{RESOURCE}, operation="read"}}': f"0+1000x10 10000x{MINUTES}",
        f'hybridsync_sync_progress_records{{{RESOURCE}, operation="inserted"}}': f"0+900x10 9000x{MINUTES}",
    },
    "HybridsyncPendingGrowing": {f"hybridsync_pending_changes{{{RESOURCE}}}": f"0+50x{MINUTES}"},
    "HybridsyncFlapping": {
        f"hybridsync_informer_reconnects_total{{{RESOURCE}}}": f"0+0.2x{MINUTES}",
        f"hybridsync_session_expiries_total{{{RESOURCE}}}": f"0+0.1x{MINUTES}",
    },
    "HybridsyncDrift": {f'hybridsync_verify_drift_records{{{RESOURCE}, kind="extra"}}': f"2x{MINUTES}"},
    "HybridsyncVerifyFailed": {f"hybridsync_verify_failed{{{RESOURCE}}}": f"1x{MINUTES}"},
    "HybridsyncEventLoopBlocked": {f"hybridsync_event_loop_lag_seconds{{{TARGET}}}": f"2.5x{MINUTES}"},
    "HybridsyncUnreadable": {f'hybridsync_exceptions{{{RESOURCE}, kind="unreadable"}}': f"1x{MINUTES}"},
    "HybridsyncRecordsRefused": {f'hybridsync_exceptions{{{RESOURCE}, kind="refused"}}': f"1x{MINUTES}"},
}

STILL_WELL: dict[str, dict[str, str]] = {
    "a sync that moves, however long": {
        f'hybridsync_resource_status{{{RESOURCE}, status="completed"}}': f"0x{MINUTES}",
        f'hybridsync_resource_status{{{RESOURCE}, status="in_progress"}}': f"1x{MINUTES}",
        f'hybridsync_sync_progress_records{{{RESOURCE}, operation="read"}}': f"10000x{MINUTES}",
        f'hybridsync_sync_progress_records{{{RESOURCE}, operation="inserted"}}': f"0+900x{MINUTES}",
    },
    "a sync that failed once and then succeeded": {
        f'hybridsync_resource_status{{{RESOURCE}, status="completed"}}': f"1x20 0 0 1x{MINUTES}",
        f'hybridsync_resource_status{{{RESOURCE}, status="failed"}}': f"0x20 1 0x{MINUTES}",
        f'hybridsync_resource_status{{{RESOURCE}, status="in_progress"}}': f"0x20 0 1 0x{MINUTES}",
    },
    "a restart": {f"hybridsync_ready{{{TARGET}}}": f"1x20 0x3 1x{MINUTES}", f"up{{{TARGET}}}": f"1x20 0 1x{MINUTES}"},
    "an instance that was taken away": NOTHING
    | {
        f"up{{{TARGET}}}": "1x20 stale",
        f'hybridsync_build_info{{{TARGET}, version="1", python="3"}}': "1x20 stale",
        'hybridsync_build_info{instance="other:3000", job="hybridsync"}': f"1x{MINUTES}",
    },
    "something else that is down": {'up{instance="db:1", job="db"}': f"0x{MINUTES}"},
    "many changes that are written as fast as they come": {
        f"hybridsync_pending_changes{{{RESOURCE}}}": "900 1100 " * (MINUTES // 2)
    },
}


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def expected(alert: str) -> list[dict[str, Any]]:
    """What promtool is to find firing: the labels that an alert of this kind has, and its texts filled in."""
    rule = alerts()[alert]
    known = {"instance": "h:3000", "job": "hybridsync", "resource": "services"}
    if alert == "HybridsyncAbsent":
        known = {}
    elif "resource" not in rule["annotations"]["summary"]:
        del known["resource"]
    texts = {
        name: re.sub(r"{{ \$labels\.(\w+) }}", lambda label: known[label[1]], text)
        for name, text in rule["annotations"].items()
    }
    return [{"exp_labels": known | rule["labels"], "exp_annotations": texts}]


def situation(series: dict[str, str], fires: str | None) -> dict[str, Any]:
    """A promtool test: at the end, and every few minutes on the way, nothing else fires."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in (HEALTHY | series).items()],
        "alert_rule_test": [
            {
                "eval_time": f"{minute}m",
                "alertname": alert,
                "exp_alerts": expected(alert) if alert == fires else [],
            }
            for alert in alerts()
            for minute in ((MINUTES - 1,) if alert == fires else range(0, MINUTES, 3))
        ],
    }


def run(tmp_path: Path, *situations: dict[str, Any]) -> str:
    file = tmp_path / "alerts.test.json"
    tests = {"rule_files": [str(RULES)], "evaluation_interval": "30s", "tests": list(situations)}
    file.write_text(json.dumps(tests))
    return promtool("test", "rules", str(file))


def test_every_alert_has_a_cause_below() -> None:
    assert set(CAUSES) == set(alerts())


@pytest.mark.parametrize("alert", CAUSES)
def test_an_alert_fires_on_its_cause_alone(alert: str, tmp_path: Path) -> None:
    assert "SUCCESS" in run(tmp_path, situation(CAUSES[alert], alert))


def test_nothing_fires_while_all_is_well(tmp_path: Path) -> None:
    said = run(tmp_path, situation({}, None), *(situation(series, None) for series in STILL_WELL.values()))
    assert "SUCCESS" in said


def test_documents_that_could_not_be_stored_are_refused_records_too(tmp_path: Path) -> None:
    series = {f"hybridsync_failed_documents_total{{{RESOURCE}}}": f"0x20 0+1x{MINUTES}"}
    assert "SUCCESS" in run(tmp_path, situation(series, "HybridsyncRecordsRefused"))


def test_each_alert_says_how_bad_what_and_where_to_read_on() -> None:
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["for"]
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == RUNBOOK + name.lower()


def test_promtool_has_nothing_to_say_about_the_rules() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


def test_the_operators_file_is_the_plain_one_below_spec() -> None:
    head, spec = (OPS / "alerts.yaml").read_text().split("spec:\n")
    groups = RULES.read_text()[RULES.read_text().index("groups:\n") :]
    assert spec == re.sub(r"(?m)^(?=.)", "  ", groups), "put the groups of alerts.rules.yaml, indented, below spec"
    assert yaml.safe_load(head)["kind"] == "PrometheusRule"
    assert yaml.safe_load(head)["apiVersion"] == "monitoring.coreos.com/v1"
