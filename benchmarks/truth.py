"""Whether a mirror is equal to its tree, by an independent reader: no code of hybridsync, only the contract."""

from __future__ import annotations

from typing import Any

from pymongo.collection import Collection

from benchmarks.multiread import Znode, read_tree
from benchmarks.tree import Tree, compact, connected

Documents = Collection[dict[str, Any]]

_SHOWN = {"version": 1, "stat.czxid": 1, "value": 1, "encoding": 1}
_SAMPLES = 5


class NotEqual(Exception):
    """A mirror is not what it should be: the run is worthless."""


def tree_in(hosts: str, tree: Tree) -> dict[str, Znode]:
    """Every znode of a tree at rest. Raises `NotEqual` when there are not as many as there should be."""
    client = connected(hosts)
    found: dict[str, Znode] = {}
    try:
        read_tree(client, tree.root, found.__setitem__)
    finally:
        client.stop()
        client.close()
    if len(found) != tree.znodes:
        raise NotEqual(f"{tree.root} has {len(found)} znodes instead of {tree.znodes}")
    return found


def check(truth: dict[str, Znode], mirror: Documents) -> None:
    """Compares paths, ids, versions and values. Raises `NotEqual`."""
    wrong: list[str] = []
    seen = 0
    for document in mirror.find({}, _SHOWN, batch_size=10_000):
        znode = truth.get(document["_id"])
        seen += 1
        if znode is None:
            wrong.append(f"{document['_id']} is not in the tree")
        elif (document["version"], document["stat"]["czxid"]) != (znode.mzxid, znode.czxid):
            wrong.append(f"{document['_id']} is another version")
        elif held_bytes(document) != znode.value:
            wrong.append(f"{document['_id']} holds another value")
    if wrong or seen != len(truth):
        raise NotEqual(f"{seen} documents for {len(truth)} znodes, {len(wrong)} wrong: {wrong[:_SAMPLES]}")


def held_bytes(document: dict[str, Any]) -> bytes:
    """The bytes of the znode, made again from its document; only for values that `tree.value` wrote."""
    if document["encoding"] == "empty":
        return b""
    return compact(document["value"]) if document["encoding"] == "json" else bytes(document["value"])
