"""`Place`: a ZooKeeper tree and a MongoDB database of a test's own, and what a test asks of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pymongo
from bson.codec_options import CodecOptions
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError, NotEmptyError
from pymongo.collection import Collection
from pymongo.database import Database

from tests.servers import SUPER_PASSWORD, connected, delete_tree, with_database
from tests.service import settings_for

Document = dict[str, Any]

_IN_FLIGHT = 500


@dataclass(frozen=True)
class Place:
    """`root` does not exist until a test makes it; `zk` and `database` owe nothing to hybridsync."""

    zookeeper: str
    mongodb: str
    root: str
    zk: KazooClient
    database: Database[Document]

    def settings(self, **more: str) -> dict[str, str]:
        """One resource, `services`, that mirrors `root`; proofs come faster than by default, to wait less."""
        return settings_for(self.zookeeper, self.mongodb, self.root, **{"CONFIRM_INTERVAL_SECONDS": "0.1", **more})

    def excluding(self, *globs: str) -> str:
        """The value of RESOURCES with these globs, each below `root`."""
        source = {"type": "zookeeper", "path": self.root, "exclude": [self.root + glob for glob in globs]}
        return json.dumps({"services": {"source": source}})

    @property
    def mirror(self) -> Collection[Document]:
        """The collection `services`."""
        return self.database["services"]

    def held(self, path: str = "") -> Document | None:
        """The document of `root + path`."""
        return self.mirror.find_one({"_id": self.root + path})

    def document(self, path: str = "") -> Document:
        """The same; it must be there."""
        found = self.held(path)
        assert found is not None, f"{self.root}{path} is not in the mirror"
        return found

    def paths(self) -> set[str]:
        """Every `_id` of the mirror without `root`; that of the root itself is empty."""
        return {str(document["_id"]).removeprefix(self.root) for document in self.mirror.find({}, {"_id": 1})}

    def state(self) -> Document:
        """The document in `sync_states`."""
        found = self.database["sync_states"].find_one({"_id": "services"})
        assert found is not None, "there is no document services in sync_states"
        return found

    def create(self, path: str = "", value: bytes = b"", **options: Any) -> None:
        """Creates `root + path`."""
        self.zk.create(self.root + path, value, **options)

    def set(self, path: str, value: bytes) -> None:
        """Writes `root + path`."""
        self.zk.set(self.root + path, value)

    def grow(self, values: Mapping[str, bytes]) -> None:
        """Creates many znodes, each path below `root`, parents before children."""
        pending = []
        for path, value in values.items():
            pending.append(self.zk.create_async(self.root + path, value))
            if len(pending) >= _IN_FLIGHT:
                pending.pop(0).get(timeout=60)
        for one in pending:
            one.get(timeout=60)


def remove_tree(client: KazooClient, root: str) -> None:
    """`delete_tree` for many znodes: whole levels at once, the deepest first."""
    levels = [[root]]
    while levels[-1]:
        asked = [(path, client.get_children_async(path)) for path in levels[-1]]
        levels.append([f"{path}/{name}" for path, names in asked for name in _found(names)])
    for level in reversed(levels):
        for deletion in [client.delete_async(path) for path in level]:
            _found(deletion)
    delete_tree(client, root)


def _found(answer: Any) -> Any:
    """The answer; empty for a znode that is not there any more, or that has a new child."""
    try:
        return answer.get(timeout=60)
    except (NoNodeError, NotEmptyError):
        return []


@contextmanager
def a_place(zookeeper: str, mongodb_uri: str, *, keep: bool = False) -> Iterator[Place]:
    """A place on these servers, removed afterwards unless the servers are thrown away anyway (`keep`)."""
    name = uuid.uuid4().hex[:8]
    root, database = f"/p-{name}", f"p_{name}"
    as_super = [("digest", f"super:{SUPER_PASSWORD}")]
    client: pymongo.MongoClient[Document] = pymongo.MongoClient(mongodb_uri, tz_aware=True)
    options: CodecOptions[Document] = CodecOptions(tz_aware=True)
    handle: Database[Document] = client.get_database(database, codec_options=options)
    with client, connected(zookeeper) as zk:
        try:
            yield Place(zookeeper, with_database(mongodb_uri, database), root, zk, handle)
        finally:
            if not keep:
                client.drop_database(database)
                with connected(zookeeper, auth_data=as_super) as cleaner:
                    remove_tree(cleaner, root)
