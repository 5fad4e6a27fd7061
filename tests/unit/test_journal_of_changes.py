"""The writer's journal of the fault tests: what a mirror may hold after a write whose answer never came."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from kazoo.exceptions import ConnectionLoss

from tests.faults.journal import Journal

PATH = "/services/one"


class Stat(NamedTuple):
    """As much of a znode's stat as the journal looks at."""

    mzxid: int


class FlakyServer:
    """One znode. `answers`: whether the next write is acknowledged; `takes`: whether it happens."""

    def __init__(self) -> None:
        self.mzxid: int | None = None
        self.last = 0
        self.answers = True
        self.takes = True

    def create(self, path: str, value: bytes, *, include_data: bool) -> tuple[str, Stat]:
        return path, self._write(self._next())

    def set(self, path: str, value: bytes) -> Stat:
        return self._write(self._next())

    def delete(self, path: str) -> None:
        self._write(None)

    def exists(self, path: str) -> Stat | None:
        return None if self.mzxid is None else Stat(self.mzxid)

    def _next(self) -> int:
        self.last += 1
        return self.last

    def _write(self, mzxid: int | None) -> Stat:
        if self.takes:
            self.mzxid = mzxid
        if not self.answers:
            raise ConnectionLoss
        return Stat(mzxid or 0)


@pytest.fixture
def server() -> FlakyServer:
    return FlakyServer()


@pytest.fixture
def journal(server: FlakyServer) -> Journal:
    """One znode, written once and acknowledged."""
    journal = Journal(server, "/services")
    journal.create(PATH, b"1")
    return journal


def later() -> datetime:
    """A promise that covers everything that is acknowledged by now."""
    return datetime.now(UTC) + timedelta(seconds=1)


WRITES: list[tuple[Callable[[Journal], None], dict[str, int]]] = [
    (lambda journal: journal.set(PATH, b"2"), {PATH: 2}),
    (lambda journal: journal.delete(PATH), {}),
]


@pytest.mark.parametrize(("write", "mirror_after"), WRITES, ids=["set", "delete"])
@pytest.mark.parametrize("happened", [True, False])
def test_both_outcomes_are_allowed_until_it_is_known_which_it_was(
    server: FlakyServer,
    journal: Journal,
    write: Callable[[Journal], None],
    mirror_after: dict[str, int],
    happened: bool,
) -> None:
    server.answers, server.takes = False, happened
    with pytest.raises(ConnectionLoss):
        write(journal)
    assert journal.unresolved == [PATH]
    assert journal.violations(later(), {PATH: 1}) == {}
    assert journal.violations(later(), mirror_after) == {}

    journal.resolve()

    assert journal.unresolved == []
    right, wrong = (mirror_after, {PATH: 1}) if happened else ({PATH: 1}, mirror_after)
    assert journal.violations(later(), right) == {}
    assert len(journal.violations(later(), wrong)) == 1
    assert journal.writes == (2 if happened else 1)


@pytest.mark.parametrize("happened", [True, False])
def test_a_first_create_without_an_answer(server: FlakyServer, happened: bool) -> None:
    journal = Journal(server, "/services")
    server.answers, server.takes = False, happened
    with pytest.raises(ConnectionLoss):
        journal.create(PATH, b"1")

    journal.resolve()

    assert journal.exists(PATH) is happened
    assert len(journal.violations(later(), {})) == (1 if happened else 0)


def test_what_was_over_before_is_forgotten_and_what_is_there_is_not(server: FlakyServer, journal: Journal) -> None:
    journal.set(PATH, b"2")
    journal.set(PATH, b"3")

    journal.forget_before(later())

    assert journal.violations(later(), {PATH: 3}) == {}
    assert len(journal.violations(later(), {PATH: 2})) == 1
    assert journal.exists(PATH)
    assert journal.writes == 3
