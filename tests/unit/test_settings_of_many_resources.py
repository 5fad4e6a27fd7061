"""Thousands of resources load, or are refused, with work that grows as they do. Steps are counted, not time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import pytest

from hybridsync.errors import ConfigurationError
from hybridsync.settings import load_settings, masked

FEW, MANY = 250, 1000
Environment = dict[str, str]


def steps(work: Callable[[], object]) -> int:
    """How many lines of Python run in `work`."""
    count = 0

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return line(frame, event, argument)

    before = sys.gettrace()
    sys.settrace(call)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def load(environ: Environment) -> int:
    """How many lines the user gets; 0 when everything is right."""
    try:
        masked(load_settings(environ).settings)
    except ConfigurationError as error:
        return len(error.problems)
    return 0


def as_json(resources: Mapping[str, object]) -> Environment:
    return {"HYBRIDSYNC_RESOURCES": json.dumps(resources)}


def mirror(path: str, collection: str = "", **source: object) -> dict[str, object]:
    return {"source": {"type": "zookeeper", "path": path, **source}, "sink": {"collection": collection}}


def publish(collection: str, path: str) -> dict[str, object]:
    return {
        "source": {"type": "mongodb", "collection": collection, "key": "_id"},
        "sink": {"type": "zookeeper", "path": path},
    }


def trees(n: int) -> Environment:
    return as_json({f"r{i}": mirror(f"/t/{i}", exclude=[f"/t/{i}/tmp/**"]) for i in range(n)})


def trees_as_nested_variables(n: int) -> Environment:
    return {
        f"HYBRIDSYNC_RESOURCES__R{i}__SOURCE__{key}": value
        for i in range(n)
        for key, value in (("TYPE", "zookeeper"), ("PATH", f"/t/{i}"))
    }


def trees_written_over_by_nested_variables(n: int) -> Environment:
    return trees(n) | {f"HYBRIDSYNC_RESOURCES__R{i}__SINK": json.dumps({"collection": f"c{i}"}) for i in range(n)}


def one_tree_many_times(n: int) -> Environment:
    return as_json({f"r{i}": mirror("/t", exclude=[f"/t/{i}/**"]) for i in range(n)})


def published_paths(n: int) -> Environment:
    return as_json({f"r{i}": publish(f"c{i}", f"/p/{i}") for i in range(n)})


def published_and_mirrored_elsewhere(n: int) -> Environment:
    half = n // 2
    return as_json(
        {f"p{i}": publish(f"c{i}", f"/p/{i}") for i in range(half)}
        | {f"m{i}": mirror("/", f"d{i}", exclude=["/p/**"]) for i in range(half)}
    )


def a_long_way_through_all_of_them(n: int) -> Environment:
    """Tree to collection to tree and so on, without a way back."""
    return as_json(
        {f"m{i}": mirror(f"/p/{i}", f"c{i}") for i in range(n // 2)}
        | {f"p{i}": publish(f"c{i}", f"/p/{i + 1}") for i in range(n // 2)}
    )


def trees_that_leave_out_what_is_published(n: int) -> Environment:
    """Each collection is mirrored from a tree around the paths that are published from it."""
    return as_json(
        {f"m{i}": mirror("/", f"c{i}", exclude=["/p/**"]) for i in range(n // 2)}
        | {f"p{i}": publish(f"c{i}", f"/p/{i}") for i in range(n // 2)}
    )


def clusters(n: int) -> Environment:
    source = {"type": "kubernetes", "api": "v1", "plural": "pods", "namespaces": ["a"]}
    return as_json({f"k{i}": {"source": source} for i in range(n)})


def services_of_kubernetes(n: int) -> Environment:
    return {f"HYBRIDSYNC_S{i}_PORT": "tcp://10.0.0.1:80" for i in range(n)}


RIGHT = [
    *(trees, trees_as_nested_variables, trees_written_over_by_nested_variables, one_tree_many_times, published_paths),
    *(published_and_mirrored_elsewhere, a_long_way_through_all_of_them, trees_that_leave_out_what_is_published),
    *(clusters, services_of_kubernetes),
]


def one_collection_for_all(n: int) -> Environment:
    return as_json({f"r{i}": mirror(f"/t/{i}", "c") for i in range(n)})


def paths_inside_each_other(n: int) -> Environment:
    return as_json({"all": publish("c", "/p")} | {f"r{i}": publish(f"c{i}", f"/p/{i}") for i in range(n)})


def one_circle_through_all_of_them(n: int) -> Environment:
    half = n // 2
    return as_json(
        {f"m{i}": mirror(f"/p/{i}", f"c{i}") for i in range(half)}
        | {f"p{i}": publish(f"c{i}", f"/p/{(i + 1) % half}") for i in range(half)}
    )


def many_circles(n: int) -> Environment:
    half = n // 2
    return as_json(
        {f"m{i}": mirror(f"/p/{i}", f"c{i}") for i in range(half)}
        | {f"p{i}": publish(f"c{i}", f"/p/{i}") for i in range(half)}
    )


def circles_through_one(n: int) -> Environment:
    return as_json({f"p{i}": publish("c", f"/p/{i}") for i in range(n - 1)} | {"m": mirror("/", "c")})


def unknown_variables(n: int) -> Environment:
    return {f"HYBRIDSYNC_NOBODY_KNOWS_{i}": "x" for i in range(n)}


def unknown_options(n: int) -> Environment:
    return as_json({f"r{i}": mirror(f"/t/{i}", paht="x") for i in range(n)})


def parts_that_are_missing(n: int) -> Environment:
    return as_json({f"r{i}": {"sink": {"collection": f"c{i}"}} for i in range(n)})


WRONG = [
    *(one_collection_for_all, paths_inside_each_other, one_circle_through_all_of_them, many_circles),
    *(circles_through_one, unknown_options, parts_that_are_missing),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", RIGHT)
def test_what_is_right_loads_with_work_in_proportion(kind: Callable[[int], Environment]) -> None:
    assert load(kind(FEW)) == load(kind(MANY)) == 0
    few, many = kind(FEW), kind(MANY)

    assert steps(lambda: load(many)) < 5 * steps(lambda: load(few))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_told_with_work_in_proportion(kind: Callable[[int], Environment]) -> None:
    few, many = kind(FEW), kind(MANY)
    assert load(few) > 0

    assert steps(lambda: load(many)) < 5 * steps(lambda: load(few))


@pytest.mark.timeout(300)
def test_unknown_variables_are_compared_with_the_known_ones_only() -> None:
    few, many = unknown_variables(5), unknown_variables(20)
    assert (load(few), load(many)) == (5, 20)

    assert steps(lambda: load(many)) < 5 * steps(lambda: load(few))
