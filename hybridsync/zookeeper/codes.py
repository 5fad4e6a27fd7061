"""ZooKeeper's error codes in words: of a whole reply, and of one operation in it. No I/O.

The names are those of `KeeperException.Code` in ZooKeeper; a code that is none of these is told by its number.
"""

from __future__ import annotations

from typing import Final

UNIMPLEMENTED: Final = -6
NO_AUTH: Final = -102
SESSION_EXPIRED: Final = -112
AUTH_FAILED: Final = -115
SESSION_MOVED: Final = -118
NEEDS_SASL: Final = -124

ANSWER_TOO_LONG: Final = 1_000_001
"""Ours, not ZooKeeper's: the answer was longer than we take, and was thrown away unread."""

END_OF_SESSION: Final = (SESSION_EXPIRED, AUTH_FAILED)
"""After these a server does nothing more for the session."""

END_OF_CONNECTION: Final = (SESSION_MOVED, NEEDS_SASL, -4)
"""After these nothing more is answered on the connection."""

SASL_TEXT: Final = (
    "it wants its clients to log in by SASL, or by what its enforce.auth.schemes names: hybridsync does not speak "
    "SASL, but digest (HYBRIDSYNC_ZOOKEEPER_AUTH) and TLS certificates (HYBRIDSYNC_ZOOKEEPER_TLS_CERT)"
)

_WORDS: Final = {
    -1: "SYSTEMERROR: something went wrong in the server",
    -2: "RUNTIMEINCONSISTENCY: something went wrong in the server",
    -3: "DATAINCONSISTENCY: something went wrong in the server",
    -4: "CONNECTIONLOSS: the server lost its own connection",
    -5: "MARSHALLINGERROR: the server could not read the request",
    UNIMPLEMENTED: "UNIMPLEMENTED: the server does not know the request",
    -7: "OPERATIONTIMEOUT: the server did not do it in time",
    -8: "BADARGUMENTS: ZooKeeper does not accept the path",
    -12: "UNKNOWNSESSION: the server does not know the session",
    -13: "NEWCONFIGNOQUORUM: the ensemble has no quorum",
    -14: "RECONFIGINPROGRESS: the ensemble is being configured",
    -100: "APIERROR: the request was refused",
    -101: "NONODE: there is no such znode",
    NO_AUTH: "NOAUTH: the access list (ACL) does not permit it",
    -103: "BADVERSION: it was changed meanwhile",
    -108: "NOCHILDRENFOREPHEMERALS: its parent is an ephemeral znode",
    -110: "NODEEXISTS: it exists already",
    -111: "NOTEMPTY: it has children",
    SESSION_EXPIRED: "SESSIONEXPIRED: the session is over",
    -113: "INVALIDCALLBACK: the request was refused",
    -114: "INVALIDACL: ZooKeeper does not accept the access list: are the credentials right?",
    AUTH_FAILED: "AUTHFAILED: the credentials were refused",
    SESSION_MOVED: "SESSIONMOVED: the session went on with another server",
    -119: "NOTREADONLY: the server has no quorum and takes no writes",
    -120: "EPHEMERALONLOCALSESSION: the session is a local one",
    -121: "NOWATCHER: there is no such watch",
    -122: "REQUESTTIMEOUT: the server did not do it in time",
    -123: "RECONFIGDISABLED: the ensemble cannot be configured",
    NEEDS_SASL: f"SESSIONCLOSEDREQUIRESASLAUTH: {SASL_TEXT}",
    -125: "QUOTAEXCEEDED: a quota of ZooKeeper is exceeded",
    -127: "THROTTLEDOP: the server is overloaded and throttles",
    ANSWER_TOO_LONG: "the answer is longer than hybridsync takes",
}


class Refusal(Exception):
    """A reply with an error code, known to kazoo or not."""

    def __init__(self, code: int) -> None:
        super().__init__(in_words(code))
        self.code = code


def in_words(code: int) -> str:
    """`error -127 (THROTTLEDOP: the server is overloaded and throttles)`."""
    return f"error {code} ({_WORDS[code]})" if code in _WORDS else f"error {code}, which hybridsync does not know"


def reason(code: int) -> str:
    """The same without the number and ZooKeeper's name, for an operation on one znode."""
    words = _WORDS.get(code)
    return in_words(code) if words is None else words.partition(": ")[2] or words
