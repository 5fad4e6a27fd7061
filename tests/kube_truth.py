"""The truth about a mirror of Kubernetes objects, by plain pymongo: shares only the contract with hybridsync."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pymongo.collection import Collection

from tests.mirror_truth import record_differences

_FIELDS = {"_id", "uid", "namespace", "name", "labels", "value", "version", "syncedAt"}
_DEEPEST = 90
"""Levels that BSON holds in any case, within a document."""


def differences(served: Iterable[Mapping[str, Any]], collection: Collection[dict[str, Any]]) -> list[str]:
    """One line for each thing that is wrong with the mirror of these objects, at most a few dozen; none when equal.

    Both sides must be at rest. The database handle must give aware datetimes (`tz_aware=True`).
    """
    objects = {key_of(one["metadata"]): one for one in served}
    return record_differences(objects, collection, document_differences)


def document_differences(served: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    """What is wrong with one document."""
    metadata = served["metadata"]
    expected = {
        "uid": metadata["uid"],
        "namespace": metadata.get("namespace"),
        "name": metadata["name"],
        "labels": metadata.get("labels") or {},
        "version": metadata["resourceVersion"],
    }
    kept = {**served, "metadata": {name: one for name, one in metadata.items() if name != "managedFields"}}
    as_text = not _fits_in_bson(kept)
    found = []
    if document.keys() != (_FIELDS | {"encoding"} if as_text else _FIELDS):
        found.append(f"fields {sorted(document)}")
    for name, value in expected.items():
        if document.get(name) != value:
            found.append(f"{name} is {document.get(name)!r}, not {value!r}")
    if as_text and document.get("encoding") != "utf8":
        found.append(f"encoding is {document.get('encoding')!r}, not 'utf8'")
    value = document.get("value")
    held = _canonical(json.loads(value) if as_text and isinstance(value, str) else value)
    if held != _canonical(kept):
        found.append(f"value is {held[:200]}, not {_canonical(kept)[:200]}")
    if not isinstance(document.get("syncedAt"), datetime):
        found.append(f"syncedAt is {document.get('syncedAt')!r}")
    return found


def key_of(metadata: Mapping[str, Any]) -> str:
    """The `_id` of the object with this metadata."""
    return f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else str(metadata["name"])


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=repr)


def _fits_in_bson(value: Any, depth: int = 0) -> bool:
    """Whether no integer is beyond 64 bits, and nothing nested too deeply."""
    if isinstance(value, Mapping):
        return depth < _DEEPEST and all(_fits_in_bson(each, depth + 1) for each in value.values())
    if isinstance(value, list):
        return depth < _DEEPEST and all(_fits_in_bson(each, depth + 1) for each in value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63
