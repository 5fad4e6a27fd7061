"""The verdict of `make soak`: what the quarters are, what counts as growth, and what is too little to tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.soak.verdict import FIGURES, Figure, Row, Sample, percentile, quarters, rows, table

MEMORY = Figure("resident memory", "MiB", 4)


def samples(value_at: Callable[[float], float], ended: int = 100) -> list[Sample]:
    return [Sample(float(at), value_at(at)) for at in range(ended + 1)]


def test_the_quarters_are_those_of_the_time_and_not_of_the_number_of_samples() -> None:
    crowded = [Sample(1.0, 1.0), *(Sample(2.0 + number / 100, 5.0) for number in range(1000)), Sample(99.0, 9.0)]

    first, last = quarters(crowded, 0.0, 100.0)

    assert (len(first), last) == (1001, [9.0])


def test_what_came_before_the_begin_is_not_counted() -> None:
    first, last = quarters(samples(lambda at: at), 20.0, 100.0)

    assert (first[0], first[-1], last[0], last[-1]) == (20, 39, 80, 100)


def test_a_quarter_without_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="too short"):
        quarters([Sample(1.0, 1.0)], 0.0, 100.0)
    with pytest.raises(ValueError, match="resident memory: "):
        rows({}, 0.0, 100.0)


@pytest.mark.parametrize(
    ("first", "last", "flat"),
    [
        (100.0, 100.0, True),
        (100.0, 110.0, True),
        (100.0, 110.5, False),
        (100.0, 20.0, True),
        (10.0, 14.0, True),
        (10.0, 14.5, False),
        (0.0, 4.0, True),
        (0.0, 5.0, False),
    ],
)
def test_flat_is_at_most_a_tenth_more_or_within_the_floor(first: float, last: float, flat: bool) -> None:
    assert Row(MEMORY, first, last, last).flat is flat


def test_growth_is_a_share_of_the_first_quarter() -> None:
    grown = [Row(MEMORY, *pair, 0.0).growth for pair in ((100.0, 125.0), (100.0, 50.0), (0.0, 0.0), (0.0, 1.0))]

    assert grown == [0.25, -0.5, 0.0, float("inf")]


def test_a_slow_leak_is_seen_and_a_single_peak_is_not() -> None:
    of_all = {figure.name: samples(lambda at: 50.0) for figure in FIGURES}
    leaking = of_all | {"resident memory": samples(lambda at: 100 + at / 2)}
    peak = of_all | {"resident memory": samples(lambda at: 900 if at == 95 else 100)}

    assert [row.figure.name for row in rows(leaking, 0.0, 100.0) if not row.flat] == ["resident memory"]
    assert all(row.flat for row in rows(peak, 0.0, 100.0))
    assert rows(peak, 0.0, 100.0)[0].most == 900


def test_one_more_connection_to_zookeeper_is_a_leak() -> None:
    of_all = {figure.name: samples(lambda at: 50.0) for figure in FIGURES}
    more = of_all | {"connections to ZooKeeper": samples(lambda at: 1.0 if at < 50 else 2.0)}

    assert [row.figure.name for row in rows(more, 0.0, 100.0) if not row.flat] == ["connections to ZooKeeper"]


def test_a_latency_may_grow_with_that_of_the_two_servers_alone() -> None:
    of_all = {figure.name: samples(lambda at: 50.0) for figure in FIGURES}
    slow_machine = of_all | {
        "both servers p50": samples(lambda at: 10.0 if at < 50 else 20.0),
        "propagation p50": samples(lambda at: 30.0 if at < 50 else 65.0),
    }
    slow_service = slow_machine | {"both servers p50": samples(lambda at: 20.0 if at < 50 else 10.0)}

    assert all(row.flat for row in rows(slow_machine, 0.0, 100.0))
    assert [row.figure.name for row in rows(slow_service, 0.0, 100.0) if not row.flat] == ["propagation p50"]


def test_percentiles_are_the_median_and_the_nearest_rank() -> None:
    values = [float(number) for number in range(1, 101)]

    assert [percentile(values, percent) for percent in (50, 95, 100)] == [50.5, 95.0, 100.0]


def test_the_table_says_what_grew() -> None:
    lines = table([Row(MEMORY, 100.0, 150.0, 160.0), Row(FIGURES[1], 9.0, 9.0, 10.0)]).splitlines()

    assert lines[1].split() == ["resident", "memory", "100.0", "MiB", "150.0", "MiB", "+50.0%", "160.0", "MiB", "GREW"]
    assert lines[2].split() == ["threads", "9.0", "9.0", "+0.0%", "10.0", "flat"]
