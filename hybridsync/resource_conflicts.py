"""What resources must not do to each other: write the same place, or feed each other in a circle. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from pydantic import BaseModel

from hybridsync.resource_kinds import MongoSink, MongoSource, ZooKeeperSink, ZooKeeperSource
from hybridsync.sources.exclude import Exclude

Ends: TypeAlias = tuple[BaseModel, BaseModel]
"""Source and sink."""


class Conflict(NamedTuple):
    """Why the sink of `resource` cannot be what its `option` says."""

    resource: str
    option: str
    reason: str
    value: str


def conflicts(resources: Mapping[str, Ends]) -> Iterator[Conflict]:
    """Every conflict between the resources, in their order."""
    names = list(resources)
    for number, name in enumerate(names):
        sink = resources[name][1]
        earlier = (other for other in names[:number] if _meet(sink, resources[other][1]))
        if (other := next(earlier, None)) is not None:
            yield _conflict(name, sink, _same(sink, resources[other][1], other))
    for name in names:
        circle = _circle(name, resources)
        if circle and name == min(circle, key=names.index):
            through = " → ".join([*circle[1:], name])
            reason = (
                f"what {name} writes is read by {through}: a loop" if len(circle) > 1 else "it reads what it writes"
            )
            yield _conflict(name, resources[name][1], reason)


def _conflict(name: str, sink: BaseModel, reason: str) -> Conflict:
    option = "collection" if isinstance(sink, MongoSink) else "path"
    return Conflict(name, option, reason, str(getattr(sink, option)))


def _meet(one: BaseModel, other: BaseModel) -> bool:
    """Whether two sinks write in the same place."""
    if isinstance(one, MongoSink) and isinstance(other, MongoSink):
        return one.collection == other.collection
    if isinstance(one, ZooKeeperSink) and isinstance(other, ZooKeeperSink):
        return _inside(one.path, other.path) or _inside(other.path, one.path)
    return False


def _same(one: BaseModel, other: BaseModel, name: str) -> str:
    if isinstance(one, ZooKeeperSink) and isinstance(other, ZooKeeperSink) and one.path != other.path:
        return f"resource {name} publishes at {other.path}, and one is inside the other"
    return f"resource {name} writes it too"


def _feeds(sink: BaseModel, source: BaseModel) -> bool:
    """Whether what is written to the sink is read by the source."""
    if isinstance(sink, MongoSink) and isinstance(source, MongoSource):
        return sink.collection == source.collection
    if isinstance(sink, ZooKeeperSink) and isinstance(source, ZooKeeperSource):
        if not (_inside(sink.path, source.path) or _inside(source.path, sink.path)):
            return False
        left_out = Exclude(source.exclude).excluded(sink.path) or f"{sink.path}/**" in source.exclude
        return not left_out
    return False


def _circle(start: str, resources: Mapping[str, Ends]) -> list[str]:
    """The shortest way from a resource back to itself, without its end; empty when there is none."""
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for name, (source, _) in resources.items():
            if _feeds(resources[way[-1]][1], source):
                if name == start:
                    return way
                if name not in seen:
                    seen.add(name)
                    ways.append([*way, name])
    return []


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith("/" if root == "/" else f"{root}/")
