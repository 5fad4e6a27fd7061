"""Kubernetes to MongoDB as one writes it by hand: kubernetes_asyncio's list and watch, and one `replace_one` each.

It keeps no position, deletes nothing that was deleted while it was away, and runs until it is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

import pymongo
from kubernetes_asyncio import client, config, watch
from pymongo.collection import Collection

PAGE = 500


def main() -> None:
    """Says when everything is listed, then watches."""
    parser = argparse.ArgumentParser()
    for option in ("--kubeconfig", "--uri", "--database", "--collection"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    mongodb: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(options.uri, w="majority", journal=True)
    with mongodb:
        mirror = mongodb[options.database][options.collection]
        mirror.create_index("namespace")
        asyncio.run(_mirror(options.kubeconfig, mirror))


async def _mirror(kubeconfig: str, mirror: Collection[dict[str, Any]]) -> None:
    await config.load_kube_config(config_file=kubeconfig, persist_config=False)
    async with client.ApiClient() as api:
        version = await _listed(api, mirror)
        told = watch.Watch()
        maps = client.CoreV1Api(api).list_config_map_for_all_namespaces
        async for event in told.stream(maps, resource_version=version, allow_watch_bookmarks=True):
            if event["type"] in ("ADDED", "MODIFIED"):
                _replace(mirror, api.sanitize_for_serialization(event["object"]))
            elif event["type"] == "DELETED":
                mirror.delete_one({"_id": _key(event["raw_object"])})


async def _listed(api: client.ApiClient, mirror: Collection[dict[str, Any]]) -> str:
    began, count = time.monotonic(), 0
    token: Any = None
    while True:
        page = await client.CoreV1Api(api).list_config_map_for_all_namespaces(limit=PAGE, _continue=token)
        for one in page.items:
            _replace(mirror, {"apiVersion": "v1", "kind": "ConfigMap", **api.sanitize_for_serialization(one)})
        count += len(page.items)
        token = page.metadata._continue
        if not token:
            break
    print(json.dumps({"seconds": time.monotonic() - began, "count": count}), flush=True)
    return str(page.metadata.resource_version)


def _replace(mirror: Collection[dict[str, Any]], one: dict[str, Any]) -> None:
    metadata = one["metadata"]
    metadata.pop("managedFields", None)
    document = {
        "_id": _key(one),
        "uid": metadata["uid"],
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "labels": metadata.get("labels", {}),
        "value": one,
        "version": metadata["resourceVersion"],
    }
    mirror.replace_one({"_id": document["_id"]}, document, upsert=True)


def _key(one: dict[str, Any]) -> str:
    return f"{one['metadata']['namespace']}/{one['metadata']['name']}"


if __name__ == "__main__":
    main()
