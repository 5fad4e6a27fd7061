"""`Recorder`: asks a service again and again, writes every answer down, and checks what it claims.

On a thread of its own, so a test may block. What is checked of every answer:

- `/health/live` is 200, always;
- never ready before a full sync succeeded in this process, unless start-up decided that it does not wait for one;
- `inSync` only with status `completed`, watching, nothing pending, no gap, nothing unreadable and nothing refused;
- `confirmedAt` never goes back, is never in the future, and never beyond `gapSince` while a gap is open;
- whatever was acknowledged by the source before `confirmedAt` is in the mirror (`Histories.violations`):
  the mirror is read after the answer came in, so it can only be newer than what the answer promised. What the
  service names in `exceptions` may differ, and so may what an outsider did, as long as `Allowances` says.

Where the service has a clock of its own (`clock`), which somebody sets, times that it tells are read by that clock:

- Nothing claimed is later than the service's own now, at any moment: so a step back takes claims back with it, and
  `confirmedAt` may go back when, and only when, the clock was stepped back since the last answer.
- A promise is translated with the offset of the moment in which it is *shown*, and must be true then. The service
  shows the earlier of the wall time at which it asked the source, and its wall time now less what the monotonic
  clock counted since. After a step back that is the second, which translates to the very moment of asking. After
  a step forward it is the first, which translates to an earlier moment: the claim is older than it might be, and
  true. A service that shows the first always would, after a step back, claim the time between: found as a claim
  in the future, or as changes that are missing.
- While the clock is set during an answer, either offset may have been read: that which is kinder to the service counts.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from pymongo.collection import Collection

from tests.faults.allowances import Allowances, Named
from tests.faults.chaos.clock import Clock, Offsets
from tests.faults.histories import Histories
from tests.service import Service, moment, wait_until

_PAUSE_SECONDS = 0.03
_CLOCK_SLACK = timedelta(milliseconds=50)
_MOST_VIOLATIONS = 10
_NO_OFFSET = Offsets(timedelta(0), timedelta(0))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said: the first question was sent at `at`, the last answer was there at `until`."""

    at: datetime
    until: datetime
    ready: int
    ready_body: dict[str, Any]
    health: str
    sync: dict[str, Any]
    offsets: Offsets = _NO_OFFSET
    """Of the service's clock, meanwhile."""

    @property
    def confirmed_at(self) -> datetime | None:
        """The promise."""
        text = self.sync["confirmedAt"]
        return None if text is None else moment(text)


class Recorder:
    """Watches one service with one resource for the length of a block.

    `collection` is the mirror and has short time-outs of its own; without a `journal` contents are not
    checked. At the end of the block the violations fail the test. `answers` may be looked at any time.

    `clock`: the service's, where it has one of its own. `allowances`: what may be wrong. `unnoticed` and `excused`
    count the promises that were wrong about something which was not to be noticed yet, or only by a comparison
    of every record, or which the service itself named. `longest_unnoticed`: in seconds.
    """

    def __init__(
        self,
        service: Service,
        collection: Collection[dict[str, Any]] | None = None,
        journal: Histories[Any] | None = None,
        *,
        clock: Clock | None = None,
        allowances: Allowances | None = None,
    ) -> None:
        self.answers: list[Answer] = []
        self.violations: list[str] = []
        self.checked_promises = 0
        self.unnoticed = 0
        self.excused = 0
        self.longest_unnoticed = 0.0
        self._clock = clock
        # two clocks are read one after the other, whenever a moment before a step is shown
        self._reading = timedelta(0) if clock is None else _CLOCK_SLACK
        self._allowances = allowances or Allowances()
        self._service = service
        self._collection = collection
        self._journal = journal
        self._checked: datetime | None = None
        self._highest: tuple[datetime, timedelta, datetime] | None = None
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
                self.ask()
            except (OSError, HTTPException) as error:
                if not self._service.ending:
                    self.violations.append(f"{datetime.now(UTC)}: no answer: {type(error).__name__}: {error}")
            except Exception as error:
                self.violations.append(f"the recorder failed: {type(error).__name__}: {error}")
                return
            self._stop.wait(_PAUSE_SECONDS)

    def ask(self) -> None:
        """Asks once, and judges the answer."""
        at = datetime.now(UTC)
        live, body = self._service.get("/health/live")
        if live != 200:
            self.violations.append(f"{at}: /health/live is {live}: {body}")
        ready, ready_body = self._service.get("/health/ready")
        health = self._service.get("/health")[1]["status"]
        (sync,) = self._service.get("/health/sync")[1]["sync"]
        until = datetime.now(UTC)
        answer = Answer(at, until, ready, ready_body, health, sync, self._offsets(at, until))
        self.answers.append(answer)
        self.violations += [f"{at}: {claim}: {sync}" for claim in self._false_claims(answer)]
        self._check_promise(answer)

    def _offsets(self, start: datetime, end: datetime) -> Offsets:
        return _NO_OFFSET if self._clock is None else self._clock.offsets(start, end)

    def _false_claims(self, answer: Answer) -> list[str]:
        sync, confirmed_at = answer.sync, answer.confirmed_at
        found: list[str] = []
        informer = sync["informer"]
        whole = sync["status"] == "completed" and informer["state"] == "watching" and informer["pending"] == 0
        if sync["inSync"] and not (whole and sync["gapSince"] is None):
            found.append("in sync, although something is open")
        exceptions = sync.get("exceptions") or {}
        if sync["inSync"] and (exceptions.get("unreadable") or exceptions.get("refused")):
            found.append("in sync, although something is unreadable or refused")
        if answer.ready == 200 and not self._may_be_ready(sync):
            found.append("ready before the first full sync")
        if (answer.ready == 200) != (answer.ready_body["ready"] is True):
            found.append(f"readiness contradicts itself: {answer.ready} {answer.ready_body}")
        if answer.ready != 200 and not answer.ready_body["reason"]:
            found.append("not ready for no reason")
        if confirmed_at is not None:
            if self._highest is not None:
                highest, offset, since = self._highest
                least = self._offsets(since, answer.until).least  # it may have been set back and forth in between
                if confirmed_at < highest - self._reading and least >= offset:
                    found.append(f"confirmedAt went back from {highest}")
            self._highest = confirmed_at, answer.offsets.greatest, answer.at
            if confirmed_at > answer.until + answer.offsets.greatest + _CLOCK_SLACK:
                found.append("confirmedAt is in the future")
            if sync["gapSince"] is not None and confirmed_at > moment(sync["gapSince"]) + self._reading:
                found.append("confirmedAt is later than the beginning of the gap")
        return found

    def _may_be_ready(self, sync: dict[str, Any]) -> bool:
        decision = sync["decision"]
        if decision is not None and (decision["action"] == "skip" or decision.get("blocking") is False):
            return True
        # an offset that the clock had meanwhile is taken for the one that it had then
        least = self._offsets(self._service.started_at, datetime.now(UTC)).least
        return sync["lastSyncTime"] is not None and moment(sync["lastSyncTime"]) >= self._service.started_at + least

    def _check_promise(self, answer: Answer) -> None:
        confirmed_at = answer.confirmed_at
        if self._collection is None or self._journal is None or confirmed_at is None or confirmed_at == self._checked:
            return
        named = self._named(answer)
        try:
            mirror = self._journal.held(self._collection)
        except self._journal.away:
            return  # what the mirror holds cannot be said
        self._checked = confirmed_at
        self.checked_promises += 1
        # a key first written after the mirror was read is not in it, and is allowed not to be
        broken = self._journal.violations(confirmed_at - answer.offsets.greatest, mirror)
        rest = {key: line for key, line in broken.items() if not self._is_excused(key, named)}
        self.excused += len(rest) < len(broken)
        unnoticed = [self._allowances.unnoticed_for(key) for key in rest]
        seconds = [one for one in unnoticed if one is not None]
        self.unnoticed += bool(seconds)
        self.longest_unnoticed = max([self.longest_unnoticed, *seconds])
        judged = [line for line, one in zip(rest.values(), unnoticed, strict=True) if one is None]
        self.violations += [f"confirmedAt {confirmed_at} is false: {line}" for line in judged]

    def _named(self, answer: Answer) -> list[Named]:
        """What the service names itself: it may differ. Asked for page by page, before the mirror is read.

        An exception that ended since the answer is one whose key is right by now.
        """
        exceptions = answer.sync.get("exceptions") or {}
        count = sum(exceptions.get(kind, 0) for kind in ("unreadable", "refused", "invalid"))
        found = [Named(one["key"], one["kind"]) for one in exceptions.get("first", ())]
        if count <= len(found):
            return found
        query = {"resource": answer.sync["resourceType"]}
        while True:
            status, page = self._service.get(f"/health/sync/exceptions?{urlencode(query)}")
            if status != 200:
                self.violations.append(f"{answer.at}: the exceptions were answered with {status}: {page}")
                return found
            found += [Named(one["key"], one["kind"]) for one in page["exceptions"]]
            if page["next"] is None:
                return found
            query["after"] = page["next"]

    def _is_excused(self, key: str, named: Sequence[Named]) -> bool:
        return self._allowances.is_unverified(key) or any(one.names(key) for one in named)

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
                self.ask()
            assert self.answers, "the recorder has no answer at all"
            assert not self.violations, "false claims:\n" + "\n".join(self.violations)
        elif self.violations:
            error.add_note("recorded violations:\n" + "\n".join(self.violations))
