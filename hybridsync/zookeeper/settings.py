"""What a ZooKeeper session is made of: servers, timeout, credentials, TLS. Checked, without kazoo."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    """Takes `hosts` apart. Raises `ConfigurationError` when it is not `host:port,host:port/chroot`.

    A comma in a chroot is refused: who repeats the chroot behind each host would get one that does not exist.
    """
    listed, _, chroot = hosts.strip().partition("/")
    addresses = tuple(_address(one.strip(), hosts) for one in listed.split(","))
    if "," in chroot:
        raise ConfigurationError(
            f"ZooKeeper hosts {hosts!r}: a chroot may stand once, at the end: "
            f"allowed is host:port,host:port/chroot (HYBRIDSYNC_ZOOKEEPER_HOSTS)"
        )
    components = [component for component in chroot.split("/") if component]
    if any(component in (".", "..") or component != component.strip() for component in components):
        raise ConfigurationError(
            f"the ZooKeeper chroot of {hosts!r} may not hold '.', '..' or a name with white space at an end"
        )
    return Servers(addresses, "".join(f"/{component}" for component in components))


def _address(text: str, hosts: str) -> tuple[str, int]:
    """One `host:port`; without a port it is 2181."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or "@" in text or len(text.split()) != 1:
        raise ConfigurationError(f"ZooKeeper hosts {hosts!r}: allowed is host:port,host:port/chroot")
    return host, DEFAULT_PORT if port is None else port


def credentials_of(auth: str | None) -> tuple[str, str] | None:
    """Scheme and credential of `digest:user:password`. Raises `ConfigurationError` without showing it.

    White space at an end is refused: to ZooKeeper it is part of the password, and a wrong password is no error there.
    """
    if not auth:
        return None
    if auth != auth.strip():
        raise ConfigurationError(
            "ZooKeeper auth: it begins or ends with white space or a line end; allowed is digest:user:password "
            "(HYBRIDSYNC_ZOOKEEPER_AUTH)"
        )
    scheme, _, credential = auth.partition(":")
    if scheme != "digest" or not credential.partition(":")[2]:
        raise ConfigurationError("ZooKeeper auth: allowed is digest:user:password")
    return scheme, credential
