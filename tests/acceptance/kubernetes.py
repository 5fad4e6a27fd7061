"""`Cluster`: a service that mirrors objects of the fake API server into a database of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pymongo.database import Database

from tests.fakes.kube_api import KubeApi
from tests.kube_truth import key_of
from tests.service import Service

DEPLOYMENTS = {"type": "kubernetes", "api": "apps/v1", "plural": "deployments"}


class Cluster:
    """The server, the database, and the settings that put a service between them."""

    def __init__(self, api: KubeApi, database: Database[dict[str, Any]], uri: str, directory: Path) -> None:
        self.api = api
        self.database = database
        self._uri = uri
        self._kubeconfig = api.kubeconfig(directory)

    def settings(self, *sources: dict[str, Any], **more: str) -> dict[str, str]:
        """One resource a source, named after its plural; `more` are variables without the prefix."""
        resources = {
            source["plural"]: {"source": {"kubeconfig": self._kubeconfig, **source}}
            for source in sources or (DEPLOYMENTS,)
        }
        return {"MONGODB_URI": self._uri, "RESOURCES": json.dumps(resources), **more}

    def service(self, *sources: dict[str, Any], **more: str) -> Service:
        """A service that is not started yet."""
        return Service(self.settings(*sources, **more))

    def served(self, plural: str = "deployments") -> dict[str, Any]:
        """Key → uid and version of what the server holds."""
        objects = self.api.do(lambda: [one["metadata"] for one in self.api.store.objects(plural)])
        return {key_of(one): (one["uid"], one["resourceVersion"]) for one in objects}

    def mirrored(self, plural: str = "deployments") -> dict[str, Any]:
        """The same of what the collection holds."""
        return {one["_id"]: (one["uid"], one["version"]) for one in self.database[plural].find()}

    def is_level(self, plural: str = "deployments") -> bool:
        """Whether both are equal; else an `AssertionError` that shows them."""
        assert self.mirrored(plural) == self.served(plural)
        return True

    def document(self, key: str, plural: str = "deployments") -> dict[str, Any]:
        """One document of the mirror."""
        found = self.database[plural].find_one({"_id": key})
        assert found is not None, f"no document {key}"
        return found
