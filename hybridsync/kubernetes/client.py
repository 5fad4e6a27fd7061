"""Requests to one API server: GET with a deadline, and a stream of lines; retried where the server asks for it.

Transport, TLS and proxies are kubernetes_asyncio's and aiohttp's; nothing here knows types of objects.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.client.rest import RESTClientObject

from hybridsync.errors import SourceDisconnected
from hybridsync.kubernetes import credentials
from hybridsync.kubernetes.failures import ApiFailure, failure_of

ANSWER_SECONDS = 60.0
OPEN_SECONDS = 30.0
LOAD_SECONDS = 30.0
CLOSE_SECONDS = 5.0
BUSY_TRIES = 6
BUSY_SECONDS = 1.0
LONGEST_BUSY_SECONDS = 30.0
Params = Mapping[str, str | int]


class KubeClient:
    """One API server, as `kubeconfig` and `context` say. Usable on one event loop."""

    def __init__(self, kubeconfig: str | None, context: str | None) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._configuration: Configuration | None = None
        self._rest: RESTClientObject | None = None
        self._loading = asyncio.Lock()
        self.where = f"Kubernetes ({context or kubeconfig or 'this cluster'})"

    async def open(self) -> None:
        """Loads the credentials if that was not done. Raises `SourceDisconnected`."""
        async with self._loading:
            if self._rest is None:
                await self._load()

    async def get(self, path: str, params: Params) -> Any:
        """The parsed answer. Raises `ApiFailure` for a refusal, `SourceDisconnected` for none in time."""
        return (await self.get_sized(path, params))[0]

    async def get_sized(self, path: str, params: Params) -> tuple[Any, int]:
        """The same, with the number of its bytes."""
        async with self._asked(path, params, aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as response:
            body = await response.read()
            try:
                return json.loads(body), len(body)
            except (ValueError, RecursionError):
                raise SourceDisconnected(f"{self.where}: the answer is no JSON") from None

    @asynccontextmanager
    async def lines(self, path: str, params: Params, silence: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """Opens a stream; its lines end when the server closes in good order.

        Raises `ApiFailure` and `SourceDisconnected`; the latter also from the lines, for a connection that breaks
        off or brings nothing for `silence` seconds.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=OPEN_SECONDS, sock_read=silence)
        async with self._asked(path, params, timeout) as response:
            yield self._split(response)

    async def close(self) -> None:
        """Closes every connection. Never raises."""
        rest, self._rest = self._rest, None
        if rest is not None:
            await asyncio.wait({asyncio.ensure_future(rest.close())}, timeout=CLOSE_SECONDS)

    async def _split(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """Lines of any length: aiohttp's own reading of lines has a limit."""
        pieces: list[bytes] = []
        with self._disconnected():
            async for chunk in response.content.iter_any():
                *ends, rest = chunk.split(b"\n")
                for end in ends:
                    line = b"".join([*pieces, end])
                    pieces.clear()
                    if line.strip():
                        yield line
                if rest:
                    pieces.append(rest)
        if b"".join(pieces).strip():
            raise SourceDisconnected(f"{self.where}: the watch broke off within an event")

    @asynccontextmanager
    async def _asked(
        self, path: str, params: Params, limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        renewed = False
        tries = 0
        while True:
            response = await self._send(path, params, limits)
            if response.status == 200:
                break
            failure = await self._failure(response)
            if failure.code == 401 and not renewed:
                renewed = True
                await self._renew()
            elif failure.busy and tries + 1 < BUSY_TRIES:
                tries += 1
                await asyncio.sleep(min(failure.retry_after or BUSY_SECONDS, LONGEST_BUSY_SECONDS))
            else:
                raise failure
        try:
            with self._disconnected():
                yield response
        finally:
            response.close()

    async def _send(self, path: str, params: Params, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        await self.open()
        configuration, rest = self._configuration, self._rest
        assert configuration is not None
        assert rest is not None
        headers = {"Accept": "application/json"}
        with self._disconnected():
            auth = (await configuration.auth_settings()).get("BearerToken")
            if auth is not None:
                headers["Authorization"] = auth["value"].strip()
            async with asyncio.timeout(limits.total or OPEN_SECONDS):
                url = str(configuration.host).rstrip("/") + path
                answer = await rest.GET(
                    url,
                    headers=headers,
                    query_params=dict(params),
                    _preload_content=False,
                    _request_timeout=limits,
                )
        return cast(aiohttp.ClientResponse, answer)

    async def _failure(self, response: aiohttp.ClientResponse) -> ApiFailure:
        try:
            with self._disconnected():
                async with asyncio.timeout(OPEN_SECONDS):
                    body = await response.read()
        finally:
            response.close()
        return failure_of(body, response.status, response.headers.get("Retry-After"))

    async def _load(self) -> None:
        """Reads the credentials; a new TLS identity or address also needs new connections."""
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                configuration = await credentials.load(self._kubeconfig, self._context)
        except TimeoutError:
            raise SourceDisconnected(f"{self.where}: no credentials within {LOAD_SECONDS:g} s") from None
        before, self._configuration = self._configuration, configuration
        parts = urlsplit(str(configuration.host))
        self.where = f"Kubernetes at {parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        if self._rest is not None and before is not None and _identity(before) == _identity(configuration):
            return
        await self.close()
        try:
            self._rest = RESTClientObject(configuration)
        except (OSError, ValueError) as error:
            raise SourceDisconnected(f"{self.where}: TLS cannot be set up ({type(error).__name__})") from None

    async def _renew(self) -> None:
        """After a 401: tokens are rotated, and exec plugins give out new ones."""
        async with self._loading:
            await self._load()

    def _disconnected(self) -> _Disconnected:
        return _Disconnected(self.where)


class _Disconnected:
    """Turns what the transport raises into `SourceDisconnected`."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            raise SourceDisconnected(f"{self._where}: no answer in time") from None
        if isinstance(error, aiohttp.ClientError | OSError):
            raise SourceDisconnected(f"{self._where}: the connection failed ({type(error).__name__})") from None
        if isinstance(error, RuntimeError) and "closed" in str(error):
            raise SourceDisconnected(f"{self._where}: the connection was closed") from None


def _identity(configuration: Any) -> tuple[object, ...]:
    names = ("host", "ssl_ca_cert", "cert_file", "key_file", "verify_ssl", "tls_server_name", "proxy")
    return tuple(getattr(configuration, name, None) for name in names)
