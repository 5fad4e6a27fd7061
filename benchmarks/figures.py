"""What a benchmark found, as plain data: medians, ranges, ratios, and whether a target is met."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True)
class Figure:
    """Some measurements of one thing; the median counts. `unit` is `s`, `ms`, `MB` or empty."""

    what: str
    values: Sequence[float]
    unit: str = "s"

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.values)

    @property
    def text(self) -> str:
        """The median with its unit."""
        return _with_unit(self.median, self.unit)

    @property
    def range(self) -> str:
        """The smallest and the largest, when there are several."""
        if len(self.values) < 2:
            return "one"
        return f"{number(min(self.values))} … {number(max(self.values))}"


@dataclass(frozen=True, slots=True)
class Claim:
    """What must be reached. `met` is `None` for what is only told."""

    what: str
    target: str
    measured: str
    met: bool | None


@dataclass(slots=True)
class Outcome:
    """Everything one benchmark found. Ratios are told against the first figure."""

    name: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def place(self) -> tuple[str, int]:
        """Where it stands among others: by letter, then by number."""
        return self.name[0], int(self.name[1:])

    def at_most(self, what: str, value: float, limit: float, unit: str = "") -> None:
        """A claim that holds when `value` is not larger than `limit`."""
        self.claims.append(Claim(what, f"≤ {_with_unit(limit, unit)}", _with_unit(value, unit), value <= limit))

    def at_least(self, what: str, value: float, limit: float, unit: str = "") -> None:
        """A claim that holds when `value` is not smaller than `limit`."""
        self.claims.append(Claim(what, f"≥ {_with_unit(limit, unit)}", _with_unit(value, unit), value >= limit))

    def told(self, what: str, value: float, unit: str = "") -> None:
        """A figure without a target."""
        self.claims.append(Claim(what, "", _with_unit(value, unit), None))

    @property
    def text(self) -> str:
        """For a terminal."""
        lines = [f"{self.name}: {self.title}"]
        first = self.figures[0] if self.figures else None
        for figure in self.figures:
            compared = first is not None and figure.unit == first.unit and figure is not first
            ratio = f"x {number(figure.median / first.median)}" if compared and first is not None else ""
            lines.append(f"  {figure.what:<52} {figure.text:>10}  ({figure.range})  {ratio}")
        for claim in self.claims:
            met = "" if claim.met is None else "met" if claim.met else "NOT MET"
            lines.append(f"  {claim.what:<52} {claim.measured:>10}  {claim.target:<10} {met}")
        return "\n".join([*lines, *(f"  {remark}" for remark in self.remarks)])


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all are not larger than (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def number(value: float) -> str:
    """Three significant digits, no exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _with_unit(value: float, unit: str) -> str:
    return f"{number(value)} {unit}".rstrip()
