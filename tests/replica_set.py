"""`ReplicaSet`: three private MongoDB servers that elect a primary."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from hybridsync.embedded import MongoServer
from tests.service import wait_until

NAME = "hybridsync"
ELECTION_MILLISECONDS = 3_000
"""How long a primary may be silent before another is elected, and be alone before it steps down."""

_HASTY: dict[str, Any] = {"serverSelectionTimeoutMS": 1_000, "connectTimeoutMS": 1_000, "socketTimeoutMS": 1_000}


class Member(MongoServer):
    """One member. `start` returns when it answers, whatever its part is."""

    def _command(self) -> list[str]:
        command = super()._command()
        command[command.index("--wiredTigerCacheSizeGB") + 1] = "0.25"
        return command

    def _answers(self) -> bool:
        return bool(self.asked("ping"))

    def asked(self, command: str, value: Any = 1) -> dict[str, Any]:
        """The answer of this very member to a command on `admin`; empty when there is none within a second."""
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(self.uri, **_HASTY)
        with client:
            try:
                return client.admin.command(command, value)
            except PyMongoError:
                return {}

    @property
    def is_primary(self) -> bool:
        """Whether it takes writes."""
        return bool(self.asked("hello").get("isWritablePrimary"))


class ReplicaSet:
    """Use as `with`: started and initiated, killed at the end. All members have a vote and the same priority."""

    def __init__(self, directory: Path) -> None:
        self.members = [Member(directory / f"member-{number}") for number in range(3)]
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with self._exits:
            self._exits.callback(lambda: _at_once(Member.kill, self.members))
            _at_once(Member.start, self.members)
            members = [{"_id": number, "host": one.address} for number, one in enumerate(self.members)]
            settings = {"electionTimeoutMillis": ELECTION_MILLISECONDS, "heartbeatIntervalMillis": 500}
            config = {"_id": NAME, "members": members, "settings": settings}
            wait_until(lambda: self._initiated(config), "the replica set is initiated")
            self.make_whole()
            self._exits = self._exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def _initiated(self, config: dict[str, Any]) -> bool:
        """Asks for it; an answer that came too late shows in `hello`."""
        first = self.members[0]
        return bool(first.asked("replSetInitiate", config)) or first.asked("hello").get("setName") == NAME

    def uri(self, database: str) -> str:
        """What a client connects to; it names all members and says nothing about how to write."""
        return f"mongodb://{','.join(one.address for one in self.members)}/{database}?replicaSet={NAME}"

    def wait_primary(self, among: Sequence[Member] = ()) -> Member:
        """The member that takes writes, once one of them does."""
        return wait_until(
            lambda: next((one for one in among or self.members if one.is_primary), None), "a member is primary"
        )

    def secondaries(self) -> list[Member]:
        """The members that are not primary now."""
        primary = self.wait_primary()
        return [one for one in self.members if one is not primary]

    def make_whole(self) -> None:
        """Starts what is down, thaws what is frozen; returns when there are a primary and two secondaries."""
        for one in self.members:
            if one.running:
                one.resume()
        _at_once(Member.start, self.members)
        wait_until(self._is_whole, "a primary and two secondaries")

    def _is_whole(self) -> bool:
        states = [one.asked("replSetGetStatus") for one in self.members]
        found = [sorted(member["stateStr"] for member in state.get("members", ())) for state in states]
        assert found == [["PRIMARY", "SECONDARY", "SECONDARY"]] * 3, found
        return True


def step_down(primary: Member) -> None:
    """Makes the primary step down for half a minute, once a secondary has caught up."""
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(primary.uri)
    with client:
        deadline = time.monotonic() + 30
        while True:
            try:
                client.admin.command("replSetStepDown", 30, secondaryCatchUpPeriodSecs=10)
            except OperationFailure:  # no secondary was near enough
                assert time.monotonic() < deadline, "the primary does not step down"
                continue
            return


def _at_once(act: Callable[[Member], None], members: Sequence[Member]) -> None:
    with ThreadPoolExecutor(len(members)) as threads:
        list(threads.map(act, members))
