"""What a short run has to have been, for the tests of each pair."""

from __future__ import annotations

from tests.faults.chaos.report import Report


def assert_clean(report: Report, episodes: int, hint: str = "") -> None:
    """So many episodes with every kind of fault, changes and promises in all, and nothing wrong. `hint`: what to do."""
    logs = [line for outcome in report.outcomes for line in outcome.log[-40:]]
    assert report.clean, "\n".join([hint, report.text(), *logs])
    assert len(report.outcomes) == episodes
    assert report.faults.keys() == set(report.kinds), f"of seed {report.seed} not every kind came"
    assert sum(outcome.promises for outcome in report.outcomes) > 0, "nothing was promised, so nothing was checked"
    assert all(outcome.changes > 20 for outcome in report.outcomes)
