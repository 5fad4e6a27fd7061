"""Channels as operators keep them in MongoDB, and what gateways must find of them in ZooKeeper.

Published bytes are made here once more, without any code of hybridsync. Every collection has a path of
its own whose first part is the name of its database: ZooKeeper counts writes by that part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from pymongo.collection import Collection
from pymongo.database import Database

from benchmarks.multiread import read_tree
from benchmarks.rig import COLLECTION, Rig
from benchmarks.tree import connected
from benchmarks.truth import NotEqual

SCHEMA = "config/schemas/channel.schema.json"

_SAME_NAME = ("channel_id", "path", "password", "port", "rate_limit", "max_connection", "default_encoding")
_INSERTED_AT_ONCE = 1000
_DELETED_AT_ONCE = 500
_SAMPLES = 5

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Channels:
    """The collection, and the path that it is published at."""

    rig: Rig
    database: Database[Document]

    @property
    def collection(self) -> Collection[Document]:
        """The documents."""
        return self.database["channels"]

    @property
    def namespace(self) -> str:
        """The first part of every path here."""
        return self.database.name

    @property
    def root(self) -> str:
        """Where hybridsync publishes."""
        return f"/{self.namespace}/channels"

    @property
    def other_root(self) -> str:
        """Where whoever it is compared with publishes."""
        return f"/{self.namespace}/other"

    def settings(self) -> dict[str, str]:
        """Variables, without the prefix, that publish the collection."""
        resource = {
            "source": {"type": "mongodb", "collection": "channels", "key": "channel_id", "when": "is_enabled"},
            "sink": {"type": "zookeeper", "path": self.root},
            "schema": SCHEMA,
            "fields": {"account": "upstream_account"},
        }
        return {
            "ZOOKEEPER_HOSTS": self.rig.hosts,
            "MONGODB_URI": self.rig.mongodb.uri_for(self.database.name),
            "RESOURCES": json.dumps({COLLECTION: resource}),
        }

    def fill(self, size: int) -> None:
        """So many channels that are on, and the index that a deployment has."""
        self.collection.create_index("channel_id")
        for start in range(0, size, _INSERTED_AT_ONCE):
            numbers = range(start, min(start + _INSERTED_AT_ONCE, size))
            self.collection.insert_many([channel(number) for number in numbers])
        self.rig.settle()

    def check(self, client: KazooClient, root: str) -> None:
        """Raises `NotEqual` unless exactly what is on is published at `root`, byte for byte."""
        expected = {one["channel_id"]: published(one) for one in self.collection.find({"is_enabled": True})}
        found: dict[str, bytes] = {}
        read_tree(client, root, lambda path, znode: found.__setitem__(path, znode.value))
        del found[root]
        held = {path.removeprefix(f"{root}/"): value for path, value in found.items()}
        wrong = [key for key in expected.keys() | held.keys() if expected.get(key) != held.get(key)]
        if wrong:
            raise NotEqual(f"{len(held)} znodes for {len(expected)} channels, {len(wrong)} wrong: {wrong[:_SAMPLES]}")


def key_of(number: int) -> str:
    """The key of a channel."""
    return f"channel-{number:06d}"


def channel(number: int, *, enabled: bool = True) -> Document:
    """The document of a channel when it is new."""
    return {
        "channel_id": key_of(number),
        "is_enabled": enabled,
        "path": f"/live/{number % 100}/{number}",
        "upstream_account": f"operator-{number % 500}",
        "password": f"p-{number * 7919 % 1_000_003:07d}",
        "port": 1024 + number % 60_000,
        "rate_limit": 10 + number % 90,
        "max_connection": 1 + number % 50,
        "default_encoding": number % 4,
        "remark": "not published",
    }


def published(document: Mapping[str, Any]) -> bytes:
    """The bytes of its znode."""
    told = {name: document[name] for name in _SAME_NAME} | {"account": document["upstream_account"]}
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()


@contextmanager
def channels(rig: Rig) -> Iterator[Channels]:
    """A collection and a path that nobody has used before; both are removed at the end."""
    with rig.database() as database:
        made = Channels(rig, database)
        try:
            yield made
        finally:
            with client_of(rig) as client:
                for root in (made.root, made.other_root):
                    _remove(client, root)


@contextmanager
def client_of(rig: Rig) -> Iterator[KazooClient]:
    """A kazoo client."""
    client = connected(rig.hosts)
    try:
        yield client
    finally:
        client.stop()
        client.close()


def _remove(client: KazooClient, root: str) -> None:
    try:
        names = client.get_children(root)
    except NoNodeError:
        return
    for start in range(0, len(names), _DELETED_AT_ONCE):
        transaction = client.transaction()
        for name in names[start : start + _DELETED_AT_ONCE]:
            transaction.delete(f"{root}/{name}")
        transaction.commit()
    client.delete(root)
