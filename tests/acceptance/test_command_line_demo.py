"""`hybridsync demo` from outside: it shows a running mirror and leaves no process behind."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.acceptance.command import Running, hybridsync, running, until

START_SECONDS = 110.0
ANY_PORT = {"HTTP_PORT": "0", "LOG_FORMAT": "json"}


def processes_in(directory: Path) -> list[int]:
    """Processes that work in the directory, whatever they are called."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            here = process.joinpath("cwd").resolve(strict=True)
        except OSError:  # it has just ended, or belongs to somebody else
            continue
        if here == directory or directory in here.parents:
            found.append(int(process.name))
    return found


def wait_until_shown(demo: Running) -> None:
    def shown() -> bool:
        assert demo.process.poll() is None, "".join(demo.err)
        return any("Ctrl-C stops everything" in line for line in demo.out)

    until(shown, "the demo says what to try", START_SECONDS)


@pytest.mark.timeout(240)
def test_once_prints_the_status_stops_everything_and_is_0(tmp_path: Path) -> None:
    ended = hybridsync("demo", "--once", settings=ANY_PORT, cwd=tmp_path, seconds=200)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("ready ")
    assert "4 of 4 completed" in ended.stdout
    assert processes_in(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {".hybridsync"}


@pytest.mark.timeout(240)
def test_a_change_is_seen_to_arrive_and_ctrl_c_stops_everything(tmp_path: Path) -> None:
    with running("demo", settings=ANY_PORT, cwd=tmp_path) as demo:
        wait_until_shown(demo)
        changed = hybridsync("demo", "--set", "/flags/feature-001", '{"enabled": true}', cwd=tmp_path)
        foreign = hybridsync("demo", "--set", "/elsewhere/x", "1", cwd=tmp_path)
        code, _ = demo.stop(signal.SIGINT)

    assert changed.returncode == 0, changed.stderr
    assert "'enabled': True" in changed.stdout
    assert foreign.returncode == 2
    assert code == 0, "".join(demo.err)
    assert processes_in(tmp_path) == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_demo_that_is_ended_while_it_starts_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with running("demo", settings=ANY_PORT, cwd=tmp_path) as demo:
        until(lambda: len(processes_in(tmp_path)) > 2, "servers are starting", START_SECONDS)
        demo.stop(number)

    until(lambda: processes_in(tmp_path) == [], "nothing is left")
    assert (demo.process.returncode == 0) == (number == signal.SIGTERM)


def test_set_without_a_demo_says_how_to_start_one(tmp_path: Path) -> None:
    ended = hybridsync("demo", "--set", "/flags/x", "1", cwd=tmp_path)

    assert ended.returncode == 2
    assert ended.stderr.splitlines() == ["hybridsync: no demo runs in this directory: start one with 'hybridsync demo'"]


@pytest.mark.timeout(240)
def test_a_second_demo_in_the_same_directory_does_not_touch_the_first(tmp_path: Path) -> None:
    with running("demo", settings=ANY_PORT, cwd=tmp_path) as demo:
        wait_until_shown(demo)
        addresses = json.loads((tmp_path / ".hybridsync" / "demo.json").read_text())

        second = hybridsync("demo", "--once", settings=ANY_PORT, cwd=tmp_path)

        assert second.returncode == 2
        assert "in use" in second.stderr
        assert json.loads((tmp_path / ".hybridsync" / "demo.json").read_text()) == addresses
        assert demo.ask("/health/ready")[0] == 200
        demo.stop()
