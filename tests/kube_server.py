"""`ApiServer`: any Kubernetes API server with a plain HTTP client, and a namespace of its own in it.

The fake and a real cluster are used through it alike. Objects are Leases: no controller makes any in a new
namespace, and one without a spec is valid.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.error
import urllib.request
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import load_kube_config

ANSWER_SECONDS = 90.0
"""A real server sends bookmarks about once a minute."""


class ApiServer:
    """The server of a kubeconfig's current context, and the namespace that was made there."""

    def __init__(self, kubeconfig: str) -> None:
        configuration = Configuration()
        asyncio.run(load_kube_config(config_file=kubeconfig, client_configuration=configuration, persist_config=False))
        self._url = str(configuration.host).rstrip("/")
        self._headers = {"Accept": "application/json"}
        if token := configuration.api_key.get("BearerToken"):
            self._headers["Authorization"] = token
        self._tls = _tls(configuration) if self._url.startswith("https") else None
        self.namespace = f"hybridsync-test-{uuid.uuid4().hex[:8]}"
        self.path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    def ask(self, path: str = "", accept: str = "", **query: Any) -> tuple[int, Any]:
        """Code and parsed body of a GET, of the Leases when no path is named."""
        return self._send("GET", f"{path or self.path}?{urlencode(query)}", accept=accept)

    def lines(self, **query: Any) -> Generator[Any, None, None]:
        """The events of a watch, to the end that the server makes."""
        with self._open("GET", f"{self.path}?{urlencode({'watch': 'true', **query})}") as answer:
            for line in answer:
                yield json.loads(line)

    def events(self, count: int, **query: Any) -> list[Any]:
        """The first so many events."""
        lines = self.lines(**query)
        try:
            return [next(lines) for _ in range(count)]
        finally:
            lines.close()

    def put(self, name: str, **labels: str) -> None:
        """Creates a Lease, or changes it."""
        metadata = {"name": name, "labels": labels, "annotations": {"example.com/change": uuid.uuid4().hex}}
        code, _ = self._send("PATCH", f"{self.path}/{name}", {"metadata": metadata})
        if code == 404:
            self._must("POST", self.path, _new("coordination.k8s.io/v1", "Lease", metadata))

    def delete(self, name: str) -> None:
        """Deletes a Lease."""
        self._must("DELETE", f"{self.path}/{name}")

    def make_namespace(self) -> None:
        """Before anything else."""
        self._must("POST", "/api/v1/namespaces", _new("v1", "Namespace", {"name": self.namespace}))

    def delete_namespace(self) -> None:
        """With all that is in it."""
        self._must("DELETE", f"/api/v1/namespaces/{self.namespace}")

    def _must(self, method: str, path: str, body: Any = None) -> None:
        code, answer = self._send(method, path, body)
        assert code < 300, f"{method} {path}: {code} {answer}"

    def _send(self, method: str, path: str, body: Any = None, accept: str = "") -> tuple[int, Any]:
        try:
            with self._open(method, path, body, accept) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                answered = error.read()
                is_json = error.headers.get_content_type() == "application/json"
                return error.code, json.loads(answered) if is_json else answered.decode()

    def _open(self, method: str, path: str, body: Any = None, accept: str = "") -> Any:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers | {"Content-Type": kind} | ({"Accept": accept} if accept else {})
        request = urllib.request.Request(f"{self._url}{path}", data, headers, method=method)
        return urllib.request.urlopen(request, timeout=ANSWER_SECONDS, context=self._tls)


@contextmanager
def api_server(kubeconfig: str) -> Iterator[ApiServer]:
    """The server with a new namespace, deleted afterwards."""
    server = ApiServer(kubeconfig)
    server.make_namespace()
    try:
        yield server
    finally:
        server.delete_namespace()


def _new(api: str, kind: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": metadata}


def _tls(configuration: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context
