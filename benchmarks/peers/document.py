"""The document of a znode as somebody writes it by hand, with the fields that a mirror of hybridsync has."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from bson.int64 import Int64
from kazoo.protocol.states import ZnodeStat
from pymongo import ReplaceOne

Write = ReplaceOne[dict[str, Any]]


def replace(path: str, data: bytes, stat: ZnodeStat, root: str) -> Write:
    """Puts the document of a znode where it belongs, whatever is there."""
    return ReplaceOne({"_id": path}, _document(path, data, stat, root), upsert=True)


def _document(path: str, data: bytes, stat: ZnodeStat, root: str) -> dict[str, Any]:
    value, encoding = _value(data)
    parent, _, name = path.rpartition("/")
    return {
        "_id": path,
        "parent": None if path == root else parent,
        "name": name,
        "value": value,
        "encoding": encoding,
        "version": Int64(stat.mzxid),
        "stat": {
            "czxid": Int64(stat.czxid),
            "mzxid": Int64(stat.mzxid),
            "ctime": datetime.fromtimestamp(stat.ctime / 1000, UTC),
            "mtime": datetime.fromtimestamp(stat.mtime / 1000, UTC),
            "version": stat.version,
            "ephemeralOwner": Int64(stat.ephemeralOwner),
            "dataLength": stat.dataLength,
        },
        "syncedAt": datetime.now(UTC),
    }


def _value(data: bytes) -> tuple[Any, str]:
    if not data:
        return None, "empty"
    try:
        return json.loads(data), "json"
    except ValueError:
        return data, "binary"
