"""A day of operators at work: a seeded series of operations on channels, and two ways to act on each.

The series is what was done with the documents, from creation to deletion. The old strategy brings the channel
into ZooKeeper after every operation, whatever it changed: it asks whether the znode is there; then it writes
that of a channel that is on, and deletes that of one that is off or gone.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kazoo.client import KazooClient
from pymongo.collection import Collection

from benchmarks.channels import Document, channel, published

_WEIGHTS = {
    "gone": {"create": 1},
    "off": {"enable": 4, "edit while off": 4, "delete": 2},
    "on": {"edit": 5, "equal edit": 3, "disable": 2},
}
"""What is done with a channel by the state that it is in, and how often in proportion."""

_AFTERWARDS = {"create": "off", "enable": "on", "delete": "gone", "disable": "off"}
_FIELDS = {"edit": "rate_limit", "edit while off": "rate_limit", "equal edit": "remark"}


class Operation(NamedTuple):
    """`document`: as it is afterwards; of a deletion, as it was."""

    kind: str
    document: Document

    @property
    def key(self) -> str:
        """The channel."""
        return str(self.document["channel_id"])

    @property
    def publishes(self) -> bool:
        """Whether it changes what has to be in ZooKeeper."""
        return self.kind in ("enable", "edit", "disable")


def operations(count: int, channels: int, seed: int) -> Iterator[Operation]:
    """So many operations on so many channels, none of which exists before. All documents are valid."""
    chooser = random.Random(seed)
    states = ["gone"] * channels
    documents: list[Document] = [{}] * channels
    for step in range(count):
        number = chooser.randrange(channels)
        weights = _WEIGHTS[states[number]]
        (kind,) = chooser.choices(list(weights), list(weights.values()))
        states[number] = _AFTERWARDS.get(kind, states[number])
        documents[number] = _after(kind, documents[number], number, step)
        yield Operation(kind, documents[number])


def _after(kind: str, document: Document, number: int, step: int) -> Document:
    if kind == "create":
        return channel(number, enabled=False)
    if kind in ("edit", "edit while off"):
        return document | {"rate_limit": 1000 + step}
    if kind == "equal edit":
        return document | {"remark": f"not published, {step}"}
    return document | {"is_enabled": kind == "enable"}


def told(series: Sequence[Operation]) -> str:
    """How many of each kind."""
    counted = Counter(operation.kind for operation in series)
    return ", ".join(f"{number:,} times {kind}" for kind, number in counted.most_common())


def in_mongodb(operation: Operation, collection: Collection[Document]) -> None:
    """Does it as an operator's tool would: one request."""
    if operation.kind == "create":
        collection.insert_one(dict(operation.document))
    elif operation.kind == "delete":
        collection.delete_one({"channel_id": operation.key})
    else:
        field = _FIELDS.get(operation.kind, "is_enabled")
        collection.update_one({"channel_id": operation.key}, {"$set": {field: operation.document[field]}})


def as_before(operation: Operation, client: KazooClient, root: str) -> None:
    """Syncs its channel to ZooKeeper by the old strategy."""
    path = f"{root}/{operation.key}"
    there = client.exists(path) is not None
    if not operation.document["is_enabled"] or operation.kind == "delete":
        if there:
            client.delete(path)
    elif there:
        client.set(path, published(operation.document))
    else:
        client.create(path, published(operation.document))
