"""`Publishing`: a collection of channels and the path they are published at, as operators and gateways see them."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from pymongo.collection import Collection

from tests.acceptance.place import Document, Place
from tests.service import Service, wait_until

SCHEMA = "config/schemas/channel.schema.json"


def channel(key: str, *, enabled: bool = True, **changes: Any) -> Document:
    """A valid document; its znode has `account` where the document has `upstream_account`."""
    return {
        "channel_id": key,
        "is_enabled": enabled,
        "path": "/live",
        "upstream_account": "operator",
        "password": "hunter2hunter2",
        "port": 8080,
        "rate_limit": 10,
        "max_connection": 5,
        "default_encoding": 0,
        "remark": "not published",
        **changes,
    }


def published(document: Document) -> Document:
    """What is published for a document of `channel`."""
    names = ("channel_id", "path", "password", "port", "rate_limit", "max_connection", "default_encoding")
    return {name: document[name] for name in names} | {"account": document["upstream_account"]}


@dataclass(frozen=True)
class Publishing:
    """One resource, `channels`, from the collection of that name to `place.root + "/channels"`."""

    place: Place

    @property
    def root(self) -> str:
        """Where the znodes are."""
        return f"{self.place.root}/channels"

    @property
    def collection(self) -> Collection[Document]:
        """The documents."""
        return self.place.database["channels"]

    @property
    def zk(self) -> KazooClient:
        """A client of the gateways' kind."""
        return self.place.zk

    def settings(
        self, *, source: Document | None = None, resource: Document | None = None, **more: str
    ) -> dict[str, str]:
        """`source` and `resource` change these tables; the variables are those of `Place.settings`."""
        config = {
            "source": {"type": "mongodb", "collection": "channels", "key": "channel_id", "when": "is_enabled"}
            | (source or {}),
            "sink": {"type": "zookeeper", "path": self.root},
            "schema": SCHEMA,
            "fields": {"account": "upstream_account"},
        } | (resource or {})
        config = {name: value for name, value in config.items() if value is not None}
        return self.place.settings(RESOURCES=json.dumps({"channels": config}), **more)

    def names(self) -> set[str]:
        """The names of the znodes; empty when there is not even the path."""
        try:
            return set(self.zk.get_children(self.root))
        except NoNodeError:
            return set()

    def bytes_of(self, name: str) -> bytes:
        """What a znode holds."""
        value: bytes = self.zk.get(f"{self.root}/{name}")[0]
        return value

    def values(self) -> dict[str, Document]:
        """Name → parsed value of every znode."""
        found: dict[str, Document] = {}
        for name in self.names():
            with suppress(NoNodeError):  # gone since
                found[name] = json.loads(self.bytes_of(name))
        return found

    def traces(self) -> dict[str, tuple[int, int]]:
        """Name → (czxid, version) of every znode: equal as long as nobody wrote."""
        found = {name: self.zk.exists(f"{self.root}/{name}") for name in self.names()}
        return {name: (stat.czxid, stat.version) for name, stat in found.items() if stat is not None}

    def until(self, expected: dict[str, Document]) -> None:
        """Waits until exactly these values are published."""

        def same() -> bool:
            found = self.values()
            assert found == expected
            return True

        wait_until(same, "exactly the expected znodes are there")


def invalid_of(service: Service) -> dict[str, str]:
    """What `/health/sync` says about invalid documents: key → message."""
    entry = service.resource()["invalid"]
    assert entry["count"] >= len(entry["first"])
    return {one["key"]: one["message"] for one in entry["first"]}
