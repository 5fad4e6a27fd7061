"""Publishing as one writes it by hand: find what is on, then one kazoo `create` after the other.

Unlike hybridsync it checks no document, and it only works where nothing is published yet.
"""

from __future__ import annotations

from typing import Any

import pymongo
from kazoo.client import KazooClient

from benchmarks.channels import published
from benchmarks.peers.contender import Clock, arguments


def main() -> None:
    """Publishes a collection at a path that is empty."""
    options = arguments().parse_args()
    mongodb: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(options.uri)
    zookeeper = KazooClient(options.hosts, timeout=60.0)
    with mongodb:
        collection = mongodb[options.database][options.collection]
        collection.database.command("ping")
        zookeeper.start(timeout=60.0)
        try:
            zookeeper.ensure_path(options.root)
            clock, count = Clock(), 0
            for document in collection.find({"is_enabled": True}):
                zookeeper.create(f"{options.root}/{document['channel_id']}", published(document))
                count += 1
            clock.report(count)
        finally:
            zookeeper.stop()
            zookeeper.close()


if __name__ == "__main__":
    main()
