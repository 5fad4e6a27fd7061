"""The HTTP connections to one API server: TLS, proxies, and what a broken connection is called.

There is no bound on connections: every open watch holds one, and requests are bounded where they are made.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes_asyncio.client import Configuration

from hybridsync.errors import SourceDisconnected
from hybridsync.kubernetes.proxies import proxy_for

READ_BYTES = 2**21
"""Of a connection, read ahead: as kubernetes_asyncio has it for large objects."""

CLOSE_SECONDS = 5.0


class TlsFailed(SourceDisconnected):
    """The two sides do not trust each other."""


class Transport:
    """GETs with the TLS and the proxy of one configuration. Usable on one event loop."""

    def __init__(self, configuration: Configuration, origin: str) -> None:
        """Raises `SourceDisconnected` for certificates that cannot be used."""
        self._configuration = configuration
        self._url = str(configuration.host).rstrip("/")
        context = None if self._url.startswith("http:") else _context(configuration, origin)
        connector = aiohttp.TCPConnector(limit=0, ssl=context if context is not None else True)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False, read_bufsize=READ_BYTES)

    async def get(
        self, path: str, query: Mapping[str, str | int], accept: str, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """The answer, its body unread. Raises what aiohttp raises."""
        headers = {"Accept": accept}
        auth = (await self._configuration.auth_settings()).get("BearerToken")
        if auth is not None:
            headers["Authorization"] = str(auth["value"]).strip()
        more: dict[str, Any] = {}
        if self._configuration.tls_server_name:
            more["server_hostname"] = self._configuration.tls_server_name
        url = self._url + path
        proxy = self._configuration.proxy or proxy_for(url, os.environ)
        target = f"{url}?{urlencode(query)}" if query else url
        if proxy and not proxy.startswith(("http://", "https://")):
            raise SourceDisconnected(f"the proxy for {self._url} is none of http or https: no other is supported")
        return await self._session.get(target, headers=headers, timeout=limits, proxy=proxy, **more)

    def use(self, configuration: Configuration) -> None:
        """Another token for the same server."""
        self._configuration = configuration

    async def close(self) -> None:
        """Closes every connection. Never raises."""
        await asyncio.wait({asyncio.ensure_future(self._session.close())}, timeout=CLOSE_SECONDS)


class Disconnected:
    """Turns what the transport raises into `SourceDisconnected`; `origin`: who says that the server is there."""

    def __init__(self, where: str, origin: str) -> None:
        self._where = where
        self._origin = origin

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SourceDisconnected):
            return
        if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
            raise TlsFailed(self._told(f"TLS failed ({_tls_reason(error)})")) from None
        if isinstance(error, TimeoutError):
            raise SourceDisconnected(self._told("no answer in time")) from None
        if isinstance(error, aiohttp.ClientError | OSError):
            raise SourceDisconnected(self._told(f"the connection failed ({_reason(error)})")) from None
        if isinstance(error, RuntimeError) and "closed" in str(error):
            raise SourceDisconnected(self._told("the connection was closed")) from None

    def _told(self, what: str) -> str:
        return f"{self._where}: {what}; the address is from {self._origin}"


def _context(configuration: Configuration, origin: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    except (OSError, ValueError) as error:
        raise SourceDisconnected(f"{origin}: its CA certificate cannot be used ({type(error).__name__})") from None
    try:
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    except (OSError, ValueError) as error:
        told = f"{origin}: its client certificate and key cannot be used ({type(error).__name__})"
        raise SourceDisconnected(told) from None
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.disable_strict_ssl_verification:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _tls_reason(error: BaseException) -> str:
    """What OpenSSL says, without addresses of its source code."""
    inner = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
    inner = inner.os_error if isinstance(inner, aiohttp.ClientConnectorSSLError) else inner
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"the certificate of the server is not trusted: {inner.verify_message}"
    return str(getattr(inner, "reason", "") or type(error).__name__)


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host name is not known"
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    via = "the proxy: " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
    if isinstance(inner, ConnectionRefusedError):
        return f"{via}connection refused"
    if isinstance(inner, ConnectionResetError):
        return f"{via}connection reset"
    return f"{via}{type(error).__name__}"
