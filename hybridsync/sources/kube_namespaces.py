"""Those of several namespaces that may not be read: named with the missing right, and looked at again.

Whether they may be read is asked as it will be needed: a LIST and a WATCH. When one may, the watch ends as if
its history were gone, so that all of it is armed and listed anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from hybridsync.errors import PositionExpired, SourceError
from hybridsync.kube_target import Target
from hybridsync.kubernetes.client import KubeClient
from hybridsync.kubernetes.failures import ApiFailure
from hybridsync.sources.kube_failures import RightMissing, watch_error
from hybridsync.sources.kube_pages import Pages

LOOK_SECONDS = 5.0
LOOKS = 8
"""Namespaces looked at in one turn; the others have theirs later."""

_SILENCE_SECONDS = 10.0

log: structlog.stdlib.BoundLogger = structlog.get_logger("hybridsync")


class Namespaces:
    """The namespaces of one target. `hidden`: those that may not be read, with the reason."""

    def __init__(self, client: KubeClient, target: Target, pages: Pages) -> None:
        self.hidden: dict[str, str] = {}
        self._client = client
        self._target = target
        self._pages = pages

    def refused(self, refused: Mapping[str, RightMissing]) -> None:
        """Takes which were refused just now. Raises the refusal when it was all of them."""
        if refused and len(refused) == len(self._target.namespaces):
            raise next(iter(refused.values()))
        for namespace in set(self.hidden) - set(refused):
            del self.hidden[namespace]
            log.info("a namespace may be read again", namespace=namespace, source=str(self._target))
        for namespace, error in refused.items():
            self.hide(namespace, error)

    def hide(self, namespace: str, error: RightMissing) -> None:
        """Takes that a namespace may not be read; told once."""
        if namespace not in self.hidden:
            log.error("a namespace may not be read: what the mirror has of it stays", reason=str(error))
        self.hidden[namespace] = str(error)

    async def require_one(self) -> None:
        """Returns when one of them may be listed. Raises what the question failed with."""
        last: RightMissing | None = None
        for namespace in self._target.namespaces:
            try:
                await self._pages.one(namespace)
                return
            except RightMissing as error:
                last = error
        if last is not None:
            raise last

    async def look_again(self, lose: Callable[[SourceError], None]) -> None:
        """Looks for ever, and loses the watch when a namespace may be read that was hidden."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for namespace in list(self.hidden)[:LOOKS]:
                if await self._readable(namespace):
                    lose(PositionExpired(f"{self._target} in namespace {namespace} may be read now: it is listed"))
                    return

    async def _readable(self, namespace: str) -> bool:
        try:
            page = await self._pages.one(namespace)
            asked = self._target.selectors(watch="true", resourceVersion=page.version, timeoutSeconds=1)
            async with self._client.lines(self._target.path(namespace), asked, _SILENCE_SECONDS):
                return True
        except ApiFailure as failure:
            return self._still(namespace, watch_error(failure, self._client.where, self._target, namespace))
        except SourceError as error:
            return self._still(namespace, error)

    def _still(self, namespace: str, error: SourceError) -> bool:
        """It waits for its next turn, behind the others."""
        known = self.hidden.pop(namespace, str(error))
        self.hidden[namespace] = str(error) if isinstance(error, RightMissing) else known
        return False
