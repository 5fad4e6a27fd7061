"""Conflicts between resources, found without looking at every pair, against every pair looked at."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from hybridsync.resource_conflicts import LOOPS_TOLD, Ends, conflicts
from hybridsync.resource_kinds import MongoSink, MongoSource, ZooKeeperSink, ZooKeeperSource
from hybridsync.sources.exclude import Exclude

PATHS = ["/", "/a", "/a/b", "/a/b/c", "/b", "/b/x", "/ab", "/c"]
COLLECTIONS = ["c1", "c2", "c3", "c4"]


@st.composite
def mirrors(draw: st.DrawFn) -> Ends:
    root = draw(st.sampled_from(PATHS))
    inside = [path for path in PATHS if path != root and within(path, root)]
    globs = st.sampled_from([*inside, *(f"{path}/**" for path in inside)]) if inside else st.nothing()
    exclude = tuple(draw(st.lists(globs, max_size=2))) if inside else ()
    return ZooKeeperSource(path=root, exclude=exclude), MongoSink(collection=draw(st.sampled_from(COLLECTIONS)))


@st.composite
def publishers(draw: st.DrawFn) -> Ends:
    collection, path = draw(st.sampled_from(COLLECTIONS)), draw(st.sampled_from(PATHS))
    return MongoSource(collection=collection, key="k"), ZooKeeperSink(path=path)


def within(path: str, root: str) -> bool:
    return path == root or path.startswith("/" if root == "/" else f"{root}/")


def meet(one: str, other: str) -> bool:
    return within(one, other) or within(other, one)


def same_place(one: Ends, other: Ends) -> bool:
    if isinstance(one[1], MongoSink):
        return isinstance(other[1], MongoSink) and one[1].collection == other[1].collection
    assert isinstance(one[1], ZooKeeperSink)
    return isinstance(other[1], ZooKeeperSink) and meet(one[1].path, other[1].path)


def feeds(one: Ends, other: Ends) -> bool:
    sink, source = one[1], other[0]
    if isinstance(sink, MongoSink) and isinstance(source, MongoSource):
        return sink.collection == source.collection
    if isinstance(sink, ZooKeeperSink) and isinstance(source, ZooKeeperSource):
        left_out = Exclude(source.exclude).excluded(sink.path) or f"{sink.path}/**" in source.exclude
        return meet(sink.path, source.path) and not left_out
    return False


def reachable(start: str, resources: dict[str, Ends]) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        one = resources[todo.pop()]
        new = {name for name, other in resources.items() if feeds(one, other)} - found
        found |= new
        todo.extend(new)
    return found


@settings(max_examples=300)
@given(st.lists(mirrors() | publishers(), max_size=8))
def test_what_is_found_is_what_pairs_show(ends: list[Ends]) -> None:
    resources = {f"r{number}": one for number, one in enumerate(ends)}
    names = list(resources)
    told = list(conflicts(resources))
    loops = [one for one in told if ": a loop" in one.reason]

    expected = []
    for number, name in enumerate(names):
        earlier = [other for other in names[:number] if same_place(resources[name], resources[other])]
        expected += [(name, earlier[0])] if earlier else []
    doubles = [(one.resource, one.reason.split()[1]) for one in told if one not in loops]
    assert doubles == expected

    in_circles = {name for name in names if name in reachable(name, resources)}
    ways = [[one.resource, *one.reason.split(" is read by ")[1].removesuffix(": a loop").split(" → ")] for one in loops]
    told_of = [name for way in ways for name in way[1:]]
    assert len(told_of) == len(set(told_of))
    for way in ways:
        assert way[0] == way[-1] == min(way, key=names.index)
        assert all(feeds(resources[one], resources[other]) for one, other in pairwise(way))
    assert len(ways) < LOOPS_TOLD
    left = {name: one for name, one in resources.items() if name not in told_of}
    assert bool(ways) == bool(in_circles)
    assert not any(name in reachable(name, left) for name in left)
