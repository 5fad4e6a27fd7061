"""The address under which a client on this machine reaches a server bound to some host."""

from __future__ import annotations


def base_url(host: str, port: int) -> str:
    """The URL of a server bound to `host`; one bound to every interface is reached on loopback."""
    reachable = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
