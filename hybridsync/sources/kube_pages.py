"""LIST, page by page. A page is a piece of one snapshot, as long as the server remembers it.

Source: Kubernetes API concepts, "Retrieving large results sets in chunks". When the snapshot is gone the server
offers a token to go on without it: the rest is then of a later moment, which is enough under a watch that
was armed before. Without such a token the listing fails, and the engine begins another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, NamedTuple

from hybridsync.errors import ListingFailed
from hybridsync.kube_target import Target
from hybridsync.kubernetes.client import KubeClient
from hybridsync.kubernetes.failures import ApiFailure
from hybridsync.sources.kube_failures import read_error

PAGE_ITEMS = 500
FEWEST_ITEMS = 10
PAGE_BYTES = 8 * 2**20
"""What a page should not be larger than; of larger objects fewer are asked for at once."""

TOO_NEW_TRIES = 5


class Page(NamedTuple):
    """`version`: of the snapshot. `consistent`: it is that of the page before. `remaining`: after it, if told."""

    items: Sequence[Mapping[str, Any]]
    kind: str
    version: str
    next: str
    remaining: int | None
    consistent: bool
    size: int


class Pages:
    """The pages of one target. `lists`: how many requests may be under way, with those of others."""

    def __init__(self, client: KubeClient, target: Target, lists: asyncio.Semaphore) -> None:
        self._client = client
        self._target = target
        self._lists = lists

    async def of(self, namespace: str) -> AsyncGenerator[Page, None]:
        """Every page of a namespace. Raises `ListingFailed` and `SourceDisconnected`."""
        token, consistent, limit = "", True, PAGE_ITEMS
        while True:
            try:
                page = await self._ask(namespace, self._target.selectors(limit=limit), token)
            except ApiFailure as failure:
                if not (token and failure.expired and failure.continue_token):
                    raise read_error(failure, self._client.where, "list", self._target) from None
                token, consistent = failure.continue_token, False
                continue
            yield page._replace(consistent=consistent)
            if not page.next:
                return
            token, limit = page.next, _fitting(limit, page)

    async def one(self, namespace: str, *, limit: int) -> Page:
        """The first page. Raises `ListingFailed` and `SourceDisconnected`."""
        try:
            return await self._ask(namespace, self._target.selectors(limit=limit), "")
        except ApiFailure as failure:
            raise read_error(failure, self._client.where, "list", self._target) from None

    async def named(self, namespace: str, name: str) -> list[Mapping[str, Any]]:
        """The object of that name, if it exists and the selectors match it. Raises `ApiFailure` as well."""
        parameters = self._target.selectors()
        own = f"metadata.name={name}"
        parameters["fieldSelector"] = f"{self._target.field_selector},{own}" if self._target.field_selector else own
        page = await self._ask(namespace, parameters, "")
        return [{"kind": page.kind, **item} for item in page.items]

    async def _ask(self, namespace: str, parameters: dict[str, str | int], token: str) -> Page:
        path = self._target.path(namespace)
        asked = parameters | ({"continue": token} if token else {})
        for tries in range(TOO_NEW_TRIES):
            try:
                async with self._lists:
                    body, size = await self._client.get_sized(path, asked)
                break
            except ApiFailure as failure:
                if not failure.too_new or tries + 1 == TOO_NEW_TRIES:
                    raise
                await asyncio.sleep(failure.retry_after or 1.0)
        try:
            metadata = body["metadata"]
            items = body.get("items") or []
            remaining = metadata.get("remainingItemCount")
            return Page(
                items,
                str(body.get("kind") or "").removesuffix("List"),
                str(metadata["resourceVersion"]),
                str(metadata.get("continue") or ""),
                remaining if isinstance(remaining, int) else None,
                True,
                size,
            )
        except (KeyError, TypeError, AttributeError):
            raise ListingFailed(f"{self._client.where}: the answer to a LIST of {self._target} is no list") from None


def _fitting(limit: int, page: Page) -> int:
    """So many items as should fit into a page, judged by the last one."""
    if not page.items or not page.size:
        return limit
    return max(FEWEST_ITEMS, min(PAGE_ITEMS, PAGE_BYTES * len(page.items) // page.size))
