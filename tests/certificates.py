"""Certificates for a ZooKeeper that speaks TLS, and for its clients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from hybridsync.embedded import TlsFiles


@dataclass(frozen=True)
class Certificates:
    """PEM files: `ca` signs both sides, `server` is for `TlsFiles`, the other two are a client's."""

    ca: Path
    server: Path
    client_certificate: Path
    client_key: Path

    def for_server(self, client_auth: str = "none") -> TlsFiles:
        """What `ZooKeeperServer(tls=…)` takes; `client_auth` is `none`, `want` or `need`."""
        return TlsFiles(key_and_certificate=self.server, ca=self.ca, client_auth=client_auth)


def make_certificates(directory: Path, *server_names: str) -> Certificates:
    """Writes a new authority with a certificate for a server of these names and one for a client."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    server = authority.issue_cert(*server_names)
    client = authority.issue_cert("client@example.org")
    files = Certificates(
        ca=directory / "ca.pem",
        server=directory / "server.pem",
        client_certificate=directory / "client.pem",
        client_key=directory / "client-key.pem",
    )
    authority.cert_pem.write_to_path(str(files.ca))
    client.cert_chain_pems[0].write_to_path(str(files.client_certificate))
    client.private_key_pem.write_to_path(str(files.client_key))
    chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
    files.server.write_bytes(_pkcs8(server.private_key_pem.bytes()) + chain)
    return files


def _pkcs8(key: bytes) -> bytes:
    """The only form of a key that ZooKeeper reads from PEM."""
    loaded = load_pem_private_key(key, password=None)
    return loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
