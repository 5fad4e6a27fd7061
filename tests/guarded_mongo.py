"""`GuardedMongo`: a private mongod that asks for credentials, and the roles that the documentation gives hybridsync."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pymongo
from pymongo.errors import OperationFailure

from hybridsync.embedded import MongoServer
from tests.service import ROOT

PASSWORD = "least-privilege-7"
ADMIN = f"root:{PASSWORD}@"
"""What stands before the host in the URI of who may do everything; its authSource is `admin`."""

_UNAUTHORIZED = 13


class GuardedMongo(MongoServer):
    """A mongod that asks for credentials; its members know each other by a key file. `make_admin` comes first."""

    def _command(self) -> list[str]:
        key = self.directory / "key"
        if not key.exists():
            key.write_text("bm8gc2VjcmV0" * 4)
            key.chmod(0o400)
        return [*super()._command(), "--keyFile", str(key), "--setParameter", "enableTestCommands=1"]

    def _initiate_once(self, client: pymongo.MongoClient[dict[str, Any]]) -> None:
        try:
            super()._initiate_once(client)
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:  # there are users, so it was initiated in an earlier life
                raise

    def make_admin(self) -> None:
        """Makes the first user, which any client on the same machine may, as long as there is none."""
        with pymongo.MongoClient[Any](self.uri) as first, suppress(OperationFailure):
            first.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])


def role_of_mirror(database: str, collection: str = "services") -> dict[str, Any]:
    """The role on the page of operations, for a mirror in `database`."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    found = re.search(r"createRole\((\{.*?\n\})\)", page, re.DOTALL)
    assert found is not None
    role: dict[str, Any] = json.loads(found[1].replace('"coordination"', f'"{database}"'))
    for privilege in role["privileges"]:
        if privilege["resource"]["collection"] == "services":
            privilege["resource"]["collection"] = collection
    return role


def role_of_publishing(database: str, collection: str) -> dict[str, Any]:
    """What docs/mongodb-to-zookeeper.md asks for: to read the collection and its changes, and the states."""
    return {
        "role": "hybridsync",
        "privileges": [
            {
                "resource": {"db": database, "collection": collection},
                "actions": ["find", "changeStream", "listIndexes"],
            },
            {"resource": {"db": database, "collection": ""}, "actions": ["listCollections"]},
            {"resource": {"db": database, "collection": "sync_states"}, "actions": ["find", "insert", "update"]},
        ],
        "roles": [],
    }
