"""What a chaos run found, counted and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.faults.chaos.schedule import Episode, Kind

_MOST_LINES = 40


@dataclass(slots=True)
class Outcome:
    """One episode. `seconds`: from the end of the faults until in sync; `None` when that never came.

    `unnoticed`, `excused`: promises that were wrong about something and were allowed to be, see `Allowances`;
    `longest_unnoticed`: in seconds. `log`: what the services wrote, kept when something was found.
    """

    episode: Episode
    changes: int = 0
    answers: int = 0
    promises: int = 0
    unnoticed: int = 0
    excused: int = 0
    longest_unnoticed: float = 0.0
    seconds: float | None = None
    lost: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)
    stale_claims: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def compared(self, differences: Sequence[str]) -> None:
        """Sorts what the comparison says: an old value is a lost change."""
        for line in differences:
            (self.phantom if line.startswith("not at the source") else self.lost).append(line)

    @property
    def findings(self) -> list[str]:
        """Everything that is wrong, one line each."""
        late = [] if self.seconds is not None else ["it did not come back in sync"]
        named = (("lost", self.lost), ("phantom", self.phantom), ("claim", self.stale_claims), ("crash", self.crashes))
        return late + [f"{name}: {line}" for name, lines in named for line in lines]


@dataclass(slots=True)
class Report:
    """All episodes of one run. `kinds`: every fault that may come."""

    pair: str
    seed: int
    kinds: Sequence[Kind]
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong in any episode, and something was looked at."""
        return bool(self.outcomes) and not any(outcome.findings for outcome in self.outcomes)

    @property
    def faults(self) -> Counter[Kind]:
        """How often each kind came."""
        return Counter(kind for one in self.outcomes for step in one.episode.steps for kind in step.kinds)

    def text(self) -> str:
        """For people and for a file."""
        done = self.outcomes
        times = sorted(outcome.seconds for outcome in done if outcome.seconds is not None)
        rows = [
            ("pair", self.pair),
            ("seed", self.seed),
            ("episodes", len(done)),
            ("faults", sum(self.faults.values())),
            ("changes made", sum(outcome.changes for outcome in done)),
            ("answers checked", sum(outcome.answers for outcome in done)),
            ("promises compared with the mirror", sum(outcome.promises for outcome in done)),
            ("of them about what was not noticed so far", sum(outcome.unnoticed for outcome in done)),
            ("of them about what is named, or left to a comparison", sum(outcome.excused for outcome in done)),
            ("longest until noticed", f"{max((outcome.longest_unnoticed for outcome in done), default=0.0):.2f} s"),
            ("lost", sum(len(outcome.lost) for outcome in done)),
            ("phantom", sum(len(outcome.phantom) for outcome in done)),
            ("stale claims", sum(len(outcome.stale_claims) for outcome in done)),
            ("crashes", sum(len(outcome.crashes) for outcome in done)),
            ("episodes that did not converge", sum(outcome.seconds is None for outcome in done)),
            ("time to converge p50", _seconds(times, 0.50)),
            ("time to converge p99", _seconds(times, 0.99)),
        ]
        lines = [f"# Chaos run of {self.pair}, seed {self.seed}", "", "| what | |", "| --- | --- |"]
        lines += [f"| {name} | {value} |" for name, value in rows]
        lines += ["", "| fault | times |", "| --- | --- |"]
        lines += [f"| {kind} | {self.faults[kind]} |" for kind in self.kinds]
        for outcome in done:
            lines += _told(outcome)
        return "\n".join(lines) + "\n"


Enough = Callable[[Report], bool]
"""Whether a run may end."""


def _told(outcome: Outcome) -> list[str]:
    """An episode that went wrong, with its steps."""
    if not outcome.findings:
        return []
    steps = [f"- {step}" for step in outcome.episode.steps]
    found = outcome.findings[:_MOST_LINES]
    return ["", f"## Episode {outcome.episode.number} went wrong", "", *steps, "", *(f"- {line}" for line in found)]


def _seconds(times: Sequence[float], share: float) -> str:
    return f"{times[min(len(times) - 1, int(len(times) * share))]:.2f} s" if times else "-"
