"""The name of a znode for any key, and back: percent-encoding of what a name cannot hold. Pure.

ZooKeeper refuses some characters in a path (`PathUtils.validatePath` of ZooKeeper 3.8 looks at UTF-16
units, so whatever needs two of them is refused as well), and a slash or a lone dot would lead to
another znode. Those are written as `%` and two capital hexadecimal digits for each byte of their
UTF-8, and so is `%` itself. The empty key is a lone `%`, which nothing else is encoded to.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

EMPTY = "%"
RESERVED = "zookeeper"
"""The znode below the root that belongs to ZooKeeper itself."""

_REFUSED = "/\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\U0010ffff"
_ESCAPED = re.compile(f"[%{_REFUSED}]")
_LEGAL = re.compile(f"[^{_REFUSED}]+")
_DOTS = (".", "..")


def encode(key: str, *, at_root: bool = False) -> str:
    """The name for `key`; different keys have different names. `at_root`: directly below `/`."""
    if not key:
        return EMPTY
    if key in _DOTS:
        return key.replace(".", "%2E")
    if at_root and key == RESERVED:
        return _escape(key[0]) + key[1:]
    return _ESCAPED.sub(lambda found: _escape(found[0]), key)


def decode(name: str, *, at_root: bool = False) -> str | None:
    """The key whose name this is; `None` when `encode` makes this name of no key at all."""
    if name == EMPTY:
        return ""
    try:
        key = unquote_to_bytes(name).decode("utf-8", "surrogatepass") if "%" in name else name
    except UnicodeError:
        return None
    return key if encode(key, at_root=at_root) == name else None


def is_legal(name: str) -> bool:
    """Whether ZooKeeper takes this as one component of a path."""
    return name not in _DOTS and _LEGAL.fullmatch(name) is not None


def _escape(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))
