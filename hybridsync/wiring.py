"""From settings to objects: the one place that knows which adapter is built with what."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from hybridsync import resource_kinds as kinds
from hybridsync.errors import ConfigurationError
from hybridsync.kube_options import KubernetesSource
from hybridsync.manager import HybridSyncManager, ManagerOptions
from hybridsync.model import Record
from hybridsync.mongodb import MongoDB
from hybridsync.options import ResourceOptions
from hybridsync.resource import Resource
from hybridsync.resource_config import ResourceConfig
from hybridsync.settings import Settings, config_fingerprint
from hybridsync.sinks.base import Sink
from hybridsync.sinks.codec import DocumentCodec
from hybridsync.sinks.kube_codec import KubernetesCodec, view_of
from hybridsync.sinks.mirror_watch import MirrorWatch
from hybridsync.sinks.mongodb import MongoMirror
from hybridsync.sinks.state_store import MongoStateStore
from hybridsync.sinks.znode_codec import ZnodeCodec
from hybridsync.sinks.zookeeper import ZooKeeperSink
from hybridsync.sources.base import Source
from hybridsync.sources.kube_shape import Shape
from hybridsync.sources.mongodb import MongoSource
from hybridsync.sources.publish_rules import PublishRules
from hybridsync.sources.zookeeper import ZooKeeperSource
from hybridsync.supervisor import Supervised
from hybridsync.traced_seams import traced
from hybridsync.znode import stat_of
from hybridsync.zookeeper.settings import SessionSettings

LISTS_AT_ONCE = 4


class Clients(NamedTuple):
    """What the adapters are built with."""

    settings: Settings
    mongodb: MongoDB
    zookeeper: SessionSettings
    lists: defaultdict[tuple[str | None, str | None], asyncio.Semaphore]
    """Bounds the listings of one Kubernetes cluster that are under way at once: one that hangs holds no other up."""
    mirrors: MirrorWatch


def build_manager(settings: Settings) -> HybridSyncManager:
    """A manager for all configured resources; nothing is connected yet.

    Raises `ConfigurationError` when a client refuses the settings (a TLS file that does not fit).
    """
    mongodb = MongoDB(settings.mongodb_uri.get_secret_value())
    store = MongoStateStore(mongodb)
    clients = Clients(
        settings,
        mongodb,
        _session(settings),
        defaultdict(lambda: asyncio.Semaphore(LISTS_AT_ONCE)),
        MirrorWatch(mongodb),
    )
    resources = [
        Resource(
            name,
            *traced(
                name,
                _source(name, config, clients),
                _sink(config, clients),
                settings.trace_keys,
                everything=settings.log_level == "debug",
            ),
            store,
            _options(name, settings, config),
            committed_at=_committed_at,
        )
        for name, config in settings.resources.items()
    ]
    options = ManagerOptions(
        ready_max_age_seconds=settings.ready_max_age_seconds, verify_interval_hours=settings.verify_interval_hours
    )
    mirrors = Supervised("mirror watch", clients.mirrors.run)
    return HybridSyncManager(resources, mongodb.ping, mongodb.close, options, [mirrors])


def _source(name: str, config: ResourceConfig, clients: Clients) -> Source:
    """The source of one resource; one branch a kind."""
    match config.source:
        case kinds.ZooKeeperSource(path=path, exclude=exclude):
            return ZooKeeperSource(clients.zookeeper, path=path, exclude=exclude)
        case kinds.MongoSource(collection=collection, poll_seconds=poll_seconds):
            return MongoSource(
                clients.mongodb,
                collection,
                config.publish_rules(),
                name=name,
                poll_seconds=poll_seconds,
                await_seconds=min(1.0, clients.settings.confirm_interval_seconds),
            )
        case KubernetesSource() as options:
            # imported here: kubernetes_asyncio takes a second to load, and few need it
            from hybridsync.sources.kubernetes import kubernetes_source

            shape = Shape(options.target, options.drop, options.keep, managed_fields=options.managed_fields)
            return kubernetes_source(
                options.target,
                shape,
                options.kubeconfig,
                options.context,
                clients.lists[options.kubeconfig, options.context],
            )


def _sink(config: ResourceConfig, clients: Clients) -> Sink:
    """The sink of one resource; one branch a kind."""
    match config.sink:
        case kinds.MongoSink(collection=collection):
            return MongoMirror(clients.mongodb, collection, _codec(config.source), clients.mirrors)
        case kinds.ZooKeeperSink(path=path, acl=acl):
            return ZooKeeperSink(clients.zookeeper, path=path, acl=acl.get_secret_value())


def _codec(source: object) -> DocumentCodec:
    """The kind of documents that a mirror of this source has."""
    match source:
        case kinds.ZooKeeperSource(path=path):
            return ZnodeCodec(path)
        case KubernetesSource(drop=drop, keep=keep, managed_fields=managed_fields):
            return KubernetesCodec(view_of(drop, keep, managed_fields))
    raise AssertionError("settings allow no other pair")


def publishing_parts(name: str, config: ResourceConfig, settings: Settings) -> tuple[PublishRules, ZooKeeperSink]:
    """Rules and sink of a resource that publishes. Raises `ConfigurationError` for another one."""
    if not isinstance(config.sink, kinds.ZooKeeperSink):
        raise ConfigurationError(f"resource {name!r} publishes nothing: its sink is of type {config.sink.type}")
    acl = config.sink.acl.get_secret_value()
    return config.publish_rules(), ZooKeeperSink(_session(settings), path=config.sink.path, acl=acl)


def secrets_of(settings: Settings) -> list[str]:
    """Every secret value in the settings, for the log to mask."""
    return [secret for secret in _secrets(settings) if secret]


def _secrets(settings: Settings) -> Iterator[str]:
    if settings.control_token is not None:
        yield settings.control_token.get_secret_value()
    if settings.zookeeper_auth is not None:
        yield settings.zookeeper_auth.get_secret_value().split(":", 2)[-1]
    for config in settings.resources.values():
        if isinstance(config.sink, kinds.ZooKeeperSink):
            _, _, rest = config.sink.acl.get_secret_value().partition(":")
            yield rest.partition(":")[2]
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
    """When the source committed the state that a record holds, in seconds since the epoch."""
    if isinstance(record.meta, float):
        return record.meta
    return stat_of(record.meta).mtime / 1000 if isinstance(record.meta, bytes) else None
