"""`POST /health/sync/trigger`: who may ask, what may be asked, and what is answered.

The checks come in this order: stopping, the caller, the size, the form, the names. Nothing is started
before all of them have passed. A caller that hangs up while it waits does not cancel the full sync.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from hybridsync.errors import Stopping
from hybridsync.health_json import NO_STORE, Json, one_line, result_json
from hybridsync.status import SyncResult

if TYPE_CHECKING:
    from hybridsync.manager import HybridSyncManager

TOKEN_VARIABLE = "HYBRIDSYNC_CONTROL_TOKEN"
LARGEST_BODY = 64 * 1024
BODY_DEADLINE_SECONDS = 10.0
"""A body of at most 64 KiB arrives within this, or the request is given up."""

_KEYS = ("resources", "wait", "allowSweep")
_FORWARDED_FOR = re.compile(r'(?i)^(?:.*;)?\s*for\s*=\s*"?([^";]*)"?.*$')
"""The address in one element of the header `Forwarded` (RFC 7239)."""


class Refusal(Exception):
    """The request is not carried out: the status and the JSON to answer with."""

    def __init__(self, status: int, error: str, *, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.body: Json = {"error": error, **more}
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class TriggerRequest:
    """What was asked for. `resources` is `None` for all of them."""

    resources: tuple[str, ...] | None = None
    wait: bool = False
    allow_sweep: bool = False


def parse_body(body: bytes) -> TriggerRequest:
    """Reads the body of a request; an empty one asks for everything. Raises `Refusal` with status 400."""
    if not body.strip():
        return TriggerRequest()
    asked = _json_object(body)
    unknown = sorted(set(asked) - set(_KEYS))
    if unknown:
        raise Refusal(400, f"unknown key {_shown(unknown[0])}: the body may hold 'resources', 'wait' and 'allowSweep'")
    wait, allow_sweep = (_flag(asked, name) for name in ("wait", "allowSweep"))
    if "resources" not in asked:
        return TriggerRequest(wait=wait, allow_sweep=allow_sweep)
    names = asked["resources"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Refusal(400, "'resources' must be a list of resource names")
    if not names:
        raise Refusal(400, "'resources' is empty: name at least one resource, or leave it out for all")
    return TriggerRequest(tuple(dict.fromkeys(names)), wait, allow_sweep)


def _flag(asked: dict[str, Any], name: str) -> bool:
    flag = asked.get(name, False)
    if not isinstance(flag, bool):
        raise Refusal(400, f"'{name}' must be true or false")
    return flag


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_twins)
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not JSON: it is not UTF-8 text") from None
    except RecursionError:
        raise Refusal(400, "the body is not JSON that can be read: it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Refusal(400, f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON that can be read: {one_line(str(error))}") from None
    if not isinstance(asked, dict):
        raise Refusal(400, 'the body must be a JSON object such as {"resources": ["services"], "wait": false}')
    return asked


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")


def check_caller(request: web.Request, control_token: str | None) -> None:
    """Raises `Refusal` unless the caller may change something.

    With a token every caller must bring it, also on loopback. Without one only callers on loopback
    are let in: the peer of the connection. A header that a caller can write itself lets nobody in; it
    can only tell that the caller is not local: somebody behind a proxy on this machine, or a web page
    of another origin that a local browser shows.
    """
    if control_token:
        _check_token(request.headers.get("Authorization", ""), control_token)
        return
    peername = request.transport.get_extra_info("peername") if request.transport is not None else None
    if not is_loopback(peername) or _is_forwarded(request) or not _same_origin(request):
        raise Refusal(
            403,
            "without a token only callers on this machine's loopback address may do this: "
            f"set {TOKEN_VARIABLE} and send it as 'Authorization: Bearer …'",
        )


def _check_token(authorization: str, control_token: str) -> None:
    scheme, _, given = authorization.partition(" ")
    # surrogateescape: header bytes that are not UTF-8 reach us as lone surrogates
    matches = hmac.compare_digest(
        given.strip().encode("utf-8", "surrogateescape"), control_token.encode("utf-8", "surrogateescape")
    )
    if scheme.lower() != "bearer" or not matches:
        raise Refusal(
            401,
            f"a bearer token is needed: the value of {TOKEN_VARIABLE} as 'Authorization: Bearer …'",
            headers={"WWW-Authenticate": "Bearer"},
        )


def is_loopback(peername: object) -> bool:
    """Whether the peer of a connection is this machine's loopback: IPv4, IPv6 or IPv4 mapped into IPv6."""
    if not isinstance(peername, (tuple, list)) or not peername:
        return False
    try:
        address = ip_address(str(peername[0]))
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def _is_forwarded(request: web.Request) -> bool:
    """Whether a proxy says that it speaks for somebody who is not on loopback."""
    entries = [
        *(entry for name in ("X-Forwarded-For", "X-Real-IP") for entry in _listed(request, name)),
        *(_FORWARDED_FOR.sub(r"\1", entry) for entry in _listed(request, "Forwarded")),
    ]
    return not all(is_loopback((_host_name(entry),)) for entry in entries)


def _listed(request: web.Request, header: str) -> list[str]:
    return [entry.strip() for value in request.headers.getall(header, ()) for entry in value.split(",")]


def _same_origin(request: web.Request) -> bool:
    """Whether no browser sends this, or one that shows a page of this service.

    The name in `Host` has to be one of loopback: a page can point a name of its own at 127.0.0.1
    (DNS rebinding), and is then of the same origin.
    """
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return False
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    host = request.headers.get("Host", "")
    name = _host_name(host)
    return origin.partition("://")[2] == host and (name == "localhost" or is_loopback((name,)))


def _host_name(host: str) -> str:
    """The name or address in `name`, `name:port`, `[address]`, `[address]:port` or a bare IPv6 address."""
    if host.count(":") > 1 and not host.startswith("["):
        return host
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def read_body(request: web.Request) -> bytes:
    """The body, at most 64 KiB of it, also when its length is not announced. Raises `Refusal`."""
    too_large = Refusal(413, f"the body is larger than {LARGEST_BODY} bytes")
    if request.content_length is not None and request.content_length > LARGEST_BODY:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > LARGEST_BODY:
                    raise too_large
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {BODY_DEADLINE_SECONDS:.0f} s") from None
    except web.RequestPayloadError:
        raise Refusal(400, "the body could not be read") from None
    return bytes(body)


async def trigger(request: web.Request, manager: HybridSyncManager, control_token: str | None) -> web.Response:
    """Answers one request, by the table of the contract."""
    try:
        return await _trigger(request, manager, control_token)
    except Refusal as refusal:
        return web.json_response(refusal.body, status=refusal.status, headers=NO_STORE | refusal.headers)


async def _trigger(request: web.Request, manager: HybridSyncManager, control_token: str | None) -> web.Response:
    _check_running(manager)
    check_caller(request, control_token)
    asked = parse_body(await read_body(request))
    _check_names(asked.resources, manager.resource_names)
    _check_running(manager)
    try:
        names = None if asked.resources is None else list(asked.resources)
        started = manager.trigger(names, allow_sweep=asked.allow_sweep)
    except Stopping:
        raise _stopping() from None
    if not asked.wait:
        answer = {"accepted": started.accepted, "alreadyRunning": started.already_running}
        return web.json_response(answer, status=202, headers=NO_STORE)
    # Waiting for the futures, not awaiting them: a caller that hangs up cancels this wait alone.
    if started.results:
        await asyncio.wait(started.results.values())
    results = {name: _outcome(future) for name, future in started.results.items()}
    failed = any("error" in result for result in results.values())
    return web.json_response({"results": results}, status=500 if failed else 200, headers=NO_STORE)


def _check_running(manager: HybridSyncManager) -> None:
    if manager.stopping:
        raise _stopping()


def _stopping() -> Refusal:
    return Refusal(503, "the service is stopping and starts nothing new")


def _check_names(asked: Sequence[str] | None, known: Sequence[str]) -> None:
    unknown = [name for name in asked or () if name not in known]
    if unknown:
        raise Refusal(
            404,
            f"unknown resource {', '.join(_shown(name) for name in unknown[:5])}; known: {', '.join(known)}",
            unknown=unknown,
        )


def _outcome(future: asyncio.Future[SyncResult]) -> Json:
    if future.cancelled():
        return {"error": "the service stopped before the sync ended"}
    error = future.exception()
    if error is not None:
        return {"error": one_line(str(error)) or type(error).__name__}
    result = future.result()
    return {"error": one_line(result.error)} if result.error is not None else result_json(result)
