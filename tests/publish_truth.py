"""The truth about published znodes, by plain kazoo and pymongo: shares no code with hybridsync, only the contract.

For documents of a collection without a schema: everything but `_id` and the switch, as canonical JSON, in one znode
a key, whose name is the key encoded as in a URL.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

_LONGEST_LIST = 20
_LONGEST_VALUE = 120


def bytes_of(document: Mapping[str, Any], switch: str) -> bytes:
    """What is published of a document that holds only what JSON has, too."""
    kept = {name: value for name, value in document.items() if name not in ("_id", switch)}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def name_of(key: str) -> str:
    """The name of the znode of a key, which has no control characters and nothing of the private use."""
    return "".join(quote(sign, safe="") if sign in "/%" or ord(sign) > 0xFFFF else sign for sign in key)


def key_of(name: str) -> str:
    """The key whose znode has this name."""
    return unquote(name)


def published(client: KazooClient, path: str, keys: Iterable[str] | None = None) -> dict[str, bytes]:
    """Key → bytes of the znodes below a path: of all of them, or of these keys. Nothing where there is no path."""
    try:
        names = set(client.get_children(path))
    except NoNodeError:
        return {}
    if keys is not None:
        names &= {name_of(key) for key in keys}
    asked = [(name, client.get_async(f"{path}/{name}")) for name in names]
    found: dict[str, bytes] = {}
    for name, answer in asked:
        try:
            found[key_of(name)] = answer.get(timeout=30)[0]
        except NoNodeError:
            continue  # gone since
    return found


def differences(expected: Mapping[str, bytes], client: KazooClient, path: str) -> list[str]:
    """One line for each thing that is wrong with what is published at a path, at most a few dozen; none when equal.

    `expected`: key → bytes. Both sides must be at rest.
    """
    held = published(client, path)
    found = [f"missing: {key}" for key in sorted(expected.keys() - held.keys())]
    found += [f"not at the source: {key!r}" for key in sorted(held.keys() - expected.keys())]
    for key in sorted(expected.keys() & held.keys()):
        if held[key] != expected[key]:
            found.append(f"{key}: holds {held[key][:_LONGEST_VALUE]!r}, not {expected[key][:_LONGEST_VALUE]!r}")
    return found[:_LONGEST_LIST] + ([f"and {len(found) - _LONGEST_LIST} more"] if len(found) > _LONGEST_LIST else [])
