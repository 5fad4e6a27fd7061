"""Which proxy a request takes: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` as Go's clients read them, kubectl too.

Source: golang.org/x/net/http/httpproxy. Python's own rules know neither networks nor ports.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

_PORTS = {"http": "80", "https": "443"}


def proxy_for(url: str, environment: Mapping[str, str]) -> str | None:
    """The proxy for a URL, as a URL; `None` for none."""
    parts = urlsplit(url)
    names = ("HTTPS_PROXY", "https_proxy") if parts.scheme == "https" else ("HTTP_PROXY", "http_proxy")
    proxy = next((environment[name] for name in names if environment.get(name)), "")
    excluded = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    try:
        host, port = (parts.hostname or "").lower(), str(parts.port or _PORTS.get(parts.scheme, ""))
    except ValueError:
        return None
    if not proxy or _is_local(host) or any(_excludes(entry, host, port) for entry in excluded.split(",")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_local(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _excludes(entry: str, host: str, port: str) -> bool:
    """Whether one entry of NO_PROXY means this host: a network, an address or a domain, the latter two with a port."""
    entry = entry.strip().lower()
    if entry == "*":
        return True
    address = _address(host)
    try:
        network = ipaddress.ip_network(entry, strict=False) if "/" in entry else None
    except ValueError:
        network = None
    if network is not None:
        return address is not None and address.version == network.version and address in network
    name, only = _split(entry)
    if not name or only not in ("", port):
        return False
    known = _address(name)
    if known is not None:
        return address == known
    if name.startswith("*."):
        name = name[1:]
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _split(entry: str) -> tuple[str, str]:
    """Host and port of an entry; an IPv6 address with a port stands in brackets."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
