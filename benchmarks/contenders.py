"""Everything that can be put beside the first full sync, by name."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.collection import Collection

from benchmarks.peers import curator
from benchmarks.rig import COLLECTION, ROOT, Rig, run_process
from benchmarks.tree import Tree

CURATOR_CACHE_LARGEST = 50_000
"""Curator 5.4, which Debian has, counts with a `Phaser` what it waits for, and drops everything past 65,535
without a word but a line in the log (CURATOR-690, https://github.com/apache/curator/issues/1205)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer.

    `writes`: fills a mirror, which is then checked. `copies`: needs ready-made documents. `largest`: the
    largest tree that it can load; hybridsync is then measured on that one as well.
    """

    what: str
    module: str = ""
    options: Sequence[str] = ()
    writes: bool = True
    copies: bool = False
    cache: str = ""
    largest: int | None = None

    def tree(self, tree: Tree) -> Tree:
        """The tree that it is measured on instead of `tree`."""
        return tree if self.largest is None or tree.size <= self.largest else Tree(self.largest)


PEERS = {
    "insert_many": Peer(
        "insert_many of ready-made dicts, 1,000 a batch, one after the other", "insert_many", copies=True
    ),
    "insert_many_4": Peer("the same, four batches in flight", "insert_many", ("--in-flight", "4"), copies=True),
    "insert_many_raw": Peer(
        "insert_many of ready-made BSON, one after the other", "insert_many", ("--raw",), copies=True
    ),
    "multiread": Peer("bare multiRead walk, data thrown away", "multiread_walk", writes=False),
    "get_async": Peer("pipelined get_async + bulk_write", "get_async"),
    "tree_cache": Peer("kazoo TreeCache + bulk_write", "tree_cache"),
    "curator_cache": Peer(
        "Curator CuratorCache, memory only", writes=False, cache="CuratorCache", largest=CURATOR_CACHE_LARGEST
    ),
    "curator_tree_cache": Peer("Curator TreeCache, memory only", writes=False, cache="TreeCache"),
}


def run_peer(rig: Rig, tree: Tree, peer: Peer, reference: str) -> float:
    """One run on an empty database, checked; seconds. Raises `NotEqual`, `CuratorMissing`, `RuntimeError`."""
    if peer.cache:
        told = curator.load(rig.hosts, tree.root, peer.cache, rig.directory / "curator")
        _all_there(told, tree)
        return float(told["seconds"])
    with rig.database() as database:
        arguments = ["-m", f"benchmarks.peers.{peer.module}", *peer.options]
        arguments += ["--hosts", rig.hosts, "--root", tree.root, "--uri", rig.mongodb.uri]
        arguments += ["--database", database.name, "--collection", COLLECTION]
        if peer.copies:
            arguments += ["--reference", reference]
        told = json.loads(run_process(arguments, os.environ | {"PYTHONPATH": str(ROOT)}))
        _all_there(told, tree)
        if peer.writes:
            mirror: Collection[dict[str, Any]] = database[COLLECTION]
            rig.check(tree, mirror)
    return float(told["seconds"])


def _all_there(told: dict[str, Any], tree: Tree) -> None:
    if told["count"] != tree.znodes:
        raise RuntimeError(f"{told['count']} znodes instead of {tree.znodes}")
