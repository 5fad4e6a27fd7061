"""What the fake API server remembers of requests, and how it words its answers."""

from __future__ import annotations

import base64
import json
from typing import NamedTuple

from aiohttp import web

from tests.fakes.kube_store import Event, Object, matches


class Asked(NamedTuple):
    """A request that came in. `verb` as RBAC calls it; `at`: `time.monotonic()`."""

    verb: str
    path: str
    query: dict[str, str]
    token: str
    at: float
    accept: str = ""


class Refusal(NamedTuple):
    """What is answered instead; `times`: how often, -1 for ever."""

    code: int
    reason: str
    times: int = -1
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    details: Object = {}  # noqa: RUF012 - never changed


class Instead(NamedTuple):
    """What a proxy or a login page answers in place of the server; `times`: how often, -1 for ever."""

    code: int
    body: str = "<html><body>Not here</body></html>"
    content_type: str = "text/html"
    times: int = -1


def seen_by(event: Event, labels: str, fields: str) -> tuple[str, Object | None]:
    """What a watch with selectors is told of a change: leaving the selection is a deletion."""
    before, after = matches(event.before, labels, fields), matches(event.after, labels, fields)
    if event.after is None:
        return "DELETED", event.before if before else None
    if after:
        return ("MODIFIED" if before else "ADDED"), event.after
    if before and event.before is not None:
        metadata = event.before["metadata"] | {"resourceVersion": str(event.revision)}
        return "DELETED", event.before | {"metadata": metadata}
    return "", None


def status(code: int, reason: str, message: str, details: Object | None = None) -> Object:
    """A Status object."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": details or {},
        "code": code,
    }


def failure(
    code: int,
    reason: str,
    message: str,
    headers: dict[str, str] | None = None,
    details: Object | None = None,
    metadata: Object | None = None,
) -> web.Response:
    """An answer that carries a Status."""
    body = status(code, reason, message, details) | {"metadata": metadata or {}}
    return web.json_response(body, status=code, headers=headers)


def continue_token(revision: int, after: list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps({"revision": revision, "after": after}).encode()).decode()


async def send(answer: web.StreamResponse, kind: str, one: Object) -> None:
    await answer.write(json.dumps({"type": kind, "object": one}).encode() + b"\n")
