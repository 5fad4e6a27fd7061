"""What MongoDB itself counted: writes to one collection, and writes at all."""

from __future__ import annotations

from typing import Any, NamedTuple

import pymongo

_WRITES = ("insert", "update", "delete")


class Writes(NamedTuple):
    """`mirror`: write operations on the mirror's collection (`top`); `server`: documents that all clients
    together inserted, updated or deleted (`opcounters` of `serverStatus`)."""

    mirror: int
    server: int

    def since(self, before: Writes) -> Writes:
        """What was counted in between."""
        return Writes(self.mirror - before.mirror, self.server - before.server)


def writes(client: pymongo.MongoClient[dict[str, Any]], namespace: str) -> Writes:
    """The counts so far. `namespace` is `database.collection`."""
    told = client.admin.command("top")["totals"].get(namespace, {})
    mirror = sum(told.get(kind, {}).get("count", 0) for kind in ("insert", "update", "remove"))
    server = client.admin.command("serverStatus")["opcounters"]
    return Writes(mirror, sum(server[kind] for kind in _WRITES))
