"""What a server session of pymongo is made to do that its public API has no call for.

Both are pymongo's own affair (`ClientSession._server_session`): its public API neither continues a session
that somebody else began nor keeps one out of the pool from which every call without a session is served.
From 4.9 to 4.20 the names are the same; in 4.18 the class moved to `client_session_shared`.
"""

from __future__ import annotations

from typing import Any

import pymongo
from bson.binary import Binary
from bson.int64 import Int64

from hybridsync.errors import SinkError


def id_of(session: Any) -> Binary:
    """The id by which the server knows the session."""
    found: Binary = session.delegate.session_id["id"]
    return found


def next_number(session: Any) -> Int64:
    """A number for the next retryable write of the session, above those of all before it.

    For a command that pymongo does not know as a write. Raises `SinkError`, see `never_again`.
    """
    own = _server_session(session)
    own.inc_transaction_id()
    return Int64(own.transaction_id)


def never_again(session: Any, session_id: Binary | None = None, number: int = 0) -> None:
    """Keeps pymongo from using the server session behind `session` for anything else later.

    With `session_id`, the session becomes that one first, and its next write has a number above `number`.
    Raises `SinkError` when a pymongo has other names.
    """
    own = _server_session(session)
    own.dirty = True
    if session_id is not None:
        own.session_id = {"id": session_id}
        own._transaction_id = number


def _server_session(session: Any) -> Any:
    id_of(session)  # until it is asked for, there is only a placeholder
    own: Any = session.delegate._server_session
    names = ("session_id", "_transaction_id", "dirty", "inc_transaction_id", "transaction_id")
    if not all(hasattr(own, name) for name in names):
        raise SinkError(f"pymongo {pymongo.version} keeps sessions in another way: late writes cannot be fenced")
    return own
