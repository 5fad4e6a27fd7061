"""The arithmetic of a soak: samples over time, their first quarter against their last, and the verdict. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

TOLERANCE = 0.10
"""The last quarter may lie this much above the first."""


class Sample(NamedTuple):
    """One figure at one moment, in seconds since the soak began."""

    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Figure:
    """What is sampled. `floor`: a growth up to this, in `unit`, is never held against a figure that is small.

    `percent`: which percentile of a quarter counts; 50 for what is read from time to time, more for latencies.
    `yardstick`: the figure that tells how much slower the machine itself became, for a figure that suffers from it.
    `judged`: whether it can fail the soak.
    """

    name: str
    unit: str
    floor: float
    percent: float = 50
    yardstick: str | None = None
    judged: bool = True


FIGURES = (
    Figure("resident memory", "MiB", 4),
    Figure("threads", "", 1),
    Figure("file descriptors", "", 2),
    Figure("connections to ZooKeeper", "", 0),
    Figure("connections to MongoDB", "", 2),
    Figure("both servers p50", "ms", 0, judged=False),
    Figure("both servers p95", "ms", 0, percent=95, judged=False),
    Figure("propagation p50", "ms", 5, yardstick="both servers p50"),
    Figure("propagation p95", "ms", 25, percent=95, yardstick="both servers p95"),
    Figure("probe p50", "ms", 3, yardstick="both servers p50"),
    Figure("probe p95", "ms", 25, percent=95, yardstick="both servers p95"),
)
"""Floors are what a machine does by itself: a pool of connections or threads that opens one more, one batch of
the allocator, a slice of the scheduler. `both servers` is one `set` in ZooKeeper and one `find_one` in MongoDB
without the service in between."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure's first and last quarter. `slower`: how many times slower the machine became meanwhile, 1 or more."""

    figure: Figure
    first: float
    last: float
    most: float
    slower: float = 1.0

    @property
    def growth(self) -> float:
        """How much larger the last quarter is, as a share of the first; negative when it is smaller."""
        if self.first == 0:
            return 0.0 if self.last <= 0 else math.inf
        return self.last / self.first - 1

    @property
    def flat(self) -> bool:
        """Whether it grew by at most `TOLERANCE`, or by no more than the floor, on top of what the machine did."""
        expected = self.first * self.slower
        return not self.figure.judged or self.last <= max(expected * (1 + TOLERANCE), expected + self.figure.floor)


def percentile(values: Sequence[float], percent: float) -> float:
    """The median, or the smallest value that at least `percent` of all are not larger than (nearest rank)."""
    if percent == 50:
        return median(values)
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def quarters(samples: Sequence[Sample], began: float, ended: float) -> tuple[list[float], list[float]]:
    """The values of the first and of the last quarter of the time from `began` to `ended`.

    Raises `ValueError` when one of them is empty: then there is nothing to compare.
    """
    quarter = (ended - began) / 4
    first = [sample.value for sample in samples if began <= sample.at < began + quarter]
    last = [sample.value for sample in samples if ended - quarter <= sample.at <= ended]
    if not first or not last:
        raise ValueError("the soak was too short: a quarter of it has no samples")
    return first, last


def rows(samples: Mapping[str, Sequence[Sample]], began: float, ended: float) -> list[Row]:
    """One row a figure, in the order of `FIGURES`. Raises `ValueError` like `quarters`, with the figure's name."""
    found: dict[str, Row] = {}
    for figure in FIGURES:
        try:
            first, last = quarters(samples.get(figure.name, ()), began, ended)
        except ValueError as error:
            raise ValueError(f"{figure.name}: {error}") from None
        values = [percentile(quarter, figure.percent) for quarter in (first, last)]
        most = max(sample.value for sample in samples[figure.name] if began <= sample.at <= ended)
        machine = found.get(figure.yardstick or "")
        slower = 1.0 if machine is None or machine.first == 0 else max(1.0, machine.last / machine.first)
        found[figure.name] = Row(figure, values[0], values[1], most, slower)
    return list(found.values())


def table(found: Sequence[Row]) -> str:
    """The rows for a terminal."""
    lines = [f"{'':<26} {'first quarter':>14} {'last quarter':>14} {'growth':>8} {'most':>10}"]
    for row in found:
        unit = f" {row.figure.unit}" if row.figure.unit else ""
        first, last, most = (f"{value:.1f}{unit}" for value in (row.first, row.last, row.most))
        verdict = "" if not row.figure.judged else "flat" if row.flat else "GREW"
        lines.append(f"{row.figure.name:<26} {first:>14} {last:>14} {row.growth:>+8.1%} {most:>10}  {verdict}".rstrip())
    return "\n".join(lines)
