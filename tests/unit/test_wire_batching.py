"""What one multiRead costs: full requests for small values, small answers for large ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridsync.zookeeper.batching import (
    DATA_OVERHEAD,
    MAX_OPS,
    Batcher,
    Expansion,
    Frame,
    Request,
    Sizes,
)
from hybridsync.zookeeper.limits import ANSWER_BYTES, REQUEST_BYTES, Limits

MIB = 1024 * 1024


class Reading:
    """A tree of sizes read through a batcher, with `in_flight` requests at a time."""

    def __init__(self, children: Mapping[str, list[str]], size_of: Callable[[str], int], in_flight: int = 4) -> None:
        self._children = children
        self._size_of = size_of
        self.batcher = Batcher(Limits("a server"))
        self.batcher.add(Frame("/", b"/", [""], Sizes()))
        self.read: list[str] = []
        self.listed: list[str] = []
        self.answers: list[int] = []
        self.requests: list[Request] = []
        self.largest_in_flight = 0
        waiting: deque[Request] = deque()
        while True:
            while len(waiting) < in_flight and (request := self.batcher.next_request()) is not None:
                waiting.append(request)
                self.requests.append(request)
            if not waiting:
                return
            self.largest_in_flight = max(self.largest_in_flight, sum(map(self._answer_size, waiting)))
            self._answer(waiting.popleft())

    def _paths(self, request: Request) -> list[str]:
        return [run.frame.base + name for run in request.runs for name in run.names]

    def _answer_size(self, request: Request) -> int:
        values = sum(self._size_of(path) + DATA_OVERHEAD for path in self._paths(request))
        return values + sum(13 + 4 + len(one) for each in request.expansions for one in self._children[each.path])

    def _answer(self, request: Request) -> None:
        self.answers.append(self._answer_size(request))
        lengths = 0
        count = 0
        for expansion in request.expansions:
            self.listed.append(expansion.path)
            names = list(self._children[expansion.path])
            lengths += sum(map(len, names))
            count += len(names)
            base = expansion.path.rstrip("/") + "/"
            self.batcher.add(Frame(base, base.encode(), names, expansion.family))
        largest: list[int] = []
        for run in request.runs:
            paths = [run.frame.base + name for name in run.names]
            largest.append(max(map(self._size_of, paths)))
            self.read += paths
            for path in paths:
                below = self._children.get(path)
                if below:
                    self.batcher.expand(Expansion(path, path.encode(), len(below), run.frame.below))
        self.batcher.answered(request, largest, 4 + lengths / count if count else None)


def two_levels(parents: int, children: int) -> dict[str, list[str]]:
    tree = {"/": [f"p{number}" for number in range(parents)]}
    for parent in tree["/"]:
        tree[f"/{parent}"] = [f"c{number}" for number in range(children)]
    return tree


def test_small_values_fill_the_requests() -> None:
    reading = Reading(two_levels(1000, 100), lambda path: 200)
    assert len(set(reading.read)) == len(reading.read) == 101_001
    assert len(reading.requests) < 250
    assert max(reading.answers) < ANSWER_BYTES


def test_a_parent_of_large_values_among_small_ones_costs_a_few_mib_in_one_answer() -> None:
    tree = two_levels(1000, 100)
    tree["/p500"] = [f"c{number}" for number in range(1000)]
    reading = Reading(tree, lambda path: MIB if path.startswith("/p500/") else 200)
    assert len(set(reading.read)) == len(reading.read) == 101_901
    assert max(reading.answers) < 8 * MIB
    assert reading.largest_in_flight < 16 * MIB
    assert len(reading.requests) < 1_500


def test_a_flat_parent_of_large_values_is_read_in_small_answers() -> None:
    reading = Reading({"/": [f"c{number}" for number in range(1000)]}, lambda path: MIB)
    assert len(reading.read) == 1001
    assert max(reading.answers) < 5 * MIB


def test_large_values_in_a_family_of_their_own_after_many_small_ones() -> None:
    tree = {"/": ["big", "small"], "/small": [f"p{number}" for number in range(300)]}
    tree["/big"] = [f"p{number}" for number in range(100)]
    for parent in tree["/small"]:
        tree[f"/small/{parent}"] = [f"c{number}" for number in range(100)]
    for parent in tree["/big"]:
        tree[f"/big/{parent}"] = [f"c{number}" for number in range(10)]
    reading = Reading(tree, lambda path: MIB if path.startswith("/big/p") and "/c" in path else 200)
    assert len(set(reading.read)) == len(reading.read)
    assert max(reading.answers) < 16 * MIB
    assert reading.largest_in_flight < 32 * MIB


def test_large_values_spread_over_one_parent_do_not_come_all_at_once() -> None:
    names = [f"c{number}" for number in range(20_000)]
    reading = Reading({"/": names}, lambda path: MIB if path.endswith("37") else 100)
    assert len(reading.read) == 20_001
    assert max(reading.answers) < 16 * MIB


def test_one_large_value_does_not_slow_its_parent_for_long() -> None:
    names = [f"c{number}" for number in range(50_000)]
    reading = Reading({"/": names}, lambda path: MIB if path == "/c30000" else 100)
    assert len(reading.requests) < 200


def test_a_chain_of_only_children_is_read_to_its_end() -> None:
    tree = {"/": ["x"]}
    path = ""
    for _ in range(200):
        path += "/x"
        tree[path] = ["x"]
    reading = Reading(tree, lambda path: 10)
    assert len(reading.read) == 202


def test_thousands_of_families_of_one_are_read_in_large_requests() -> None:
    tree = {"/": [f"app{number}" for number in range(5000)]}
    for app in tree["/"]:
        tree[f"/{app}"] = ["config"]
        tree[f"/{app}/config"] = ["data"]
    reading = Reading(tree, lambda path: 100)
    assert len(set(reading.read)) == 15_001
    assert len(reading.requests) < 300


def test_long_paths_are_cut_by_the_size_of_the_request() -> None:
    names = [f"{number:04}" + "n" * 200_000 for number in range(20)]
    reading = Reading({"/": names}, lambda path: 10)
    assert len(reading.read) == 21
    for request in reading.requests:
        assert len(request.reads.serialize()) < REQUEST_BYTES + 1_000


def test_a_path_longer_than_the_limit_goes_alone() -> None:
    names = [f"{number}" + "n" * 900_000 for number in range(3)]
    reading = Reading({"/": names}, lambda path: 10)
    assert len(reading.read) == 4
    assert max(len(request.reads.serialize()) for request in reading.requests) < 1_000_000


def test_children_are_not_listed_faster_than_they_are_read() -> None:
    tree = two_levels(500, 1000)
    batcher_queue: list[int] = []

    def size(path: str) -> int:
        return 100

    reading = Reading(tree, size)
    assert len(set(reading.read)) == 500_501
    listed = read = 0
    for request in reading.requests:
        listed += sum(expansion.children for expansion in request.expansions)
        read += sum(len(run.names) for run in request.runs)
        batcher_queue.append(listed - read)
    assert max(batcher_queue) < 20_000


@settings(max_examples=60)
@given(st.integers(1, 8), st.data())
def test_every_znode_is_read_once_whatever_the_sizes_and_shapes(in_flight: int, data: st.DataObject) -> None:
    tree: dict[str, list[str]] = {}
    paths = ["/"]
    for _ in range(data.draw(st.integers(0, 12))):
        parent = data.draw(st.sampled_from(paths))
        if parent in tree:
            continue
        tree[parent] = [f"{number}" for number in range(data.draw(st.integers(1, 30)))]
        paths += [f"{parent.rstrip('/')}/{name}" for name in tree[parent]]
    sizes = {path: data.draw(st.sampled_from([0, 10, 5_000, MIB])) for path in paths}
    reading = Reading(tree, sizes.__getitem__, in_flight)
    assert sorted(reading.read) == sorted(paths)
    assert sorted(reading.listed) == sorted(tree)
    for request in reading.requests:
        assert len(request.reads.lists) + len(request.reads.values) <= MAX_OPS


@pytest.mark.parametrize("answers", [1, 5])
def test_what_was_learnt_is_forgotten_by_halves(answers: int) -> None:
    sizes = Sizes()
    sizes.answered(1, MIB)
    for _ in range(answers):
        sizes.answered(1, 10)
    assert sizes.per == MIB / 2**answers
