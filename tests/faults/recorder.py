"""`Recorder`: asks a service again and again, writes every answer down, and checks what it claims.

On a thread of its own, so a test may block. What is checked of every answer:

- `/health/live` is 200, always;
- never ready before a full sync succeeded in this process, unless start-up decided to skip it;
- `inSync` only with status `completed`, watching, nothing pending and no gap;
- `confirmedAt` never goes back, is never in the future, and never beyond `gapSince` while a gap is open;
- whatever was acknowledged by the source before `confirmedAt` is in the mirror (`Histories.violations`):
  the mirror is read after the answer came in, so it can only be newer than what the answer promised.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from types import TracebackType
from typing import Any, Self

from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from tests.faults.histories import Histories
from tests.service import Service, moment, wait_until

_PAUSE_SECONDS = 0.03
_CLOCK_SLACK = timedelta(milliseconds=50)
_MOST_VIOLATIONS = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said: the first question was sent at `at`, the last answer was there at `until`."""

    at: datetime
    until: datetime
    ready: int
    ready_body: dict[str, Any]
    health: str
    sync: dict[str, Any]

    @property
    def confirmed_at(self) -> datetime | None:
        """The promise."""
        text = self.sync["confirmedAt"]
        return None if text is None else moment(text)


class Recorder:
    """Watches one service with one resource for the length of a block.

    `collection` is the mirror and has short time-outs of its own; without a `journal` contents are not
    checked. At the end of the block the violations fail the test. `answers` may be looked at any time.
    """

    def __init__(
        self,
        service: Service,
        collection: Collection[dict[str, Any]] | None = None,
        journal: Histories[Any] | None = None,
    ) -> None:
        self.answers: list[Answer] = []
        self.violations: list[str] = []
        self.checked_promises = 0
        self._service = service
        self._collection = collection
        self._journal = journal
        self._checked: datetime | None = None
        self._highest: datetime | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    @property
    def last(self) -> Answer:
        """The newest answer."""
        return self.answers[-1]

    @property
    def readiness(self) -> set[int]:
        """Every status of `/health/ready` from the first 200 on."""
        statuses = [answer.ready for answer in list(self.answers)]
        return set(statuses[statuses.index(200) :])

    def since(self, start: datetime) -> list[Answer]:
        """The answers to questions that were sent at or after a moment."""
        return [answer for answer in list(self.answers) if answer.at >= start]

    def wait_asked(self, start: datetime, count: int = 4) -> None:
        """Returns when so many questions that were sent at or after a moment are answered.

        A test that is about to end an outage calls it first: while MongoDB is away, looking whether a
        promise was kept may itself take seconds, and no question is asked meanwhile.
        """
        wait_until(lambda: len(self.since(start)) >= count, f"{count} answers to questions since {start}")

    # -- asking -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set() and len(self.violations) < _MOST_VIOLATIONS:
            try:
                self._ask()
            except (OSError, HTTPException) as error:
                if not self._service.ending:
                    self.violations.append(f"{datetime.now(UTC)}: no answer: {type(error).__name__}: {error}")
            except Exception as error:
                self.violations.append(f"the recorder failed: {type(error).__name__}: {error}")
                return
            self._stop.wait(_PAUSE_SECONDS)

    def _ask(self) -> None:
        at = datetime.now(UTC)
        live, body = self._service.get("/health/live")
        if live != 200:
            self.violations.append(f"{at}: /health/live is {live}: {body}")
        ready, ready_body = self._service.get("/health/ready")
        health = self._service.get("/health")[1]["status"]
        (sync,) = self._service.get("/health/sync")[1]["sync"]
        answer = Answer(at, datetime.now(UTC), ready, ready_body, health, sync)
        self.answers.append(answer)
        self.violations += [f"{at}: {claim}: {sync}" for claim in self._false_claims(answer)]
        self._check_promise(answer)

    def _false_claims(self, answer: Answer) -> list[str]:
        sync, confirmed_at = answer.sync, answer.confirmed_at
        found: list[str] = []
        informer = sync["informer"]
        whole = sync["status"] == "completed" and informer["state"] == "watching" and informer["pending"] == 0
        if sync["inSync"] and not (whole and sync["gapSince"] is None):
            found.append("in sync, although something is open")
        if answer.ready == 200 and not self._may_be_ready(sync):
            found.append("ready before the first full sync")
        if (answer.ready == 200) != (answer.ready_body["ready"] is True):
            found.append(f"readiness contradicts itself: {answer.ready} {answer.ready_body}")
        if answer.ready != 200 and not answer.ready_body["reason"]:
            found.append("not ready for no reason")
        if confirmed_at is not None:
            if self._highest is not None and confirmed_at < self._highest:
                found.append(f"confirmedAt went back from {self._highest}")
            self._highest = confirmed_at
            if confirmed_at > datetime.now(UTC) + _CLOCK_SLACK:
                found.append("confirmedAt is in the future")
            if sync["gapSince"] is not None and confirmed_at > moment(sync["gapSince"]):
                found.append("confirmedAt is later than the beginning of the gap")
        return found

    def _may_be_ready(self, sync: dict[str, Any]) -> bool:
        if sync["decision"] is not None and sync["decision"]["action"] == "skip":
            return True
        return sync["lastSyncTime"] is not None and moment(sync["lastSyncTime"]) >= self._service.started_at

    def _check_promise(self, answer: Answer) -> None:
        confirmed_at = answer.confirmed_at
        if self._collection is None or self._journal is None or confirmed_at is None or confirmed_at == self._checked:
            return
        try:
            mirror = self._journal.held(self._collection)
        except PyMongoError:
            return  # MongoDB is away: what it holds cannot be said
        self._checked = confirmed_at
        self.checked_promises += 1
        # a key first written after the mirror was read is not in it, and is allowed not to be
        broken = self._journal.violations(confirmed_at, mirror)
        self.violations += [f"confirmedAt {confirmed_at} is false: {line}" for line in broken]

    # -- the end ----------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begins to ask, for who does not use a block."""
        self._thread.start()
        return self

    def stop(self) -> list[str]:
        """Ends the asking and returns the violations, without failing."""
        self._stop.set()
        self._thread.join(60)
        return self.violations

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None:
            assert not self._thread.is_alive(), "the recorder does not end"
            with suppress(OSError, HTTPException):  # a block may be shorter than one round of questions
                self._ask()
            assert self.answers, "the recorder has no answer at all"
            assert not self.violations, "false claims:\n" + "\n".join(self.violations)
        elif self.violations:
            error.add_note("recorded violations:\n" + "\n".join(self.violations))
