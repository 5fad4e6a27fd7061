"""Certificates for an API server that speaks TLS, and for its clients, in files that can be replaced in place."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Authority:
    """A certificate authority of its own."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def server(self, clients: Authority | None = None) -> ssl.SSLContext:
        """What a server on 127.0.0.1 uses; with `clients`, it lets in only those that this authority has signed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert("127.0.0.1").configure_cert(context)
        if clients is not None:
            clients._ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def write(self, file: Path) -> str:
        """Makes this the authority that the file holds."""
        self._ca.cert_pem.write_to_path(str(file))
        return str(file)

    def write_client(self, certificate: Path, key: Path) -> dict[str, str]:
        """Writes a client's certificate and key; returns what a kubeconfig says of such a user."""
        issued = self._ca.issue_cert("client@example.org")
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        return {"client-certificate": str(certificate), "client-key": str(key)}
