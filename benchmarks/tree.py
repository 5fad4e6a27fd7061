"""The trees that are mirrored, and a fast way to get them into ZooKeeper.

A tree of `size` has that many leaves, `PER_PARENT` under each parent, and one root above the parents.
A leaf holds `VALUE_BYTES` of compact JSON; a parent and the root hold nothing.
"""

from __future__ import annotations

import json
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from kazoo.client import KazooClient

PER_PARENT = 100
VALUE_BYTES = 200

_LOADERS = 2
_BATCHES_IN_FLIGHT = 4
_CHANGES_A_BATCH = 500
_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree in the server; `size` counts leaves."""

    size: int

    @property
    def root(self) -> str:
        """The path of its root."""
        return f"/bench/tree{self.size}"

    @property
    def parents(self) -> int:
        """How many parents there are."""
        return -(-self.size // PER_PARENT)

    @property
    def znodes(self) -> int:
        """All znodes: leaves, parents and the root."""
        return self.size + self.parents + 1

    def parent(self, number: int) -> str:
        """The path of a parent."""
        return f"{self.root}/service-{number:05d}"

    def leaf(self, number: int) -> str:
        """The path of a leaf."""
        parent, child = divmod(number, PER_PARENT)
        return f"{self.parent(parent)}/10.0.{child // 10}.{child}:6000"


def value(number: int, change: int = 0) -> bytes:
    """What leaf `number` holds after its `change`-th change: exactly `VALUE_BYTES` of compact JSON."""
    told = {
        "host": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
        "port": 6000,
        "weight": number % 10,
        "zones": ["north-1a", "south-2a"],
        "enabled": number % 7 != 0,
        "limits": {"requests": number % 1000, "burst": 50},
        "change": change,
        "note": "",
    }
    told["note"] = "x" * (VALUE_BYTES - len(compact(told)))
    return compact(told)


def compact(told: Any) -> bytes:
    """JSON without a blank, as `value` writes it."""
    return json.dumps(told, separators=(",", ":")).encode()


def connected(hosts: str) -> KazooClient:
    """A started client; the caller stops and closes it."""
    client = KazooClient(hosts, timeout=60.0)
    client.start(timeout=_SECONDS)
    return client


def load(hosts: str, tree: Tree) -> None:
    """Creates the tree, by several processes with a few multi requests under way each."""
    client = connected(hosts)
    try:
        client.ensure_path(tree.root)
    finally:
        client.stop()
        client.close()
    share = -(-tree.parents // _LOADERS)
    work = [(hosts, tree, first, min(first + share, tree.parents)) for first in range(0, tree.parents, share)]
    in_processes(_load_parents, work)


def change(hosts: str, tree: Tree, numbers: Sequence[int], number: int) -> None:
    """Writes the `number`-th value of these leaves."""
    client = connected(hosts)
    under_way: deque[Any] = deque()
    try:
        for start in range(0, len(numbers), _CHANGES_A_BATCH):
            transaction = client.transaction()
            for leaf in numbers[start : start + _CHANGES_A_BATCH]:
                transaction.set_data(tree.leaf(leaf), value(leaf, number))
            if len(under_way) >= _BATCHES_IN_FLIGHT:
                _committed(under_way.popleft())
            under_way.append(transaction.commit_async())
        while under_way:
            _committed(under_way.popleft())
    finally:
        client.stop()
        client.close()


def in_processes(function: Callable[..., Any], work: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Calls `function` with each of the tuples, in a fresh process each, all at once."""
    # not multiprocessing.Pool: that one starts a process that cannot begin again and again, for ever
    with ProcessPoolExecutor(len(work), mp_context=multiprocessing.get_context("spawn")) as processes:
        return [each.result() for each in [processes.submit(function, *arguments) for arguments in work]]


def _load_parents(hosts: str, tree: Tree, first: int, end: int) -> None:
    client = connected(hosts)
    under_way: deque[Any] = deque()
    try:
        numbers = range(first, end)
        for start in range(0, len(numbers), 10):
            paths: list[tuple[str, bytes]] = []
            for parent in numbers[start : start + 10]:
                paths.append((tree.parent(parent), b""))
                leaves = range(parent * PER_PARENT, min((parent + 1) * PER_PARENT, tree.size))
                paths.extend((tree.leaf(leaf), value(leaf)) for leaf in leaves)
            if len(under_way) >= _BATCHES_IN_FLIGHT:
                _committed(under_way.popleft())
            under_way.append(_create(client, paths))
        while under_way:
            _committed(under_way.popleft())
    finally:
        client.stop()
        client.close()


def _create(client: KazooClient, znodes: Iterable[tuple[str, bytes]]) -> Any:
    transaction = client.transaction()
    for path, data in znodes:
        transaction.create(path, data)
    return transaction.commit_async()


def _committed(answer: Any) -> None:
    for result in answer.get(timeout=_SECONDS):
        if isinstance(result, Exception):
            raise result
