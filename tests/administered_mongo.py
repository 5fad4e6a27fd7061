"""A private mongod that asks for credentials, and the roles that the documentation gives hybridsync."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pymongo
from pymongo.errors import OperationFailure

from tests.acceptance.test_least_privilege import PASSWORD, the_role_on_the_page
from tests.servers import GuardedMongo

__all__ = ["ADMIN", "PASSWORD", "AdministeredMongo", "role_of_mirror", "role_of_publishing"]

ADMIN = f"root:{PASSWORD}@"
"""What stands before the host in the URI of who may do everything; its authSource is `admin`."""

_UNAUTHORIZED = 13


class AdministeredMongo(GuardedMongo):
    """One that is started again when it has users, and whose commands can be made to fail. `make_admin` comes first."""

    def _command(self) -> list[str]:
        return [*super()._command(), "--setParameter", "enableTestCommands=1"]

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


def role_of_mirror(database: str, collection: str) -> dict[str, Any]:
    """The role on the page of operations, for one mirror in `database`."""
    role = the_role_on_the_page(database)
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
