"""What a fake API server holds: objects with all their revisions, as etcd keeps them. No network.

Resource versions are one counter for everything, and text to everybody outside.
"""

from __future__ import annotations

import copy
import uuid
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Object = dict[str, Any]
Name = tuple[str, str]
"""Namespace (empty for what has none) and name."""

KEPT_EVENTS = 10_000
"""After a compaction, for open watches."""


class Type(NamedTuple):
    """One resource type."""

    api: str
    plural: str
    kind: str
    namespaced: bool = True


class Event(NamedTuple):
    """One change: the object after it, or before it when it was deleted; `before` is the one it replaced."""

    revision: int
    name: Name
    after: Object | None
    before: Object | None


@dataclass
class Table:
    """The objects of one type. `forgotten`: the revision of the newest event that is gone."""

    type: Type
    revisions: dict[Name, list[tuple[int, Object | None]]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    forgotten: int = 0

    def at(self, name: Name, revision: int) -> Object | None:
        """An object as it was then."""
        known = self.revisions.get(name, [])
        number = bisect_right(known, revision, key=lambda one: one[0])
        return known[number - 1][1] if number else None

    def since(self, revision: int) -> list[Event]:
        """What came after a revision."""
        return self.events[bisect_right(self.events, revision, key=lambda event: event.revision) :]

    def names(self, revision: int) -> list[Name]:
        """What existed then, in the order of a listing."""
        return sorted(name for name in self.revisions if self.at(name, revision) is not None)

    def compact(self) -> None:
        """Forgets what objects were before, and all but the newest `KEPT_EVENTS`."""
        for name, revisions in list(self.revisions.items()):
            if revisions[-1][1] is None:
                del self.revisions[name]
            else:
                self.revisions[name] = revisions[-1:]
        if len(self.events) > KEPT_EVENTS:
            self.forgotten = self.events[-KEPT_EVENTS - 1].revision
            self.events = self.events[-KEPT_EVENTS:]


class Store:
    """All types. `revision`: the newest; what is at or before `compacted` is forgotten."""

    def __init__(self) -> None:
        self.revision = 1000
        self.compacted = 0
        self.tables: dict[tuple[str, str], Table] = {}

    def add_type(self, type_: Type) -> None:
        """Installs a resource type, as a CustomResourceDefinition does."""
        self.tables[type_.api, type_.plural] = Table(type_)

    def put(self, plural: str, namespace: str, name: str, **fields: Any) -> Object:
        """Creates or replaces an object; `labels` and `annotations` go into its metadata."""
        table = self.table(plural)
        self.revision += 1
        before = self.latest(table, (namespace, name))
        metadata: Object = {
            "name": name,
            "uid": before["metadata"]["uid"] if before else str(uuid.uuid4()),
            "resourceVersion": str(self.revision),
            "labels": fields.pop("labels", {}),
            "annotations": fields.pop("annotations", {}),
            "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {}}}],
        }
        if namespace:
            metadata["namespace"] = namespace
        made = {"apiVersion": table.type.api, "kind": table.type.kind, "metadata": metadata, **copy.deepcopy(fields)}
        table.revisions.setdefault((namespace, name), []).append((self.revision, made))
        table.events.append(Event(self.revision, (namespace, name), made, before))
        return made

    def delete(self, plural: str, namespace: str, name: str) -> None:
        """Deletes an object that exists."""
        table = self.table(plural)
        before = self.latest(table, (namespace, name))
        assert before is not None, f"there is no {plural} {namespace}/{name}"
        self.revision += 1
        last = copy.deepcopy(before)
        last["metadata"]["resourceVersion"] = str(self.revision)
        table.revisions[namespace, name].append((self.revision, None))
        table.events.append(Event(self.revision, (namespace, name), None, last))

    def compact(self) -> None:
        """Forgets the history: snapshots, and versions to watch from. An open watch that keeps up loses nothing."""
        self.compacted = self.revision
        for table in self.tables.values():
            table.compact()

    def backup(self) -> Store:
        """A copy of everything as it is now."""
        return copy.deepcopy(self)

    def restore(self, backup: Store) -> None:
        """Becomes what a copy was: versions count on from there, in another history."""
        was = copy.deepcopy(backup)
        self.revision, self.compacted, self.tables = was.revision, was.compacted, was.tables

    def table(self, plural: str) -> Table:
        """The table of that name."""
        return next(table for (_, known), table in self.tables.items() if known == plural)

    def latest(self, table: Table, name: Name) -> Object | None:
        """An object as it is now."""
        revisions = table.revisions.get(name)
        return revisions[-1][1] if revisions else None

    def objects(self, plural: str) -> Iterator[Object]:
        """All objects of a type as they are now."""
        table = self.table(plural)
        for revisions in table.revisions.values():
            if revisions[-1][1] is not None:
                yield revisions[-1][1]


def matches(one: Object | None, labels: str, fields: str) -> bool:
    """Whether an object matches selectors: `a=b`, `a!=b`, `a` and, of fields, the name, the namespace and the phase."""
    if one is None:
        return False
    metadata = one["metadata"]
    known = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata.get("namespace", ""),
        "status.phase": one.get("status", {}).get("phase", ""),
    }
    return _all(labels, metadata["labels"]) and _all(fields, known)


def _all(selector: str, values: Object) -> bool:
    for term in filter(None, selector.split(",")):
        if "!=" in term:
            name, _, value = term.partition("!=")
            if values.get(name) == value:
                return False
        elif "=" in term:
            name, _, value = term.replace("==", "=").partition("=")
            if values.get(name) != value:
                return False
        elif term not in values:
            return False
    return True
