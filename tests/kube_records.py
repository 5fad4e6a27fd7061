"""Records of Kubernetes objects, and a mirror to write them to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from hybridsync.kube_object import ObjectMeta, object_key, object_version
from hybridsync.model import Record
from hybridsync.mongodb import MongoDB
from hybridsync.sinks.kube_codec import KubernetesCodec
from hybridsync.sinks.mongodb import MongoMirror


def kube_object(
    name: str,
    *,
    namespace: str | None = "prod",
    uid: str = "uid-1",
    version: str = "100",
    labels: Mapping[str, str] | None = None,
    value: bytes | None = None,
    **fields: Any,
) -> Record:
    """One object; `fields` go beside its metadata, `value` replaces all of its JSON."""
    labels = labels or {}
    metadata = {"labels": labels, "name": name, "resourceVersion": version, "uid": uid}
    whole = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **fields}
    data = json.dumps(whole, separators=(",", ":"), sort_keys=True).encode() if value is None else value
    meta = ObjectMeta(uid, namespace, name, labels, version)
    return Record(object_key(namespace, name), data, object_version(uid, version), meta)


@asynccontextmanager
async def object_mirror(uri: str, view: str = "", **seconds: float) -> AsyncIterator[MongoMirror]:
    """A mirror in the collection `mirror` of that database, with a client of its own."""
    mongodb = MongoDB(uri, **seconds)
    try:
        yield MongoMirror(mongodb, "mirror", KubernetesCodec(view))
    finally:
        await mongodb.close()
