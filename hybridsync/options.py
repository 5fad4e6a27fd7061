"""The settings that one resource obeys, as plain data, so that the engine knows nothing of pydantic."""

from __future__ import annotations

from dataclasses import dataclass

from hybridsync.decision import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceOptions:
    """Names and units as in docs/configuration.md; back-offs are (first, largest) delay in seconds.

    `reconnect_backoff` is short at its longest: a server that is back is used within seconds. What costs it much, a
    full sync that failed at the source, waits for `failed_sync_backoff`.
    `dirty_limit`: distinct changed keys remembered at most; past it a full sync replaces them.
    """

    mode: Mode = Mode.AUTO
    config_fingerprint: str = ""
    data_stale_threshold_seconds: float = 86400.0
    auto_sync_on_informer_failure: bool = True
    informer_max_reconnects: int = 5
    periodic_sync_interval_hours: float = 0.0
    sync_timeout_seconds: float = 600.0
    confirm_interval_seconds: float = 1.0
    sweep_limit_percent: float = 50.0
    reconnect_backoff: tuple[float, float] = (0.8, 4.0)
    failed_sync_backoff: tuple[float, float] = (2.0, 120.0)
    dirty_limit: int = 200_000
