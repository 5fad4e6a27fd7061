"""A writer of Kubernetes objects that knows what it wrote. A state is told by uid and resourceVersion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from pymongo.collection import Collection

from tests.fakes.kube_api import KubeApi
from tests.fakes.kube_store import Object
from tests.faults.histories import Histories

Version: TypeAlias = tuple[str, str]


class KubernetesJournal(Histories[Version]):
    """Puts and deletes objects of one type, by `namespace/name`; nobody else writes those.

    It writes inside the server, so no outcome is unknown, and under its lock, so nobody sees a change before it
    is written down.
    """

    def __init__(self, api: KubeApi, plural: str) -> None:
        super().__init__()
        self._api = api
        self._plural = plural

    def held(self, collection: Collection[dict[str, Any]]) -> Mapping[str, Version]:
        """What a mirror holds of the keys: key → uid and resourceVersion."""
        found = collection.find({"_id": {"$in": self.keys}}, {"uid": 1, "version": 1})
        return {document["_id"]: (document["uid"], document["version"]) for document in found}

    def put(self, key: str, fields: Object) -> None:
        """Creates or replaces an object."""
        self.put_all([key], fields)

    def put_all(self, keys: Sequence[str], fields: Object) -> None:
        """Creates or replaces many, with no other change between them."""
        self._write([self._putting(key, fields) for key in keys])

    def delete(self, key: str) -> None:
        """Deletes an object that exists."""
        self.delete_all([key])

    def delete_all(self, keys: Sequence[str]) -> None:
        """Deletes many, with no other change between them."""
        self._write([self._deleting(key) for key in keys])

    def make_again(self, key: str, fields: Object) -> None:
        """Deletes an object that exists and creates another under its name at once."""
        self._write([self._deleting(key), self._putting(key, fields)])

    def _write(self, changes: Sequence[Callable[[], tuple[str, Version | None]]]) -> None:
        with self._lock:
            for key, version in self._api.do(lambda: [change() for change in changes]):
                self._acknowledged(self._begun(key, version), version)

    def _putting(self, key: str, fields: Object) -> Callable[[], tuple[str, Version | None]]:
        def put() -> tuple[str, Version | None]:
            metadata = self._api.store.put(self._plural, *key.split("/"), **fields)["metadata"]
            return key, (metadata["uid"], metadata["resourceVersion"])

        return put

    def _deleting(self, key: str) -> Callable[[], tuple[str, Version | None]]:
        def delete() -> tuple[str, Version | None]:
            namespace, name = key.split("/")
            self._api.store.delete(self._plural, namespace, name)
            return key, None

        return delete
