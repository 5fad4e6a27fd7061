"""What a ZooKeeper session is made of: servers, timeout, credentials, TLS. Checked, without kazoo."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from hybridsync.errors import ConfigurationError

DEFAULT_PORT = 2181


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How to reach ZooKeeper.

    `hosts` is `host:port,host:port/chroot`. `auth` is `digest:user:password` and is never shown.
    TLS is used as soon as one of its three files is named; the host name is always checked, against
    the authorities in `tls_ca` only, or the system's when there is none. `tls_key` may be left out
    when the file `tls_cert` holds the key too.
    """

    hosts: str
    timeout_seconds: float = 30.0
    auth: str | None = field(default=None, repr=False)
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None


@dataclass(frozen=True, slots=True)
class Servers:
    """`hosts`, taken apart: `chroot` is empty or starts with a slash and does not end with one."""

    addresses: tuple[tuple[str, int], ...]
    chroot: str

    @property
    def text(self) -> str:
        """The same in writing, for kazoo and for people."""
        return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.addresses)


def servers_of(hosts: str) -> Servers:
    """Takes `hosts` apart. Raises `ConfigurationError` when it is not `host:port,host:port/chroot`."""
    listed, _, chroot = hosts.partition("/")
    addresses = tuple(_address(one.strip(), hosts) for one in listed.split(","))
    components = [component for component in chroot.split("/") if component]
    if any(component in (".", "..") for component in components):
        raise ConfigurationError(f"the ZooKeeper chroot of {hosts!r} may not hold '.' or '..'")
    return Servers(addresses, "".join(f"/{component}" for component in components))


def _address(text: str, hosts: str) -> tuple[str, int]:
    """One `host:port`; without a port it is 2181."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or "@" in text:
        raise ConfigurationError(f"ZooKeeper hosts {hosts!r}: allowed is host:port,host:port/chroot")
    return host, DEFAULT_PORT if port is None else port


def credentials_of(auth: str | None) -> tuple[str, str] | None:
    """Scheme and credential of `digest:user:password`. Raises `ConfigurationError` without showing it."""
    if not auth:
        return None
    scheme, _, credential = auth.partition(":")
    if scheme != "digest" or not credential.partition(":")[2]:
        raise ConfigurationError("ZooKeeper auth: allowed is digest:user:password")
    return scheme, credential


def tls_context_of(settings: SessionSettings) -> ssl.SSLContext | None:
    """The TLS context, or `None` for plain connections.

    Raises `ConfigurationError` when a file is missing or does not hold what it should.
    """
    if not (settings.tls_ca or settings.tls_cert or settings.tls_key):
        return None
    if settings.tls_key and not settings.tls_cert:
        raise ConfigurationError("ZooKeeper TLS: a key is given without its certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = True
    if settings.tls_ca:
        _readable("CA", settings.tls_ca)
        _load("CA", settings.tls_ca, lambda: context.load_verify_locations(settings.tls_ca))
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if settings.tls_cert:
        _readable("certificate", settings.tls_cert)
        if settings.tls_key:
            _readable("key", settings.tls_key)
        _load(
            "certificate and key",
            settings.tls_cert,
            lambda: context.load_cert_chain(settings.tls_cert or "", settings.tls_key, password=_no_password),
        )
    return context


def _no_password() -> str:
    """Stands in for OpenSSL's question on the terminal, which would stop the process for ever."""
    raise ConfigurationError("ZooKeeper TLS: the key is encrypted; allowed is a key without a password")


def _readable(what: str, file: str) -> None:
    try:
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise ConfigurationError(f"ZooKeeper TLS {what} {file!r} cannot be read: {error.strerror}") from None


def _load(what: str, file: str, load: Callable[[], None]) -> None:
    try:
        load()
    except (ssl.SSLError, OSError):
        raise ConfigurationError(f"ZooKeeper TLS {what} {file!r}: allowed is PEM, and a key that fits") from None
