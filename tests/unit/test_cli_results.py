"""What the one-shot commands print and how they end, for known outcomes; no server needed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from hybridsync import wiring
from hybridsync.cli.main import app
from hybridsync.decision import Action, Decision, Mode, Reason
from hybridsync.errors import SinkUnavailable
from hybridsync.preview import Preview
from hybridsync.status import ResourceStatus, SyncResult
from hybridsync.verify import VerifyReport
from tests.unit.fake_manager import FakeManager, a_result


class OneShotManager(FakeManager):
    """Knows its outcomes beforehand."""

    def __init__(self) -> None:
        super().__init__("services", "flags")
        self.asked: list[str] = []
        self.outcome: dict[str, SyncResult] = {name: a_result() for name in self.resource_names}
        self.reports: dict[str, VerifyReport] = {name: VerifyReport(compared=5) for name in self.resource_names}
        self.unreachable = False

    async def plan(self) -> dict[str, tuple[Decision, Preview]]:
        if self.unreachable:
            raise SinkUnavailable("MongoDB at db:27017/x: no answer\nwithin 5 s")
        made = Decision(Mode.AUTO, Action.SKIP, Reason.FRESH, "because")
        return {
            "services": (made, Preview(1, 2, 3)),
            "flags": (made, Preview(0, 0, 61, refused="the root\nis not there")),
        }

    async def sync_once(
        self, names: Sequence[str], on_progress: Callable[[ResourceStatus], None]
    ) -> dict[str, SyncResult]:
        self.asked = list(names)
        for status in self.shown:
            on_progress(status)
        return {name: self.outcome[name] for name in names}

    async def verify(self, names: Sequence[str], repair: bool) -> dict[str, VerifyReport]:
        self.asked = list(names)
        return {name: self.reports[name] for name in names}


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[OneShotManager]:
    for name in ("services", "flags"):
        monkeypatch.setenv(f"HYBRIDSYNC_RESOURCES__{name.upper()}__SOURCE__PATH", f"/{name}")
        monkeypatch.setenv(f"HYBRIDSYNC_RESOURCES__{name.upper()}__SOURCE__TYPE", "zookeeper")
    manager = OneShotManager()
    monkeypatch.setattr(wiring, "build_manager", lambda _: manager)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield manager
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_plan_as_a_table_and_as_json(manager: OneShotManager) -> None:
    table, document = run("plan"), run("plan", "--json")

    assert (table.exit_code, document.exit_code, manager.stopped) == (0, 0, True)
    assert table.stdout.splitlines()[1].split() == ["services", "auto", "skip", "fresh", "no", "1", "2", "3", "because"]
    assert table.stdout.splitlines()[3] == "flags: the sync would be refused: the root is not there"
    assert json.loads(document.stdout)["plan"]["flags"] == {
        "mode": "auto",
        "action": "skip",
        "reason": "fresh",
        "blocking": False,
        "detail": "because",
        "changes": {"insert": 0, "update": 0, "delete": 61},
        "refused": "the root is not there",
    }


def test_a_server_that_is_away_is_one_line_and_1_and_the_manager_is_closed(manager: OneShotManager) -> None:
    manager.unreachable = True

    ended = run("plan")

    assert (ended.exit_code, ended.stdout, manager.stopped) == (1, "", True)
    assert ended.stderr == "hybridsync: MongoDB at db:27017/x: no answer within 5 s\n"


def test_sync_takes_all_without_names_and_each_name_once(manager: OneShotManager) -> None:
    run("sync")
    everything = manager.asked
    run("sync", "flags", "flags")

    assert (everything, manager.asked) == (["services", "flags"], ["flags"])


def test_sync_is_1_when_one_failed_and_shows_both(manager: OneShotManager) -> None:
    manager.outcome["flags"] = a_result(error="listing [red]failed[/red]", unreadable_count=2, unreadable=("/flags/x",))

    table, document = run("sync"), run("sync", "--json")

    assert (table.exit_code, document.exit_code) == (1, 1)
    assert "listing [red]failed[/red]; 2 unreadable and kept: /flags/x" in table.stdout
    results = json.loads(document.stdout)["results"]
    assert ("error" in results["services"], results["flags"]["error"]) == (False, "listing [red]failed[/red]")


@pytest.mark.parametrize("command", ["sync", "verify"])
def test_every_unknown_name_is_a_line_and_2(manager: OneShotManager, command: str) -> None:
    ended = run(command, "services", "x", "y")

    assert (ended.exit_code, ended.stdout, manager.asked) == (2, "", [])
    assert ended.stderr.splitlines() == [
        "hybridsync: unknown resource 'x'; known: services, flags",
        "hybridsync: unknown resource 'y'; known: services, flags",
    ]


@pytest.mark.parametrize(
    ("report", "code", "word"),
    [
        (VerifyReport(compared=5), 0, "equal"),
        (VerifyReport(compared=5, missing=1, samples={"missing": ["/flags/a"]}), 1, "drift"),
        (VerifyReport(compared=5, missing=1, different=1, repaired=2), 0, "repaired"),
        (VerifyReport(compared=5, missing=1, different=1, repaired=1), 1, "drift"),
        (VerifyReport(error="ZooKeeper is away"), 1, "failed"),
    ],
)
def test_verify_ends_with_1_exactly_while_something_differs(
    manager: OneShotManager, report: VerifyReport, code: int, word: str
) -> None:
    manager.reports["flags"] = report

    table, document = run("verify"), run("verify", "--json")

    assert (table.exit_code, document.exit_code) == (code, code)
    assert f"flags     {word}" in table.stdout
    shown = json.loads(document.stdout)["results"]["flags"]
    assert (shown["missing"], shown["repaired"], shown.get("error")) == (report.missing, report.repaired, report.error)


def test_wrong_settings_are_a_line_each_and_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRIDSYNC_HTTP_PORT", "x")
    monkeypatch.setenv("HYBRIDSYNC_LOG_LEVEL", "loud")

    for command in ("plan", "sync", "verify", "status", "config"):
        ended = run(command)
        assert (ended.exit_code, ended.stdout) == (2, ""), command
        assert [line.split(":")[1].strip() for line in ended.stderr.splitlines()] == [
            "HYBRIDSYNC_HTTP_PORT",
            "HYBRIDSYNC_LOG_LEVEL",
        ]
