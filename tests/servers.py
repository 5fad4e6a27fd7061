"""Servers given from outside, and plain clients for the fixtures."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError, NotEmptyError

from hybridsync.embedded import MongoServer

SUPER_PASSWORD = "tests-only"
"""Of the user `super` of every private ZooKeeper: reads and deletes what ACLs hide."""

_GIVEN = {name: value for name, value in os.environ.items() if name.startswith("HYBRIDSYNC_TEST_")}

_CONNECT_SECONDS = 60.0
_DELETE_SECONDS = 30.0


@dataclass(frozen=True)
class GivenZooKeeper:
    """A ZooKeeper that is not ours to stop."""

    hosts: str

    @property
    def port(self) -> int:
        """The port of the first server."""
        return int(self.hosts.split(",")[0].split("/")[0].rpartition(":")[2])


@dataclass(frozen=True)
class GivenMongo:
    """A MongoDB that is not ours to stop."""

    uri: str

    @property
    def port(self) -> int:
        """The port of the server; 27017 when the URI names none."""
        return urlsplit(self.uri).port or 27_017


def given(variable: str) -> str | None:
    """The value that an environment variable had when the run began, `None` when it was unset or empty."""
    return _GIVEN.get(variable) or None


def with_database(uri: str, name: str) -> str:
    """The MongoDB URI with `name` as the database."""
    return urlunsplit(urlsplit(uri)._replace(path=f"/{name}"))


@contextmanager
def connected(hosts: str, **options: Any) -> Iterator[KazooClient]:
    """A started kazoo client, stopped and closed at the end."""
    client = KazooClient(hosts=hosts, timeout=30.0, **options)
    client.start(timeout=_CONNECT_SECONDS)
    try:
        yield client
    finally:
        client.stop()
        client.close()


def delete_tree(client: KazooClient, root: str) -> None:
    """Deletes `root` and all below it, also while somebody still writes there for a moment."""
    deadline = time.monotonic() + _DELETE_SECONDS
    while True:
        try:
            client.delete(root, recursive=True)
        except NotEmptyError:
            if time.monotonic() < deadline:
                continue
            raise
        except NoAuthError:
            # Only on a server given from outside, where `super` has another password: what a test
            # protected with an ACL stays there, under a root that no other test uses.
            if given("HYBRIDSYNC_TEST_ZOOKEEPER_HOSTS") is None:
                raise
        return


class GuardedMongo(MongoServer):
    """A mongod that asks for credentials; its members know each other by a key file."""

    def _command(self) -> list[str]:
        key = self.directory / "key"
        if not key.exists():
            key.write_text("bm8gc2VjcmV0" * 4)
            key.chmod(0o400)
        return [*super()._command(), "--keyFile", str(key)]


class StandaloneMongo(MongoServer):
    """A MongoDB that is no replica set."""

    def _command(self) -> list[str]:
        command = super()._command()
        at = command.index("--replSet")
        return command[:at] + command[at + 2 :]

    def _initiate_once(self, client: object) -> None:
        """There is no replica set to initiate."""
