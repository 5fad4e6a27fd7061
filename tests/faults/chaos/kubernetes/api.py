"""The fake API server for what outsiders do: a proxy answers in its place, and the cluster is put back from a copy."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from aiohttp import web

from tests.fakes.kube_answers import failure
from tests.fakes.kube_api import KubeApi
from tests.fakes.kube_store import Type

_PAGE = "<html><head><title>{code}</title></head><body><h1>{code}</h1><p>nginx</p></body></html>"


class Page(NamedTuple):
    """What a proxy answers to requests of some verbs: a page, and no Status."""

    code: int
    verbs: tuple[str, ...]


class ChangeableKubeApi(KubeApi):
    """`page`: of a proxy. `forbidden`: verb and namespace that are refused, as a Role may have them."""

    def __init__(self) -> None:
        super().__init__()
        self.page: Page | None = None
        self.forbidden: set[tuple[str, str]] = set()

    def _refusal(self, request: web.Request, verb: str) -> web.Response | None:
        page = self.page
        if page is not None and verb in page.verbs:
            return web.Response(status=page.code, text=_PAGE.format(code=page.code), content_type="text/html")
        namespace = request.match_info.get("namespace", "")
        if (verb, namespace) in self.forbidden:
            plural = request.match_info["plural"]
            message = (
                f'{plural} is forbidden: User "me" cannot {verb} resource "{plural}" in the namespace "{namespace}"'
            )
            return failure(403, "Forbidden", message)
        return super()._refusal(request, verb)

    def copied(self) -> dict[str, Any]:
        """All objects and versions of the cluster, as a backup of etcd has them. In the server's thread."""
        return copy.deepcopy(vars(self.store))

    def put_back(self, copied: dict[str, Any]) -> None:
        """The cluster is what it was then, versions too; every watch is broken off. In the server's thread."""
        vars(self.store).update(copy.deepcopy(copied))
        self.abort_watches()


@contextmanager
def changeable_kube_api(*types: Type) -> Iterator[ChangeableKubeApi]:
    """A running server with these types, ended afterwards."""
    api = ChangeableKubeApi()
    for type_ in types:
        api.store.add_type(type_)
    api.start()
    try:
        yield api
    finally:
        api.stop()
