"""What the servers themselves counted: writes to one collection, and at all; writes below one path of ZooKeeper."""

from __future__ import annotations

from typing import Any, NamedTuple

import pymongo

from hybridsync.embedded import ZooKeeperServer

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


class ZooKeeperWrites(NamedTuple):
    """`transactions`: how far the zxid is, which every write, also a refused one, and every begin and end of a
    session moves on by one; `znodes`: creations, changes and deletions that were done, those of a multi one by one."""

    transactions: int
    znodes: int

    def since(self, before: ZooKeeperWrites) -> ZooKeeperWrites:
        """What was counted in between."""
        return ZooKeeperWrites(self.transactions - before.transactions, self.znodes - before.znodes)


def zookeeper_writes(server: ZooKeeperServer, namespace: str) -> ZooKeeperWrites:
    """The counts so far; znodes are counted whose path begins with `/namespace/` (`mntr`, ZooKeeper 3.6 or later)."""
    counted = dict(line.split("\t", 1) for line in server.ask("mntr").splitlines() if "\t" in line)
    told = dict(line.split(": ", 1) for line in server.ask("srvr").splitlines() if ": " in line)
    return ZooKeeperWrites(int(told["Zxid"], 16), int(counted.get(f"zk_cnt_{namespace}_write_per_namespace", 0)))
