"""The user that the service has in MongoDB: its rights are withdrawn and given back, and it is made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pymongo.database import Database

from tests.administered_mongo import PASSWORD

NAME = "hybridsync"
LOGIN = f"{NAME}:{PASSWORD}@"
"""What stands before the host in the service's URI."""

WRITING = frozenset({"insert", "update", "remove"})
ALL = frozenset({"find", "listCollections", "listIndexes", "createIndex", "changeStream"}) | WRITING


class Rights:
    """Of one user with one role, in the database of the mirror. `database`: as somebody who may do everything."""

    def __init__(self, database: Database[dict[str, Any]], role: Mapping[str, Any]) -> None:
        self._database = database
        self._role = role

    def make(self) -> None:
        """Makes the role and the user, for the first time."""
        self._database.command(
            "createRole", self._role["role"], privileges=self._role["privileges"], roles=self._role["roles"]
        )
        self._make_user()

    @contextmanager
    def withdrawn(self, actions: frozenset[str]) -> Iterator[None]:
        """The user may do none of these, on nothing."""
        left = [
            {**privilege, "actions": kept}
            for privilege in self._role["privileges"]
            if (kept := [action for action in privilege["actions"] if action not in actions])
        ]
        self._give(left)
        try:
            yield
        finally:
            self._give(self._role["privileges"])

    @contextmanager
    def no_user(self) -> Iterator[None]:
        """The user is dropped, and made again with the same name and password."""
        self._database.command("dropUser", NAME)
        try:
            yield
        finally:
            self._make_user()

    def _give(self, privileges: Sequence[Mapping[str, Any]]) -> None:
        self._database.command("updateRole", self._role["role"], privileges=list(privileges))

    def _make_user(self) -> None:
        self._database.command("createUser", NAME, pwd=PASSWORD, roles=[self._role["role"]])
