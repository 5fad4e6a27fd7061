"""One object as it is now, and when it counts as gone.

Only the API itself may say so, of exactly this object. A proxy's page, a Status about something else, or another
object under the name is asked again, and then a failure: it would delete from the mirror what is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from hybridsync.errors import ListingFailed
from hybridsync.kube_target import Target
from hybridsync.kubernetes.client import KubeClient
from hybridsync.kubernetes.failures import ApiFailure
from hybridsync.model import Change, Put, Remove
from hybridsync.sources.kube_failures import RightMissing, read_error
from hybridsync.sources.kube_pages import Pages
from hybridsync.sources.kube_shape import Shape, namespace_of

READ_TRIES = 3
RETRY_SECONDS = 0.5


class Reader:
    """Reads the objects of one target by their keys."""

    def __init__(self, client: KubeClient, target: Target, shape: Shape, pages: Pages) -> None:
        self._client = client
        self._target = target
        self._shape = shape
        self._pages = pages

    async def read(self, key: str) -> Change:
        """The object, or that it is gone. With selectors it is looked for among those that match them.

        Raises `ListingFailed`, also when only a proxy said that it is gone, and `SourceDisconnected`.
        """
        for tries in range(1, READ_TRIES + 1):
            try:
                return await self._change(key)
            except ListingFailed as error:
                if tries == READ_TRIES or isinstance(error, RightMissing):
                    raise
            await asyncio.sleep(RETRY_SECONDS)
        raise AssertionError("the last try returns or raises")

    async def _change(self, key: str) -> Change:
        found = await self._found(namespace_of(key), key.rpartition("/")[2])
        if found is None:
            return Remove(key)
        try:
            records = [self._shape.record(one) for one in found]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ListingFailed(f"{self._client.where}: {key} of {self._target}: {_words(error)}") from None
        change = next((Put(record) for record in records if record.key == key), None)
        if change is None and records:
            raise ListingFailed(f"{self._client.where}: asked for {key} of {self._target}, got {records[0].key}")
        return change or Remove(key)

    async def _found(self, namespace: str, name: str) -> list[Mapping[str, Any]] | None:
        """What was answered; `None` when the API says that the object is not there."""
        if self._target.label_selector or self._target.field_selector:
            return await self._pages.named(namespace, name)
        try:
            return [await self._client.get(f"{self._target.path(namespace)}/{quote(name, safe='')}", {})]
        except ApiFailure as failure:
            if failure.names(name, self._target.plural, self._target.group):
                return None
            if failure.code == 403:
                return await self._pages.named(namespace, name)  # who may list may do without `get`
            if failure.code == 404:
                await self._pages.one(namespace)  # raises when it is the whole resource that is not there
            raise read_error(failure, self._client.where, "get", self._target, namespace) from None


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else f"it is no object ({type(error).__name__})"
