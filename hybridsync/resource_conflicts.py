"""What resources must not do to each other: write the same place, or feed each other in a circle. Pure.

The work grows with the resources, not with the pairs of them: collections are looked up by name, paths in a tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple, TypeAlias

from pydantic import BaseModel

from hybridsync.resource_kinds import MongoSink, MongoSource, ZooKeeperSink, ZooKeeperSource
from hybridsync.sources.exclude import Exclude

Ends: TypeAlias = tuple[BaseModel, BaseModel]
"""Source and sink."""

LOOPS_TOLD = 20
"""So many at once; the next ones after these have been undone."""

_Place: TypeAlias = tuple[str, ...]
"""`("resource", name)`, `("collection", name)`, `("path", path)`, or `("tree", path, *exclude)` of sources."""

_RESOURCE, _COLLECTION, _PATH, _TREE = "resource", "collection", "path", "tree"


class Conflict(NamedTuple):
    """Why the sink of `resource` cannot be what its `option` says."""

    resource: str
    option: str
    reason: str
    value: str


def conflicts(resources: Mapping[str, Ends]) -> Iterator[Conflict]:
    """Every conflict between the resources, in their order; of loops that share a resource one."""
    yield from _written_twice(resources)
    for circle in _circles(resources):
        name = circle[0]
        through = " → ".join([*circle[1:], name])
        reason = f"what {name} writes is read by {through}: a loop" if len(circle) > 1 else "it reads what it writes"
        yield _conflict(name, resources[name][1], reason)


def _conflict(name: str, sink: BaseModel, reason: str) -> Conflict:
    option = "collection" if isinstance(sink, MongoSink) else "path"
    return Conflict(name, option, reason, str(getattr(sink, option)))


def _written_twice(resources: Mapping[str, Ends]) -> Iterator[Conflict]:
    """Of sinks that meet, all but the first, each with the first that it meets."""
    collections: dict[str, str] = {}
    names, paths = list(resources), _Node()
    for number, (name, (_, sink)) in enumerate(resources.items()):
        if isinstance(sink, MongoSink):
            if (other := collections.setdefault(sink.collection, name)) != name:
                yield _conflict(name, sink, _same(sink, resources[other][1], other))
        elif isinstance(sink, ZooKeeperSink):
            *above, here = paths.way_to(sink.path)
            earlier = [first for node in above if (first := node.here) is not None]
            if (first := here.first) is not None:
                earlier.append(first)
            if earlier:
                other = names[min(earlier)]
                yield _conflict(name, sink, _same(sink, resources[other][1], other))
            here.here = number if here.here is None else here.here
            for node in (*above, here):
                node.first = number if node.first is None else node.first


def _same(one: BaseModel, other: BaseModel, name: str) -> str:
    if isinstance(one, ZooKeeperSink) and isinstance(other, ZooKeeperSink) and one.path != other.path:
        return f"resource {name} publishes at {other.path}, and one is inside the other"
    return f"resource {name} writes it too"


@dataclass(slots=True)
class _Node:
    """A path among others."""

    children: dict[str, _Node] = field(default_factory=dict)
    here: int | None = None
    """The number of the first resource at this path."""
    first: int | None = None
    """The number of the first one at this path or below it."""
    trees: list[_Place] = field(default_factory=list)

    def way_to(self, path: str) -> list[_Node]:
        """The nodes from this one, which is `/`, down to the path; those that are missing are made."""
        way = [self]
        for part in path.split("/")[1:] if path != "/" else ():
            way.append(way[-1].children.setdefault(part, _Node()))
        return way

    def below(self) -> Iterator[_Node]:
        """This node and all below it."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            todo.extend(node.children.values())


def _circles(resources: Mapping[str, Ends]) -> list[list[str]]:
    """Circles that share no resource, each from its first resource on, in the order of these."""
    order = {name: number for number, name in enumerate(resources)}
    graph = _readers(resources)
    found: list[list[str]] = []
    while len(found) < LOOPS_TOLD:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            start = min((place[1] for place in error.args[1] if place[0] == _RESOURCE), key=order.__getitem__)
        else:
            break
        circle = _shortest(start, graph)
        circle = _shortest(min(circle, key=order.__getitem__), graph)
        first = circle.index(min(circle, key=order.__getitem__))
        found.append([*circle[first:], *circle[:first]])
        for name in circle:
            del graph[_RESOURCE, name]
    return sorted(found, key=lambda circle: order[circle[0]])


def _readers(resources: Mapping[str, Ends]) -> dict[_Place, list[_Place]]:
    """From a resource to what it writes, from there to who reads it; only what can be part of a circle."""
    ends = resources.values()
    read = {source.collection for source, _ in ends if isinstance(source, MongoSource)}
    written = {sink.collection for _, sink in ends if isinstance(sink, MongoSink)}
    graph: dict[_Place, list[_Place]] = {}
    paths, trees = _Node(), dict[_Place, Exclude]()
    for name, (source, sink) in resources.items():
        writes = _written(sink)
        if writes is None or (isinstance(sink, MongoSink) and sink.collection not in read):
            continue
        if isinstance(source, MongoSource) and source.collection in written:
            graph.setdefault((_COLLECTION, source.collection), []).append((_RESOURCE, name))
        elif isinstance(source, ZooKeeperSource):
            tree = (_TREE, source.path, *source.exclude)
            if tree not in trees:
                trees[tree] = Exclude(source.exclude)
                paths.way_to(source.path)[-1].trees.append(tree)
            graph.setdefault(tree, []).append((_RESOURCE, name))
        else:
            continue
        graph[_RESOURCE, name] = [writes]
    published = [place for places in graph.values() for place in places if place[0] == _PATH]
    for _, path in dict.fromkeys(published):
        *above, here = paths.way_to(path)
        meeting: Iterable[_Place] = (tree for node in (*above, *here.below()) for tree in node.trees)
        graph[_PATH, path] = [tree for tree in meeting if not _left_out(path, tree, trees[tree])]
    return graph


def _written(sink: BaseModel) -> _Place | None:
    if isinstance(sink, MongoSink):
        return (_COLLECTION, sink.collection)
    return (_PATH, sink.path) if isinstance(sink, ZooKeeperSink) else None


def _left_out(path: str, tree: _Place, exclude: Exclude) -> bool:
    """Whether a tree leaves out what is published at the path."""
    return exclude.excluded(path) or f"{path}/**" in tree[2:]


def _shortest(start: str, graph: Mapping[_Place, list[_Place]]) -> list[str]:
    """The resources of the shortest way from one that is on a circle back to itself, without its end."""
    goal: _Place = (_RESOURCE, start)
    came_from: dict[_Place, _Place] = {}
    level: list[_Place] = [goal]
    while goal not in came_from:
        beyond: list[_Place] = []
        for place in level:
            for following in graph.get(place, ()):
                if following not in came_from:
                    came_from[following] = place
                    beyond.append(following)
        level = beyond
    way, place = [start], came_from[goal]
    while place != goal:
        if place[0] == _RESOURCE:
            way.append(place[1])
        place = came_from[place]
    return [way[0], *reversed(way[1:])]
