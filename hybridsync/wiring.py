"""From settings to objects: the one place that knows which adapter is built with what."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from hybridsync.manager import HybridSyncManager, ManagerOptions
from hybridsync.model import Record
from hybridsync.mongodb import MongoDB
from hybridsync.options import ResourceOptions
from hybridsync.resource import Resource
from hybridsync.resource_config import ResourceConfig
from hybridsync.settings import Settings, config_fingerprint
from hybridsync.sinks.mongodb import MongoMirror
from hybridsync.sinks.state_store import MongoStateStore
from hybridsync.sources.zookeeper import ZooKeeperSource
from hybridsync.znode import Stat
from hybridsync.zookeeper.settings import SessionSettings


def build_manager(settings: Settings) -> HybridSyncManager:
    """A manager for all configured resources; nothing is connected yet.

    Raises `ConfigurationError` when a client refuses the settings (a TLS file that does not fit).
    """
    mongodb = MongoDB(settings.mongodb_uri.get_secret_value())
    store = MongoStateStore(mongodb)
    session = _session(settings)
    resources = [
        Resource(
            name,
            ZooKeeperSource(session, path=config.source.path, exclude=config.source.exclude),
            MongoMirror(mongodb, config.sink.collection, config.source.path),
            store,
            _options(name, settings, config),
            committed_at=_committed_at,
        )
        for name, config in settings.resources.items()
    ]
    options = ManagerOptions(ready_max_age_seconds=settings.ready_max_age_seconds)
    return HybridSyncManager(resources, mongodb.ping, mongodb.close, options)


def secrets_of(settings: Settings) -> list[str]:
    """Every secret value in the settings, for the log to mask."""
    return [secret for secret in _secrets(settings) if secret]


def _secrets(settings: Settings) -> Iterator[str]:
    if settings.control_token is not None:
        yield settings.control_token.get_secret_value()
    if settings.zookeeper_auth is not None:
        yield settings.zookeeper_auth.get_secret_value().split(":", 2)[-1]
    password = urlsplit(settings.mongodb_uri.get_secret_value()).password
    if password:
        yield from {password, unquote(password)}


def _session(settings: Settings) -> SessionSettings:
    auth = settings.zookeeper_auth
    files = (settings.zookeeper_tls_ca, settings.zookeeper_tls_cert, settings.zookeeper_tls_key)
    ca, cert, key = (None if file is None else str(file) for file in files)
    return SessionSettings(
        hosts=settings.zookeeper_hosts,
        timeout_seconds=settings.zookeeper_session_timeout_seconds,
        auth=None if auth is None else auth.get_secret_value(),
        tls_ca=ca,
        tls_cert=cert,
        tls_key=key,
    )


def _options(name: str, settings: Settings, config: ResourceConfig) -> ResourceOptions:
    return ResourceOptions(
        mode=settings.sync_on_startup,
        config_fingerprint=config_fingerprint(name, config, settings),
        data_stale_threshold_seconds=settings.data_stale_threshold_seconds,
        auto_sync_on_informer_failure=settings.auto_sync_on_informer_failure,
        informer_max_reconnects=settings.informer_max_reconnects,
        periodic_sync_interval_hours=settings.periodic_sync_interval_hours,
        sync_timeout_seconds=settings.sync_timeout_seconds,
        confirm_interval_seconds=settings.confirm_interval_seconds,
        sweep_limit_percent=settings.sweep_limit_percent,
    )


def _committed_at(record: Record) -> float | None:
    """When ZooKeeper committed the state that a record holds, in seconds since the epoch."""
    return record.meta.mtime / 1000 if isinstance(record.meta, Stat) else None
