"""Many znodes in few requests, by plain kazoo."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kazoo.client import KazooClient, TransactionRequest

_AT_ONCE = 500


def create_many(client: KazooClient, paths: Sequence[str], value: bytes) -> None:
    """Creates znodes, parents before their children; up to 500 in one transaction."""
    _in_transactions(client, paths, lambda transaction, path: transaction.create(path, value))


def set_many(client: KazooClient, paths: Sequence[str], value: bytes) -> None:
    """Sets the value of znodes; up to 500 in one transaction."""
    _in_transactions(client, paths, lambda transaction, path: transaction.set_data(path, value))


def delete_many(client: KazooClient, paths: Sequence[str]) -> None:
    """Deletes znodes, children before their parents; up to 500 in one transaction."""
    _in_transactions(client, paths, lambda transaction, path: transaction.delete(path))


def _in_transactions(
    client: KazooClient, paths: Sequence[str], add: Callable[[TransactionRequest, str], object]
) -> None:
    """The connection's errors are raised, and any other is one of the test."""
    for start in range(0, len(paths), _AT_ONCE):
        transaction = client.transaction()
        for path in paths[start : start + _AT_ONCE]:
            add(transaction, path)
        failed = [one for one in transaction.commit() if isinstance(one, Exception)]
        assert not failed, failed[:3]
