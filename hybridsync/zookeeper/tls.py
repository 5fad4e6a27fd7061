"""TLS to ZooKeeper: the context made of the three files, and made again when what they hold has changed.

Files are looked at before each round of attempts to connect, by content: certificates are replaced in place,
and a mounted secret is a link that is turned over. One that is broken in between changes nothing.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path

import structlog

from hybridsync.errors import ConfigurationError
from hybridsync.zookeeper.settings import SessionSettings

_log = structlog.get_logger("hybridsync")


class Tls:
    """The present context. Raises `ConfigurationError` when a file is missing or does not hold what it should.

    Made on the event loop; `renewed` is called by one connection thread at a time.
    """

    def __init__(self, settings: SessionSettings) -> None:
        self._settings = settings
        self._held = self._tried = self._digest()
        self._context = _context_of(settings)

    def renewed(self) -> ssl.SSLContext:
        """The context of what the files hold now; the last good one while they cannot be used. Reads files."""
        found = self._digest()
        if found == self._held:
            self._tried = found
            return self._context
        try:
            self._context = _context_of(self._settings)
        except ConfigurationError as error:
            if found != self._tried:
                _log.warning("TLS files of ZooKeeper have changed and cannot be used", reason=str(error))
        else:
            self._held = found
            _log.info("TLS files of ZooKeeper have changed and are loaded again")
        self._tried = found
        return self._context

    def _digest(self) -> bytes:
        """Of the contents. It is taken before they are loaded: what changes in between is loaded once more."""
        digest = hashlib.sha256()
        for file in (self._settings.tls_ca, self._settings.tls_cert, self._settings.tls_key):
            try:
                content = Path(file).read_bytes() if file else b""
            except OSError as error:
                content = f"unreadable: {error.errno}".encode()
            digest.update(hashlib.sha256(content).digest())
        return digest.digest()


def tls_of(settings: SessionSettings) -> Tls | None:
    """The TLS of these settings, or `None` for plain connections. Raises `ConfigurationError`."""
    if not (settings.tls_ca or settings.tls_cert or settings.tls_key):
        return None
    if settings.tls_key and not settings.tls_cert:
        raise ConfigurationError("ZooKeeper TLS: a key is given without its certificate")
    return Tls(settings)


def _context_of(settings: SessionSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = True
    if settings.tls_ca:
        _readable("CA", settings.tls_ca)
        _load("CA", settings.tls_ca, lambda: context.load_verify_locations(settings.tls_ca))
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if settings.tls_cert:
        _readable("certificate", settings.tls_cert)
        if settings.tls_key:
            _readable("key", settings.tls_key)
        _load(
            "certificate and key",
            settings.tls_cert,
            lambda: context.load_cert_chain(settings.tls_cert or "", settings.tls_key, password=_no_password),
        )
    return context


def _no_password() -> str:
    """Stands in for OpenSSL's question on the terminal, which would stop the process for ever."""
    raise ConfigurationError("ZooKeeper TLS: the key is encrypted; allowed is a key without a password")


def _readable(what: str, file: str) -> None:
    try:
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise ConfigurationError(f"ZooKeeper TLS {what} {file!r} cannot be read: {error.strerror}") from None


def _load(what: str, file: str, load: Callable[[], None]) -> None:
    try:
        load()
    except (ssl.SSLError, OSError):
        raise ConfigurationError(f"ZooKeeper TLS {what} {file!r}: allowed is PEM, and a key that fits") from None
