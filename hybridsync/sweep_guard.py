"""What a full sync, or a repair, may remove without a person: the rules that keep a mistake from emptying a mirror.

An ensemble that comes back empty, a path that was mistyped, a collection that somebody dropped look like a source
whose records are gone. So of a mirror of 100 records or more no more than a share is removed at once; and, of whatever
size, none is emptied because the root of its source is not there, or because nothing is listed after a change of the
configuration. A removal of the root that a watch saw is no mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hybridsync.errors import SweepRefused

GUARDED_FROM_RECORDS = 100


@dataclass(slots=True)
class SweepRules:
    """`limit_percent`: 100 is no guard. `config_changed`: nothing was synced yet as it is configured now.

    `removal_seen`: whether a watch saw the root go. `allowed`: a person has said so, this once; may come at any time.
    """

    limit_percent: float
    config_changed: bool = False
    removal_seen: Callable[[], bool] = lambda: False
    allowed: bool = False

    @property
    def lifted(self) -> bool:
        """Whether nothing is refused."""
        return self.allowed or self.limit_percent >= 100


class SweepGuard:
    """Of one comparison with a mirror of `records` records. `alive`: how many of them were seen at the source."""

    def __init__(self, records: int, rules: SweepRules) -> None:
        self.alive = 0
        self._records = records
        self._rules = rules
        self._allowed = records * rules.limit_percent / 100

    @property
    def counts(self) -> bool:
        """Whether the share matters."""
        return self._records >= GUARDED_FROM_RECORDS and not self._rules.lifted

    @property
    def content(self) -> bool:
        """Whether so much of the mirror was seen alive that the share can no longer be too large."""
        return not self.counts or self._records - self.alive <= self._allowed

    def must_count(self, read: int, *, root_missing: bool) -> bool:
        """Whether `check` is called for at the end of a listing of `read` records."""
        return self.counts or self._emptied(read, root_missing) is not None

    def check(self, gone: int, read: int, source: str, spared: str, *, root_missing: bool) -> None:
        """Raises `SweepRefused` when too much is `gone`; the message says that nothing was `spared`."""
        if not gone or self._rules.lifted:
            return
        emptied = self._emptied(read, root_missing)
        if emptied is not None:
            raise SweepRefused(
                f"{source}: {emptied}, so {gone} of {self._records} records of the mirror would be removed; "
                f"nothing was {spared}. {_ADVICE}"
            )
        if self.counts and gone > self._allowed:
            raise SweepRefused(
                f"{gone} of {self._records} records of the mirror are gone at the source, more than "
                f"SWEEP_LIMIT_PERCENT={self._rules.limit_percent:g} allows; nothing was {spared}. {_ADVICE}"
            )

    def _emptied(self, read: int, root_missing: bool) -> str | None:
        """Why a listing of nothing is not believed."""
        if self._rules.lifted or read:
            return None
        if root_missing and not self._rules.removal_seen():
            return "its root is not there"
        if self._rules.config_changed:
            return "nothing was listed after the configuration was changed"
        return None


_ADVICE = (
    'If that is right, allow it once: POST /health/sync/trigger with {"allowSweep": true}, or sync once with '
    "HYBRIDSYNC_SWEEP_LIMIT_PERCENT=100"
)
