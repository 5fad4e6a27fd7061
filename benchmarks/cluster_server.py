"""The tests' Kubernetes API server with ConfigMaps of 3 KB, as a process of its own: one order a line, one answer.

Its data are a function of number and round, so whoever checks a mirror needs to know nothing else.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.fakes.kube_api import CONFIG_MAPS, KubeApi, kube_api
from tests.fakes.kube_store import Store

PLURAL = "configmaps"
OBJECT_BYTES = 3000
_CHUNK = 100
"""Changes between two looks at the watches."""


class Cluster:
    """What can be ordered; every public method is one order."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._size = 0

    def fill(self, size: int) -> None:
        """Begins with so many new objects and no history."""
        self._size = size

        def work() -> None:
            self._api.store.tables.clear()
            self._api.store.add_type(CONFIG_MAPS)
            self._put(range(size), 0)
            self._api.store.compact()

        self._api.do(work)

    def change(self, turn: int) -> None:
        """Changes every object once, as fast as the server can."""
        for first in range(0, self._size, _CHUNK):
            self._api.do(partial(self._put, range(first, min(first + _CHUNK, self._size)), turn))

    def _put(self, numbers: range, turn: int) -> None:
        for number in numbers:
            put(self._api.store, number, turn)

    def forget(self, turn: int, count: int) -> None:
        """In one moment breaks the watches off, changes the first `count` objects, deletes one and compacts."""

        def work() -> None:
            self._api.asked.clear()
            self._api.abort_watches()
            self._put(range(count), turn)
            self._api.store.delete(PLURAL, *name(self._size - 1))
            self._api.store.compact()

        self._api.do(work)

    def restore(self) -> None:
        """Makes the deleted object again."""
        self._api.do(lambda: put(self._api.store, self._size - 1, 0))

    def clear(self) -> None:
        """Forgets the requests so far."""
        self._api.do(self._api.asked.clear)

    def asked(self) -> dict[str, Any]:
        """Listings, questions for one object, watches, and when the first watch came (`time.monotonic()`)."""
        watches = [one.at for one in list(self._api.asked) if one.verb == "watch"]
        return {
            "listings": self._api.listings,
            "questions": self._api.count("list", limit="1"),
            "watches": len(watches),
            "first_watch": min(watches, default=None),
        }

    def objects(self) -> dict[str, tuple[str, str, str]]:
        """Key → uid, version and digest of everything it holds."""
        objects = self._api.do(lambda: list(self._api.store.objects(PLURAL)))
        return {f"{one['metadata']['namespace']}/{one['metadata']['name']}": facts(one) for one in objects}


def name(number: int) -> tuple[str, str]:
    """Namespace and name."""
    return f"team-{number % 50:02}", f"settings-{number:06}"


def put(store: Store, number: int, turn: int) -> None:
    """One ConfigMap: text with the entropy of hexadecimal digits."""
    seed = hashlib.sha512(f"{number} {turn}".encode()).hexdigest()
    text = (seed * (OBJECT_BYTES // len(seed)))[: OBJECT_BYTES - 600]
    labels = {"app.kubernetes.io/name": f"app-{number % 100}", "turn": str(turn)}
    store.put(PLURAL, *name(number), labels=labels, data={"application.yaml": text})


def facts(one: dict[str, Any]) -> tuple[str, str, str]:
    """Uid, version, and a digest of the object without `managedFields`."""
    metadata = {key: value for key, value in one["metadata"].items() if key != "managedFields"}
    text = json.dumps({**one, "metadata": metadata}, sort_keys=True)
    return metadata["uid"], metadata["resourceVersion"], hashlib.sha256(text.encode()).hexdigest()


def main() -> None:
    """Answers until stdin ends."""
    with kube_api(CONFIG_MAPS) as api:
        cluster = Cluster(api)
        print(json.dumps(api.url), flush=True)
        for line in sys.stdin:
            order, arguments = json.loads(line)
            method: Callable[..., Any] = getattr(cluster, order)
            print(json.dumps(method(*arguments)), flush=True)


if __name__ == "__main__":
    main()
