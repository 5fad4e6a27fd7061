"""Requests to one API server: GET with a deadline, and a stream of lines; retried where the server asks for it.

Credentials are loaded again, without a restart, after they were refused and when what they were read from has
changed while the server cannot be reached. Nothing here knows types of objects.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from hybridsync.errors import ListingFailed, SourceDisconnected
from hybridsync.kubernetes import credentials, kubeconfig
from hybridsync.kubernetes.credentials import Access
from hybridsync.kubernetes.failures import ApiFailure, WentSilent, failure_of
from hybridsync.kubernetes.transport import Disconnected, TlsFailed, Transport

JSON = "application/json"
ANSWER_SECONDS = 60.0
OPEN_SECONDS = 30.0
CONNECT_SECONDS = 10.0
LOAD_SECONDS = 30.0
BUSY_TRIES = 6
BUSY_SECONDS = 1.0
LONGEST_BUSY_SECONDS = 30.0
LONGEST_LINE = 64 * 2**20
"""Bytes of one event; the API takes objects of a few MiB at most."""

Params = Mapping[str, str | int]


class KubeClient:
    """One API server, as `kubeconfig` and `context` say. Usable on one event loop.

    `trouble`: why it cannot be reached at this moment, else `None`.
    """

    def __init__(self, given: str | None, context: str | None) -> None:
        self.trouble: str | None = None
        self.where = f"Kubernetes ({context or given or 'this cluster'})"
        self._given = given
        self._context = context
        self._access: Access | None = None
        self._transport: Transport | None = None
        self._loads = 0
        self._loading = asyncio.Lock()

    @property
    def cluster(self) -> str:
        """Which server it is and whose certificates it must have, as the credentials say; empty before `open`."""
        return f"{self._access.server} {self._access.authority}" if self._access is not None else ""

    async def open(self) -> None:
        """Loads the credentials if that was not done. Raises `SourceDisconnected`."""
        try:
            async with self._loading:
                if self._transport is None:
                    await self._load()
        except SourceDisconnected as error:
            self.trouble = str(error)
            raise

    async def get(self, path: str, params: Params, seconds: float = ANSWER_SECONDS) -> Any:
        """The parsed answer. Raises `ApiFailure` for a refusal, else `SourceDisconnected` and `ListingFailed`."""
        return (await self.get_sized(path, params, seconds))[0]

    async def get_sized(
        self, path: str, params: Params, seconds: float = ANSWER_SECONDS, accept: str = JSON, *, patient: bool = True
    ) -> tuple[Any, int]:
        """The same, with the number of its bytes. `seconds`: for one answer, to its end.

        `patient`: a busy server is asked again here; else the caller does so, see `waited`.
        """
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, CONNECT_SECONDS))
        async with self._asked(path, params, limits, accept, patient=patient) as response:
            body = await response.read()
            try:
                return json.loads(body), len(body)
            except (ValueError, RecursionError):
                raise ListingFailed(f"{self.where}: {self._no_answer(response)}") from None

    @asynccontextmanager
    async def lines(self, path: str, params: Params, silence: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """Opens a stream; its lines end when the server closes in good order.

        Raises `ApiFailure` and `SourceDisconnected`; the latter also from the lines, for a connection that breaks
        off, and `WentSilent` for one that brings nothing for `silence` seconds.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence)
        async with self._asked(path, params, limits) as response:
            if response.content_type == "text/html":
                raise SourceDisconnected(f"{self.where}: {self._no_answer(response)}")
            yield self._split(response)

    def _no_answer(self, response: aiohttp.ClientResponse) -> str:
        what = f"answered 200 with {response.content_type} that is no JSON"
        return f"{what}: a proxy or a login page answered for the API server"

    async def waited(self, failure: ApiFailure, tries: int) -> bool:
        """Whether the same may be asked again now: a server that is busy named the time. `tries`: so far."""
        if not failure.busy or tries >= BUSY_TRIES:
            return False
        seconds = min(failure.retry_after or BUSY_SECONDS, LONGEST_BUSY_SECONDS)
        if tries > 1:
            self.trouble = f"{self.where}: it is busy ({failure}); asked again in {seconds:g} s"
        await asyncio.sleep(seconds)
        return True

    async def close(self) -> None:
        """Closes every connection. Never raises."""
        self.trouble = None
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    async def _split(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """Lines of nearly any length: aiohttp's own reading of lines has a limit."""
        pieces: list[bytes] = []
        size = 0
        try:
            with self._disconnected():
                async for chunk in response.content.iter_any():
                    *ends, rest = chunk.split(b"\n")
                    for end in ends:
                        line = b"".join([*pieces, end])
                        pieces.clear()
                        size = 0
                        if line.strip():
                            yield line
                    if rest:
                        pieces.append(rest)
                        size += len(rest)
                        if size > LONGEST_LINE:
                            raise SourceDisconnected(f"{self.where}: a watch brought more than an event can be")
        except SourceDisconnected as error:
            if isinstance(error.__context__, TimeoutError):
                raise WentSilent(f"{self.where}: the watch was silent for too long") from None
            raise
        if b"".join(pieces).strip():
            raise SourceDisconnected(f"{self.where}: the watch broke off within an event")

    @asynccontextmanager
    async def _asked(
        self, path: str, params: Params, limits: aiohttp.ClientTimeout, accept: str = JSON, *, patient: bool = True
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        renewed = False
        tries = 0
        while True:
            await self.open()
            sent_with = self._loads
            try:
                response = await self._send(path, params, limits, accept)
            except SourceDisconnected as error:
                if renewed or not await self._renew(sent_with, self._outdated(error)):
                    raise
                renewed = True
                continue
            if response.status == 200:
                break
            failure = await self._failure(response)
            if failure.code in (401, 403) and not renewed and await self._renew(sent_with, self._outdated(failure)):
                renewed = True
                continue
            tries += 1
            if not (patient and await self.waited(failure, tries)):
                self.trouble = self.trouble if failure.busy else None
                raise failure
        self.trouble = None
        try:
            with self._disconnected():
                yield response
        finally:
            response.close()

    async def _send(
        self, path: str, params: Params, limits: aiohttp.ClientTimeout, accept: str
    ) -> aiohttp.ClientResponse:
        try:
            transport = self._transport
            if transport is None:
                raise SourceDisconnected(f"{self.where}: the connection was closed")
            with self._disconnected():
                async with asyncio.timeout(limits.total or OPEN_SECONDS):
                    return await transport.get(path, params, accept, limits)
        except SourceDisconnected as error:
            self.trouble = str(error)
            raise

    async def _failure(self, response: aiohttp.ClientResponse) -> ApiFailure:
        try:
            with self._disconnected():
                async with asyncio.timeout(OPEN_SECONDS):
                    body = await response.read()
        finally:
            response.close()
        return failure_of(body, response.status, response.headers.get("Retry-After"))

    # -- credentials ------------------------------------------------------------------------------

    def _outdated(self, refusal: Exception) -> bool:
        """Whether other credentials could help: after a 401 at any rate, else when there are others.

        Tokens are rotated, and plugins give out new ones, so that nothing to be read needs to have changed.
        """
        access = self._access
        if access is None or (isinstance(refusal, ApiFailure) and refusal.code == 401):
            return True
        if access.plugin and isinstance(refusal, TlsFailed):
            return True
        return access.changed

    async def _renew(self, loads: int, outdated: bool) -> bool:
        """Loads again, unless somebody did since the request was sent; whether there is something new to try."""
        async with self._loading:
            if self._loads != loads:
                return True
            if outdated:
                try:
                    await self._load()
                except SourceDisconnected as error:
                    self.trouble = str(error)
                    raise
            return outdated

    async def _load(self) -> None:
        """Reads the credentials; a new TLS identity or address also needs new connections."""
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                access = await credentials.load(self._given, self._context)
        except TimeoutError:
            name = place.name if (place := kubeconfig.where(self._given)) is not None else credentials.POD
            raise SourceDisconnected(f"{name}: no credentials within {LOAD_SECONDS:g} s") from None
        transport = self._transport
        if transport is None or self._access is None or self._access.identity != access.identity:
            fresh = Transport(access.configuration, access.origin)
            await self.close()
            self._transport = fresh
        else:
            transport.use(access.configuration)
        self._access = access
        self._loads += 1
        self.where = f"Kubernetes at {access.server}"

    def _disconnected(self) -> Disconnected:
        return Disconnected(self.where, self._access.origin if self._access is not None else "nowhere")
