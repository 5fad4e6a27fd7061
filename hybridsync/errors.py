"""Every error hybridsync raises on purpose, in one tree.

    HybridSyncError
    ├── ConfigurationError        the user's settings are wrong; exit code 2, one line a problem
    ├── SourceError               something about the side that is read
    │   ├── SourceDisconnected    the connection (and with it the watch) is gone; reconnect
    │   ├── PositionExpired       the session or the history is gone; only a full sync helps
    │   ├── ListingFailed         a read failed: this listing must not lead to a sweep
    │   └── SourceUnsupported     the server cannot do what is needed (too old)
    ├── SinkError                 something about the side that is written
    │   └── SinkUnavailable       the server cannot be reached in time; the same write may be tried again
    ├── SweepRefused              a full sync would delete more than SWEEP_LIMIT_PERCENT allows
    ├── SyncStalled               a full sync made no progress for SYNC_TIMEOUT_SECONDS
    └── Stopping                  the service is going down

Messages are one line, say what was wrong, where, and what is allowed or what to do, and never
hold a secret: they are shown in logs, in `/health/sync` and on the command line as they are.
"""

from __future__ import annotations

from collections.abc import Sequence


class HybridSyncError(Exception):
    """Base of every error below."""


class ConfigurationError(HybridSyncError):
    """Settings that cannot be used. `problems` holds one line for each thing that is wrong."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class SourceError(HybridSyncError):
    """Base of errors of the side that is read."""


class SourceDisconnected(SourceError):
    """The connection is gone or never came up. Events may have been missed since."""


class PositionExpired(SourceError):
    """The session, or the history behind a position, is gone for good."""


class ListingFailed(SourceError):
    """A read failed for another reason than a lost connection; the listing is incomplete."""


class SourceUnsupported(SourceError):
    """The server does not know a request that hybridsync needs."""


class SinkError(HybridSyncError):
    """A write or a read of the sink failed and trying again will not help."""


class SinkUnavailable(SinkError):
    """The sink cannot be reached or did not answer in time. Every write is safe to repeat."""


class SweepRefused(HybridSyncError):
    """Too large a share of the mirror would be deleted; nothing was changed."""


class SyncStalled(HybridSyncError):
    """A full sync made no progress within the allowed time."""


class Stopping(HybridSyncError):
    """The service is stopping and starts nothing new."""


def describe(error: BaseException) -> str:
    """An error as one line for people; the type's name only where hybridsync did not word it itself."""
    text = " ".join(str(error).split())
    if isinstance(error, HybridSyncError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
