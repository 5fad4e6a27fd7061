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
from hybridsync.kubernetes.client import ANSWER_SECONDS, JSON, KubeClient
from hybridsync.kubernetes.failures import ApiFailure
from hybridsync.sources.kube_failures import read_error, unwatchable
from hybridsync.sources.kube_progress import Progress

PAGE_ITEMS = 500
FEWEST_ITEMS = 10
PAGE_BYTES = 8 * 2**20
"""What a page should not be larger than; of larger objects fewer are asked for at once."""

QUESTION_SECONDS = 15.0
"""For the answer to a LIST of one object, on which proofs wait."""

QUESTIONS_AT_ONCE = 8
"""Of one target. They never wait for the listings of others, which may be those of a server that does not answer."""

TOO_NEW_TRIES = 5
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Source: API concepts, "Metadata-only fetches"."""

_METADATA_API = "meta.k8s.io/v1"


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
    """The pages of one target. `lists`: how many requests of listings may be under way, with those of others.

    `accept`: which form of the objects is asked for.
    """

    def __init__(self, client: KubeClient, target: Target, lists: asyncio.Semaphore, accept: str = JSON) -> None:
        self._client = client
        self._target = target
        self._lists = lists
        self._accept = accept
        self._questions = asyncio.Semaphore(QUESTIONS_AT_ONCE)

    async def of(self, namespace: str, *, pause: float = 0.0) -> AsyncGenerator[Page, None]:
        """Every page of a namespace, with `pause` seconds between them.

        Raises `ListingFailed` and `SourceDisconnected`.
        """
        token, consistent, limit, kind = "", True, PAGE_ITEMS, ""
        progress = Progress(f"{self._client.where}: LIST of {self._target}")
        while True:
            try:
                page = await self._ask(self._lists, namespace, self._target.selectors(limit=limit), token)
            except ApiFailure as failure:
                if not (token and failure.expired and failure.continue_token):
                    raise self._error(failure, namespace) from None
                token, consistent = failure.continue_token, False
                progress.expired(token)
                continue
            progress.page(page.items, page.next)
            if page.kind != kind and kind:
                raise ListingFailed(f"{self._client.where}: LIST of {self._target}: {page.kind} among {kind}")
            kind = page.kind
            yield page._replace(consistent=consistent)
            if not page.next:
                return
            token, limit = page.next, _fitting(limit, page)
            if pause:
                await asyncio.sleep(pause)

    async def one(self, namespace: str) -> Page:
        """A page of one object: the present version, asked for with a short deadline.

        Raises `ListingFailed` and `SourceDisconnected`.
        """
        try:
            return await self._ask(
                self._questions, namespace, self._target.selectors(limit=1), seconds=QUESTION_SECONDS
            )
        except ApiFailure as failure:
            raise self._error(failure, namespace) from None

    async def named(self, namespace: str, name: str) -> list[Mapping[str, Any]]:
        """The object of that name, if it exists and the selectors match it. Raises `ListingFailed` too."""
        parameters = self._target.selectors()
        own = f"metadata.name={name}"
        parameters["fieldSelector"] = f"{self._target.field_selector},{own}" if self._target.field_selector else own
        try:
            page = await self._ask(self._questions, namespace, parameters)
        except ApiFailure as failure:
            raise self._error(failure, namespace) from None
        return [{"kind": page.kind, **item} for item in page.items]

    def _error(self, failure: ApiFailure, namespace: str) -> ListingFailed:
        return read_error(failure, self._client.where, "list", self._target, namespace)

    async def _ask(
        self,
        room: asyncio.Semaphore,
        namespace: str,
        parameters: dict[str, str | int],
        token: str = "",
        seconds: float = ANSWER_SECONDS,
    ) -> Page:
        path = self._target.path(namespace)
        asked = parameters | ({"continue": token} if token else {})
        tries = 0
        while True:
            tries += 1
            try:
                async with room:  # and left while a busy server has others wait
                    answer = await self._client.get_sized(path, asked, seconds, self._accept, patient=False)
                return self._page(*answer)
            except ApiFailure as failure:
                if failure.code == 406 and self._accept != JSON:
                    self._accept = JSON  # a server that serves whole objects only
                elif failure.too_new and tries < TOO_NEW_TRIES:
                    await asyncio.sleep(failure.retry_after or 1.0)
                elif failure.too_new or not await self._client.waited(failure, tries):
                    raise

    def _page(self, body: Any, size: int) -> Page:
        """What was answered, if it is a list of this type: anything else must not be taken for an empty one."""
        told = f"{self._client.where}: the answer to a LIST of {self._target}"
        kind = body.get("kind") if isinstance(body, dict) else None
        if not isinstance(kind, str) or not kind.endswith("List"):
            raise ListingFailed(f"{told} is no list but {kind or 'something without a kind'}")
        api = body.get("apiVersion")
        if api not in (None, self._target.api, _METADATA_API):
            raise ListingFailed(f"{told} is a list of {api}, not of {self._target.api}")
        kind = "" if api == _METADATA_API else kind.removesuffix("List")
        metadata, items = body.get("metadata"), body.get("items", False)
        if not isinstance(metadata, dict) or not (items is None or isinstance(items, list)):
            raise ListingFailed(f"{told} is a {kind}List without metadata or items")
        version, remaining = metadata.get("resourceVersion"), metadata.get("remainingItemCount")
        if not version:
            raise ListingFailed(f"{told} has no resourceVersion: {unwatchable(self._target)}")
        rest = remaining if isinstance(remaining, int) else None
        return Page(items or [], kind, str(version), str(metadata.get("continue") or ""), rest, True, size)


def _fitting(limit: int, page: Page) -> int:
    """So many items as should fit into a page, judged by the last one."""
    if not page.items or not page.size:
        return limit
    return max(FEWEST_ITEMS, min(PAGE_ITEMS, PAGE_BYTES * len(page.items) // page.size))
