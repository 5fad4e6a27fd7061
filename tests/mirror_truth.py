"""The truth about a mirror, by plain kazoo and pymongo: shares no code with hybridsync, only the contract.

`differences` reads a ZooKeeper tree znode by znode and a collection document by document, and says in
words where the one is not what the contract makes of the other.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from bson.int64 import Int64
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from kazoo.protocol.states import ZnodeStat
from pymongo.collection import Collection

T = TypeVar("T")
Document = Mapping[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS = {"_id", "parent", "name", "value", "encoding", "version", "stat", "syncedAt"}
_LONGEST_LIST = 20


class Znode(NamedTuple):
    """What ZooKeeper says."""

    value: bytes
    stat: ZnodeStat


def tree_of(client: KazooClient, root: str) -> dict[str, Znode]:
    """Every znode at and below `root`. A tree that nobody writes to: a znode that goes meanwhile is left out."""
    found: dict[str, Znode] = {}
    waiting = [root]
    while waiting:
        level, waiting = waiting, []
        answers = [(path, client.get_async(path), client.get_children_async(path)) for path in level]
        for path, data, children in answers:
            try:
                found[path] = Znode(*data.get(timeout=30))
                waiting += [path.rstrip("/") + "/" + name for name in children.get(timeout=30)]
            except NoNodeError:
                continue
    return found


def differences(
    client: KazooClient,
    root: str,
    collection: Collection[dict[str, Any]],
    *,
    wanted: Callable[[str], bool] = lambda path: True,
) -> list[str]:
    """One line for each thing that is wrong with the mirror in `collection`, at most a few dozen; none when equal.

    `wanted` says which paths are mirrored at all. Both sides must be at rest. The database handle must give
    aware datetimes (`tz_aware=True`).
    """
    tree = {path: znode for path, znode in tree_of(client, root).items() if wanted(path)}
    return record_differences(
        tree, collection, lambda znode, document: document_differences(document["_id"], znode, document, root)
    )


def record_differences(
    source: Mapping[str, T], collection: Collection[dict[str, Any]], differs: Callable[[T, Document], list[str]]
) -> list[str]:
    """The same for records of any kind: key → what the source has; `differs` says what is wrong with one document."""
    mirror = {document["_id"]: document for document in collection.find({})}
    found = [f"missing: {key}" for key in sorted(source.keys() - mirror.keys())]
    found += [f"not at the source: {key!r}" for key in sorted(mirror.keys() - source.keys(), key=str)]
    for key in sorted(source.keys() & mirror.keys()):
        found += [f"{key}: {line}" for line in differs(source[key], mirror[key])]
    return found[:_LONGEST_LIST] + ([f"and {len(found) - _LONGEST_LIST} more"] if len(found) > _LONGEST_LIST else [])


def wait_until_equal(
    client: KazooClient, root: str, collection: Collection[dict[str, Any]], *, seconds: float = 60.0
) -> None:
    """Returns when there is no difference left; fails with the differences after `seconds`."""
    deadline = time.monotonic() + seconds
    while found := differences(client, root, collection):
        assert time.monotonic() < deadline, f"source and mirror differ after {seconds:g} s: {found}"
        time.sleep(0.1)


def document_differences(path: str, znode: Znode, document: Document, root: str) -> list[str]:
    """What is wrong with one document."""
    stat = znode.stat
    expected = {
        "_id": path,
        "parent": None if path == root else path.rpartition("/")[0] or "/",
        "name": path.rpartition("/")[2] or "/",
        "version": stat.mzxid,
    }
    expected_stat = {
        "czxid": stat.czxid,
        "mzxid": stat.mzxid,
        "ctime": _moment(stat.ctime),
        "mtime": _moment(stat.mtime),
        "version": stat.version,
        "ephemeralOwner": stat.ephemeralOwner,
        "dataLength": len(znode.value),
    }
    found = [] if document.keys() == _FIELDS else [f"fields {sorted(document)}"]
    for name, value in expected.items():
        if document.get(name) != value:
            found.append(f"{name} is {document.get(name)!r}, not {value!r}")
    if document.get("stat") != expected_stat:
        found.append(f"stat is {document.get('stat')!r}, not {expected_stat!r}")
    if not isinstance(document.get("version"), Int64):
        found.append(f"version is no NumberLong but {type(document.get('version')).__name__}")
    if not isinstance(document.get("syncedAt"), datetime):
        found.append(f"syncedAt is {document.get('syncedAt')!r}")
    found += _value_differences(znode.value, document)
    return found


def _moment(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _value_differences(data: bytes, document: Document) -> list[str]:
    """Whether the value can be turned back into the bytes, and is told in the encoding that the contract names."""
    encoding, value = document.get("encoding"), document.get("value")
    allowed = _allowed_encodings(data)
    if encoding not in allowed:
        return [f"encoding is {encoding!r}, allowed is {allowed}; the bytes are {data[:80]!r}"]
    held = {
        "empty": lambda: value is None,
        "binary": lambda: isinstance(value, bytes) and value == data,
        "utf8": lambda: isinstance(value, str) and value.encode() == data,
        "json": lambda: _same_json(json.loads(data), value),
    }
    return [] if held[encoding]() else [f"value is {str(value)[:80]!r} ({encoding}), the bytes are {data[:80]!r}"]


def _allowed_encodings(data: bytes) -> tuple[str, ...]:
    """More than one where "without loss" leaves room: then the plainer one is right as well."""
    if not data:
        return ("empty",)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return ("binary",)
    try:
        value = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        return ("utf8",)
    if not isinstance(value, (dict, list)):
        return ("utf8",)
    return ("json",) if _is_plain(value) else ("json", "utf8")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("the same key twice")
    return value


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Nothing that BSON, or a server, could find hard."""
    if depth > 50:
        return False
    if isinstance(value, dict):
        names = all(name and name.isprintable() and not name.startswith("$") and "." not in name for name in value)
        return names and all(_is_plain(each, depth + 1) for each in value.values())
    if isinstance(value, list):
        return all(_is_plain(each, depth + 1) for each in value)
    if isinstance(value, float):
        return False
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return not isinstance(value, str) or value.isprintable()


def _same_json(told: Any, kept: Any) -> bool:
    """Equal, with the types of JSON told apart (in Python True == 1 == 1.0)."""
    if isinstance(told, dict):
        return (
            isinstance(kept, dict)
            and list(told) == list(kept)
            and all(_same_json(told[name], kept[name]) for name in told)
        )
    if isinstance(told, list):
        return isinstance(kept, list) and len(told) == len(kept) and all(map(_same_json, told, kept))
    if isinstance(told, bool) or told is None or isinstance(told, str):
        return type(told) is type(kept) and bool(told == kept)
    if isinstance(told, float):
        return isinstance(kept, float) and (told == kept) and math.copysign(1, told) == math.copysign(1, kept)
    return isinstance(kept, int) and not isinstance(kept, bool) and told == kept
