"""A sample tree such as a company of a few teams keeps in ZooKeeper: services, configuration, flags.

About 1,000 znodes: JSON, text, binary and empty ones. Pure data, the same on every call.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from typing import Any

_SERVICES = (
    *("account", "address", "audit", "basket", "billing", "catalogue", "chat", "coupon", "customer", "delivery"),
    *("export", "gateway", "geo", "image", "import", "inventory", "invoice", "ledger", "login", "mail"),
    *("notification", "order", "payment", "pricing", "profile", "recommendation", "refund", "report", "review"),
    *("search", "session", "shipping", "stock", "tax", "ticket", "translation", "user", "warehouse", "webhook"),
)
_INSTANCES_A_SERVICE = 12
_ZONES = ("north-1a", "north-1b", "south-2a")
_FLAGS = 100
_AUDIENCES = ("staff", "beta", "all")
_GREETINGS = {"de": "Schön, dass Sie da sind!", "en": "Welcome!", "fr": "Bienvenue à bord !", "ja": "ようこそ"}


def sample_tree() -> list[tuple[str, bytes]]:
    """Every znode as `(path, data)`, parents before their children, without the root."""
    return [*_services(), *_configuration(), *_flags(), *_texts()]


def _services() -> Iterator[tuple[str, bytes]]:
    yield "/services", b""
    for number, service in enumerate(_SERVICES):
        yield f"/services/{service}", _json({"owner": f"team-{number % 7}", "protocol": "http", "tier": number % 3})
        for instance in range(_INSTANCES_A_SERVICE):
            host = f"10.{number // 8}.{number % 8}.{instance + 10}"
            yield f"/services/{service}/{host}:6000", _json(_instance(service, host, instance))


def _instance(service: str, host: str, instance: int) -> dict[str, Any]:
    return {
        "service": service,
        "host": host,
        "port": 6000,
        "zone": _ZONES[instance % len(_ZONES)],
        "weight": 100 if instance else 10,
        "version": f"2.{instance % 4}.{len(service)}",
        "tags": ["canary"] if instance == 0 else [],
        "startedAt": f"2026-03-{instance % 28 + 1:02d}T06:30:00Z",
    }


def _configuration() -> Iterator[tuple[str, bytes]]:
    yield "/config", b""
    for number, service in enumerate(_SERVICES):
        home = f"/config/{service}"
        yield home, b""
        yield f"{home}/timeout", f"{number % 5 + 1}s".encode()
        yield f"{home}/limits", _json({"requestsPerSecond": 50 * (number + 1), "burst": 20, "ratio": 0.75})
        yield f"{home}/database.url", f"postgresql://db-{number % 4}.internal:5432/{service}".encode()
        yield f"{home}/application.yaml", f"server:\n  port: 6000\nlogging:\n  level: info\nname: {service}\n".encode()
        yield f"{home}/signing-key", hashlib.sha512(service.encode()).digest()
        yield f"{home}/rules.z", zlib.compress(f"allow {service}\n".encode() * 40, level=9)
        yield f"{home}/locks", b""
        yield f"{home}/revision", str(number + 1).encode()


def _flags() -> Iterator[tuple[str, bytes]]:
    yield "/flags", b""
    for number in range(_FLAGS):
        audience = _AUDIENCES[number % len(_AUDIENCES)]
        flag = {"enabled": number % 3 == 0, "percent": number * 5 % 101, "audience": audience}
        yield f"/flags/feature-{number:03d}", _json(flag)


def _texts() -> Iterator[tuple[str, bytes]]:
    yield "/texts", b""
    for language, greeting in _GREETINGS.items():
        yield f"/texts/{language}", b""
        yield f"/texts/{language}/greeting", greeting.encode()


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
