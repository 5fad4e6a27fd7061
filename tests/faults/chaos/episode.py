"""One episode: its faults, then rest, then the comparison of every record. And a run of many."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.faults.chaos.faults import Faults, S
from tests.faults.chaos.report import Outcome, Report
from tests.faults.chaos.schedule import EPISODE_STEPS, Episode, Step, episodes
from tests.faults.chaos.stage import Stage
from tests.faults.service_scene import now

CONVERGE_SECONDS = 120.0

Told = Callable[[str], None]


def run(
    stage: S,
    faults: Faults[S],
    seed: int,
    *,
    enough: Callable[[Report], bool],
    tell: Told,
    steps: int = EPISODE_STEPS,
    before_comparison: Callable[[S], None] = lambda _: None,
) -> Report:
    """Episodes of a seed until `enough`, or until one does not converge. `tell` gets a line for each.

    `before_comparison` is called at rest, to plant what the comparison has to find.
    """
    kinds = list(faults)
    report = Report(stage.pair, seed, kinds)
    with stage:
        for episode in episodes(seed, kinds, steps):
            try:
                outcome = _play(stage, faults, episode, before_comparison)
            except Exception as error:
                error.add_note(f"seed {seed}, episode {episode.number}: {'; '.join(map(str, episode.steps))}")
                raise
            report.outcomes.append(outcome)
            tell(_line(outcome))
            if outcome.seconds is None or enough(report):
                break
            if outcome.findings:
                _heal(stage)
    return report


def _play(stage: S, faults: Faults[S], episode: Episode, before_comparison: Callable[[S], None]) -> Outcome:
    outcome = Outcome(episode)
    before = stage.scene.journal.writes
    answers, promises, unnoticed, excused = stage.answers, stage.promises, stage.unnoticed, stage.excused
    stage.writer.reseed(episode.seed)
    for step in episode.steps:
        stage.hold(step.rest)
        _do(stage, faults, step)
    stage.calm_down()
    _compare(stage, outcome, before_comparison)
    stage.renew_recorder()
    outcome.changes = stage.scene.journal.writes - before
    outcome.answers, outcome.promises = stage.answers - answers, stage.promises - promises
    outcome.unnoticed, outcome.excused = stage.unnoticed - unnoticed, stage.excused - excused
    outcome.longest_unnoticed, stage.longest_unnoticed = stage.longest_unnoticed, 0.0
    outcome.stale_claims, stage.claims = stage.claims, []
    outcome.crashes, stage.crashes = [*stage.crashes, *stage.writer.errors], []
    log, stage.log = stage.log, []
    if outcome.findings:
        outcome.log = log
    return outcome


def _do(stage: S, faults: Faults[S], step: Step) -> None:
    with faults[step.kind](stage, step):
        stage.hold(step.seconds)
        if step.within is not None:
            _do(stage, faults, step.within)
            stage.hold(step.seconds / 2)


def _compare(stage: S, outcome: Outcome, before_comparison: Callable[[S], None]) -> None:
    """In step while the writer goes on, then equal at rest.

    Where an outsider did what only a comparison finds, the service makes one in between.
    """
    started = time.monotonic()
    try:
        stage.wait_in_sync(CONVERGE_SECONDS)
        seconds = time.monotonic() - started
        if stage.allowances.awaits_comparison:
            stage.wait_compared(CONVERGE_SECONDS)
    except AssertionError as error:
        stage.crashes.append(str(error))
        return
    outcome.seconds = seconds
    with stage.writer.held():
        resolved = now()
        stage.wait_in_sync(CONVERGE_SECONDS)
        before_comparison(stage)
        found = stage.differences()
        left = stage.allowances.unnoticed_seconds
        if found and left > 0:  # what it says may still rest on what was there before
            threading.Event().wait(left)
            stage.wait_in_sync(CONVERGE_SECONDS)
            found = stage.differences()
        outcome.compared(found)
    stage.scene.journal.forget_before(resolved)


def _heal(stage: Stage) -> None:
    """What is wrong counts in one episode only."""
    stage.scene.service.post("/health/sync/trigger", {"wait": True}, seconds=CONVERGE_SECONDS)


def _line(outcome: Outcome) -> str:
    took = "did not converge" if outcome.seconds is None else f"converged in {outcome.seconds:.2f} s"
    found = f", {len(outcome.findings)} FINDINGS" if outcome.findings else ""
    steps = "; ".join(" + ".join(map(str, step.kinds)) for step in outcome.episode.steps)
    return f"episode {outcome.episode.number}: {outcome.changes} changes, {took}{found}: {steps}"
