"""What keeps a session from its servers, in words: shown while it lasts, and logged when it begins or changes."""

from __future__ import annotations

import time

import structlog

_log = structlog.get_logger("hybridsync")

QUIET_SECONDS = 10.0
"""After so long without a failure the next one is news, even the same one."""

VARIABLE = "HYBRIDSYNC_ZOOKEEPER_HOSTS"


class Trouble:
    """Address → why nothing comes of it. `where` names the servers."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._reasons: dict[str, str] = {}
        self._told: set[tuple[str, str]] = set()
        self._noted_at = 0.0

    def note(self, address: str, reason: str) -> None:
        """Takes in that an attempt failed. What was told already is not logged again before it is quiet for a while."""
        now = time.monotonic()
        if now - self._noted_at > QUIET_SECONDS:
            self._told.clear()
        self._noted_at = now
        self._reasons[address] = reason
        if (address, reason) not in self._told:
            self._told.add((address, reason))
            _log.warning("ZooKeeper server cannot be used", servers=self._where, address=address, reason=reason)

    def over(self) -> None:
        """A connection is of use."""
        self._reasons.clear()

    @property
    def detail(self) -> str:
        """Each address with its reason; empty when there is none."""
        return "; ".join(f"{address}: {reason}" for address, reason in self._reasons.items())

    @property
    def text(self) -> str | None:
        """One line with what cannot be reached, why, and where that is set; `None` when nothing is known."""
        return f"{self._where} cannot be reached: {self.detail} ({VARIABLE})" if self._reasons else None
