"""What the driver's own monitors know of the servers of MongoDB, read from memory, and its pools of connections.

The monitors ask every server all the time, so they know of a refused connection within moments, where a request
waits for seconds before it gives up. pymongo's public API tells what they know (`topology_description`), but has no
call to renew connections: what is used here has had the same names from 4.9 to 4.20.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from inspect import isawaitable
from typing import Any

from pymongo.server_description import ServerDescription
from pymongo.server_type import SERVER_TYPE
from pymongo.topology_description import TOPOLOGY_TYPE, TopologyDescription

from hybridsync.mongodb_errors import one_line, reason_of

VARIABLE = "HYBRIDSYNC_MONGODB_URI"

_KINDS = {
    SERVER_TYPE.RSSecondary: "a secondary",
    SERVER_TYPE.RSArbiter: "an arbiter",
    SERVER_TYPE.RSOther: "a member that is starting or recovering",
    SERVER_TYPE.RSGhost: "a member without a replica set",
}


def trouble_of(found: TopologyDescription, where: str) -> str | None:
    """Why no server takes writes at this moment; `None` when one does, or nobody has looked yet.

    `where`: the servers and the database, without credentials.
    """
    servers = list(found.server_descriptions().values())
    if any(server.is_writable for server in servers):
        return None
    if not servers:
        return _said(where, "has no member of the replica set that replicaSet names", f"check {VARIABLE}")
    errors = [server.error for server in servers if server.error is not None]
    answering = [server for server in servers if server.error is None and server.server_type_name != "Unknown"]
    if answering:
        return _said(where, *_without_primary(found, answering))
    if not errors:
        return None
    reasons = "; ".join(dict.fromkeys(reason_of(error) for error in errors))
    return _said(where, f"cannot be reached: {reasons}", f"check {VARIABLE}")


def is_out_of_reach(found: TopologyDescription) -> bool:
    """Whether the last attempt to reach failed for each server."""
    servers = found.server_descriptions().values()
    return bool(servers) and all(server.error is not None for server in servers)


def no_primary(hello: Any, where: str) -> str | None:
    """Why the server that answered this takes no writes; `None` when it does."""
    if hello.get("isWritablePrimary", hello.get("ismaster")):
        return None
    primary = hello.get("primary")
    known = f", {primary} is" if isinstance(primary, str) else ", and it knows of none"
    return _said(where, f"takes no writes: it is not the primary{known}", _stay_direct())


def pools(client: Any) -> Sequence[Any]:
    """The pools of connections of a pymongo client of either kind; none when it keeps them in another way."""
    with suppress(Exception):
        return [server.pool for server in list(client._topology._servers.values())]
    return ()


async def renew_connections(client: Any) -> None:
    """Has every connection made anew, and authenticated anew, before it is used the next time.

    A connection stays authenticated as the user who was there when it was made, also when that user is gone and
    another one of the same name has come.
    """
    for pool in pools(client):
        with suppress(Exception):
            done = pool.reset_without_pause()
            if isawaitable(done):
                await done


def _without_primary(found: TopologyDescription, answering: Sequence[ServerDescription]) -> tuple[str, str]:
    one, *_ = answering
    if found.topology_type == TOPOLOGY_TYPE.Single:
        kind = _KINDS.get(one.server_type, one.server_type_name)
        return f"takes no writes: it is {kind}, not the primary", _stay_direct()
    names = ", ".join(f"{server.address[0]}:{server.address[1]}" for server in answering)
    return f"has no primary at this moment; members that answer: {names}", f"check the replica set and {VARIABLE}"


def _stay_direct() -> str:
    return f"with directConnection=true no other is asked: name all members and replicaSet in {VARIABLE}"


def _said(where: str, what: str, to_do: str) -> str:
    return f"{one_line(f'MongoDB at {where} {what}')}; {to_do}"
