"""The periodic check inside the service: every record of every resource compared, and what differs repaired.

One resource after the other, so that no two of them load the servers at once, each in its turn of the
interval. A resource is compared only while it is watched and no full sync runs: then a difference can be
*proven*. Between the two looks at a key lies a proof (`confirmedAt`) that all the source had done by the
first one has arrived, so a mirror that is behind is never taken for one that drifted.

A repair is a key that is read again: it takes the way of a watched change, in order with the others and
under the same guards. What that cannot settle gets a full sync, whose trigger is `verify`.

The first time comes within minutes of a start. Where the source can tell keys and versions alone (`Source.outline`),
those are compared, and then also where the check is off, once after a start that resumed: what was put back from a
backup meanwhile is in no event.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import structlog

from hybridsync.clock import Instant, utc_now
from hybridsync.errors import HybridSyncError, SweepRefused, describe
from hybridsync.resource import Resource
from hybridsync.status import SyncResult, Trigger, VerifyOutcome
from hybridsync.sweep_guard import SweepRules
from hybridsync.verify import Comparison, VerifyReport, progressing

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 10.0
"""How long a resource may not be comparable before that is told as an error."""

FIRST_SECONDS = 120.0
"""After a start; spread over the resources."""

RETRY_SECONDS = 60.0
REREAD_KEYS = 10_000
"""Keys repaired at once: together they wait for one proof."""

log: structlog.stdlib.BoundLogger = structlog.get_logger("hybridsync")


class Interrupted(HybridSyncError):
    """The resource is no longer comparable; the check begins again when it is."""


@dataclass(slots=True)
class _Turn:
    """When a resource is due, in monotonic seconds; `waiting_since` then, until it is comparable."""

    resource: Resource
    due: float
    waiting_since: float | None = None
    told: bool = False


class PeriodicVerify:
    """Checks each resource every `interval_hours`, jittered by ±10 %; `run` is a supervised task.

    0: just those that went on where a process before them was, and can be compared cheaply.
    """

    def __init__(self, resources: Sequence[Resource], interval_hours: float) -> None:
        self._always = interval_hours > 0
        self._interval = interval_hours * 3600 if self._always else FIRST_SECONDS
        now = time.monotonic()
        share = min(FIRST_SECONDS, self._interval) / max(1, len(resources))
        self._turns = [
            _Turn(resource, now + share * place * _jitter()) for place, resource in enumerate(resources, start=1)
        ]

    async def run(self) -> None:
        """Checks for ever."""
        while self._turns:
            for turn in sorted(self._turns, key=lambda turn: turn.due):
                if turn.due <= time.monotonic():
                    await self._take(turn)
            nearest = min(turn.due for turn in self._turns) - time.monotonic()
            await asyncio.sleep(max(POLL_SECONDS, nearest))

    async def _take(self, turn: _Turn) -> None:
        """Checks a resource that is due, if that is possible now."""
        resource, now = turn.resource, time.monotonic()
        if resource.never_synced or not (self._always or resource.owes_comparison):
            self._next(turn, self._interval)
            return
        reason = resource.incomparable
        if reason is not None:
            turn.waiting_since = turn.waiting_since or now
            patience = min(PATIENCE_SECONDS, self._interval)
            if not turn.told and not resource.syncing and now - turn.waiting_since >= patience:
                turn.told = True
                self._failed(resource, reason)
            return
        turn.waiting_since = None
        try:
            outcome = await check(resource)
        except Interrupted:
            return  # it stays due
        except HybridSyncError as error:
            self._failed(resource, describe(error))
            self._next(turn, min(self._interval, RETRY_SECONDS))
        except Exception as error:
            self._failed(resource, describe(error))
            self._next(turn, self._interval)
            raise
        else:
            resource.last_verify = outcome
            resource.owes_comparison = False
            self._next(turn, self._interval)

    def _next(self, turn: _Turn, seconds: float) -> None:
        turn.due = time.monotonic() + seconds * _jitter()
        turn.waiting_since, turn.told = None, False

    def _failed(self, resource: Resource, reason: str) -> None:
        log.warning("source and mirror could not be compared", resource=resource.name, error=reason)
        resource.last_verify = VerifyOutcome(finished_at=utc_now(), error=reason)


async def check(resource: Resource) -> VerifyOutcome:
    """One check with its repair. Raises `Interrupted`, `SyncStalled`, and what source and sink raise."""
    stall_seconds = resource.options.sync_timeout_seconds
    began = time.monotonic()
    left: list[str] = []
    async with progressing(stall_seconds) as progress:

        def touch() -> None:
            _require_comparable(resource)  # a full sync that begins is never met by a second walk
            progress()

        await resource.sink.prepare()
        comparison = Comparison(resource.source, resource.sink, lambda: _proven(resource), touch, outline=True)
        report = await comparison.run()
        keys = [key for of_kind in comparison.drifted.values() for key in of_kind]
        if keys:
            _tell_drift(resource, report)
            left = await _reread(resource, comparison, keys)
    if left:
        left = await _resynced(resource, report, left, stall_seconds)
    report.repaired = len(keys) - len(left)
    log.info(
        "source and mirror compared",
        resource=resource.name,
        seconds=round(time.monotonic() - began, 3),
        compared=report.compared,
        drift=report.drift,
        repaired=report.repaired,
    )
    return report.outcome(utc_now())


async def _reread(resource: Resource, comparison: Comparison, keys: list[str]) -> list[str]:
    """Has what differs read and written again; returns the keys that differ even then."""
    try:
        comparison.guard(SweepRules(resource.options.sweep_limit_percent))
    except SweepRefused as error:
        comparison.report.error = describe(error)
        return keys
    left: list[str] = []
    rest = iter(keys)
    while chunk := list(islice(rest, REREAD_KEYS)):
        resource.reread(chunk)
        try:
            await _proven(resource)
        finally:
            resource.reread(())
        left += await comparison.still_differing(chunk)
    return left


async def _resynced(resource: Resource, report: VerifyReport, keys: list[str], stall_seconds: float) -> list[str]:
    """Has a full sync settle what a repair could not; returns the keys that differ even then."""
    _require_comparable(resource)  # asking for a sync must not stand for the consent that a parked resource waits for
    report.repaired = report.drift - len(keys)
    resource.last_verify = report.outcome(utc_now())
    result: SyncResult = await resource.owe_sync(Trigger.VERIFY)
    if result.error is not None:
        report.error = report.error or result.error
        return keys
    async with progressing(stall_seconds) as touch:
        await _proven(resource)
        comparison = Comparison(resource.source, resource.sink, lambda: _proven(resource), touch)
        return await comparison.still_differing(keys)


async def _proven(resource: Resource) -> None:
    """Returns once everything the source did before this call is in the mirror, and acknowledged."""
    asked = Instant.now()
    while (confirmed := resource.confirmed) is None or confirmed <= asked:
        _require_comparable(resource)
        await asyncio.sleep(POLL_SECONDS)


def _require_comparable(resource: Resource) -> None:
    reason = resource.incomparable
    if reason is not None:
        raise Interrupted(reason)


def _tell_drift(resource: Resource, report: VerifyReport) -> None:
    resource.last_verify = report.outcome(utc_now())
    log.error(
        "the mirror differs from its source: repairing",
        resource=resource.name,
        missing=report.missing,
        extra=report.extra,
        different=report.different,
        samples=report.samples,
    )


def _jitter() -> float:
    return random.uniform(0.9, 1.1)
