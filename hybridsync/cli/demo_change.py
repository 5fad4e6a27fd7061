"""`hybridsync demo --set PATH VALUE`: a change at the source, seen to arrive in the mirror."""

from __future__ import annotations

import time
from typing import Any

import pymongo
import typer
from pymongo.errors import PyMongoError

from hybridsync.cli.demo_servers import addresses
from hybridsync.errors import ConfigurationError, HybridSyncError
from hybridsync.zookeeper.loader import set_value

ARRIVAL_SECONDS = 30.0
_ANSWER_MILLISECONDS = 5000
_POLL_SECONDS = 0.001


def change_znode(path: str, value: str) -> None:
    """Sets the znode and waits until the mirror holds this very state.

    Raises `ConfigurationError` for a path that no resource of the demo mirrors, `HybridSyncError`
    when the change does not arrive.
    """
    collection = path.split("/")[1] if path.startswith("/") else ""
    hosts, uri = addresses()
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
        uri, serverSelectionTimeoutMS=5000, timeoutMS=5000
    )
    with client:
        try:
            database = client.get_default_database()
            mirrors = sorted(set(database.list_collection_names()) - {"sync_states", "sync_lanes"})
            if collection not in mirrors:
                raise ConfigurationError(f"{path!r} is not mirrored: it must be below one of /{', /'.join(mirrors)}")
            mzxid = set_value(hosts, path, value.encode())
            document, seconds = _arrival(database[collection], path, mzxid)
        except PyMongoError as error:
            raise HybridSyncError(f"the demo's MongoDB does not answer: {type(error).__name__}") from None
    typer.echo(f"{path} reached MongoDB {1000 * seconds:.0f} ms after ZooKeeper had confirmed it:")
    typer.echo({"_id": document["_id"], "value": document["value"], "version": int(document["version"])})


def _arrival(collection: Any, path: str, mzxid: int) -> tuple[dict[str, Any], float]:
    began = time.monotonic()
    while time.monotonic() - began < ARRIVAL_SECONDS:
        document = collection.find_one({"_id": path})
        if document is not None and document["version"] >= mzxid:
            return document, time.monotonic() - began
        time.sleep(_POLL_SECONDS)
    raise HybridSyncError(f"{path} did not reach MongoDB within {ARRIVAL_SECONDS:.0f} s: is the demo still running?")
