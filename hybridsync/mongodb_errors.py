"""What went wrong at MongoDB, sorted for the engine and said in one clean line.

Sorting decides the recovery: `SinkUnavailable` may be tried again (nobody answered, no primary, the
server is going down, a deadline passed), any other `SinkError` may not (refused login, missing
rights, a bad name). Codes: https://github.com/mongodb/mongo/blob/v6.0/src/mongo/base/error_codes.yml
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bson.errors import BSONError, InvalidDocument
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from hybridsync.errors import SinkError, SinkUnavailable

DUPLICATE_KEY = 11000
DOCUMENT_VALIDATION = 121

_UNAUTHORIZED = 13
_NAMESPACE_EXISTS = 48
_AUTHENTICATION_FAILED = 18

_REFUSED_USER = frozenset(
    {
        11,  # UserNotFound
        _UNAUTHORIZED,
        _AUTHENTICATION_FAILED,
        31,  # RoleNotFound
        33,  # AuthSchemaIncompatible, or another mechanism
        334,  # MechanismUnavailable
        391,  # ReauthenticationRequired
        8000,  # of Atlas
    }
)

_TRANSIENT = frozenset(
    {
        6,  # HostUnreachable
        7,  # HostNotFound
        24,  # LockTimeout
        43,  # CursorNotFound
        50,  # MaxTimeMSExpired
        64,  # WriteConcernFailed: wtimeout
        89,  # NetworkTimeout
        91,  # ShutdownInProgress
        112,  # WriteConflict
        134,  # ReadConcernMajorityNotAvailableYet
        175,  # QueryPlanKilled
        189,  # PrimarySteppedDown
        202,  # NetworkInterfaceExceededTimeLimit
        225,  # TransactionTooOld: a later write of the same session has overtaken this one
        237,  # CursorKilled
        262,  # ExceededTimeLimit
        365,  # TemporarilyUnavailable
        9001,  # SocketException
        10058,  # LegacyNotPrimary
        10107,  # NotWritablePrimary
        11600,  # InterruptedAtShutdown
        11601,  # Interrupted
        11602,  # InterruptedDueToReplStateChange
        13388,  # StaleConfig
        13435,  # NotPrimaryNoSecondaryOk
        13436,  # NotPrimaryOrSecondary
    }
)

_DOCUMENT = frozenset(
    {
        2,  # BadValue
        9,  # FailedToParse
        15,  # Overflow: nested too deep
        16,  # InvalidLength
        22,  # InvalidBSON
        52,  # DollarPrefixedFieldName
        55,  # InvalidDBRef
        56,  # EmptyFieldName
        57,  # DottedFieldName
        DOCUMENT_VALIDATION,
        10334,  # BSONObjectTooLarge
        17280,  # KeyTooLong, before 4.2
        17419,  # the result of an update is too large
        17420,  # the document to upsert is too large
    }
)

_LABELS = ("RetryableWriteError", "TransientTransactionError")


def sink_error(error: Exception, where: str) -> SinkError:
    """The error of our own tree for one of the driver's. `where`: the servers, without credentials."""
    line = f"MongoDB at {where}: {reason_of(error)}"
    return SinkUnavailable(line) if _is_transient(error) else SinkError(line)


def is_refusal(error: BaseException | None) -> bool:
    """Whether the server refused the user: unknown to it, a wrong password, or a right that is missing."""
    if isinstance(error, BulkWriteError):
        return any(complaint.get("code") in _REFUSED_USER for complaint in _complaints(error.details))
    return isinstance(error, OperationFailure) and error.code in _REFUSED_USER


def asks_for_new_connections(error: BaseException) -> bool:
    """Whether connections are no use any more because of what they were made as.

    One is authenticated as the user who was there then, and remembers whether the server knew sessions, which a server
    that is just starting does not say.
    """
    return is_refusal(error) or _is_without_sessions(error)


def _is_without_sessions(error: BaseException) -> bool:
    return isinstance(error, ConfigurationError) and "Sessions are not supported" in str(error)


def is_there_already(error: BaseException | None) -> bool:
    """Whether a collection could not be created because it exists."""
    return isinstance(error, OperationFailure) and error.code == _NAMESPACE_EXISTS


def is_about_document(error: Exception) -> bool:
    """Whether a whole batch was refused because of what is in one of its documents."""
    if isinstance(error, (InvalidDocument, DocumentTooLarge)):
        return True
    return isinstance(error, OperationFailure) and not isinstance(error, BulkWriteError) and error.code in _DOCUMENT


def is_answer(error: BulkWriteError) -> bool:
    """Whether every complaint is about single documents, so that all the others are written for good."""
    details = error.details
    if details.get("writeConcernErrors"):
        return False
    return all(e.get("code") == DUPLICATE_KEY or e.get("code") in _DOCUMENT for e in details.get("writeErrors", ()))


def one_line(text: str, limit: int = 300) -> str:
    """`text` without line breaks, cut to `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _is_transient(error: Exception) -> bool:
    if isinstance(error, ServerSelectionTimeoutError) and "AuthenticationFailed" in str(error):
        return False  # a refused login takes the server out of the driver's list for some seconds
    if isinstance(error, (ConnectionFailure, TimeoutError)):
        return True
    if _is_without_sessions(error):
        return True  # those without sessions are long gone
    if not isinstance(error, PyMongoError):
        return False
    if error.timeout or any(error.has_error_label(label) for label in _LABELS):
        return True
    if isinstance(error, BulkWriteError):
        return any(complaint.get("code") in _TRANSIENT for complaint in _complaints(error.details))
    return isinstance(error, OperationFailure) and error.code in _TRANSIENT


def _complaints(details: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from details.get("writeConcernErrors", ())
    yield from details.get("writeErrors", ())


def reason_of(error: Exception) -> str:
    """What one of the driver's errors says, as one line: without the command it was said of, and with its code."""
    if isinstance(error, BulkWriteError):
        return _first_text(c for c in _complaints(error.details) if c.get("code") != DUPLICATE_KEY)
    if isinstance(error, OperationFailure):
        text = (error.details or {}).get("errmsg")
        return _of_server(text if isinstance(text, str) else str(error), error.code)
    text = _without_dump(str(error))
    if isinstance(error, BSONError):
        text = f"cannot be read or written as BSON: {text}"
    if not text.strip() or text.rstrip().endswith(":"):  # many errors of sockets have no words of their own
        cause = error.__cause__ or error.__context__ or error
        text = f"{text} {'the connection was closed' if isinstance(error, ConnectionFailure) else ''}".strip()
        text = f"{text} ({type(cause).__name__})".strip()
    return one_line(text)


_DUMP = re.compile(r", full error:|, Timeout: [0-9.]+s, Topology Description:| \(configured timeouts:")

_NOT_AUTHORIZED = re.compile(
    r"not authorized on (?P<database>\S+) to execute command \{ (?P<command>\w+): (?P<rest>.*)", re.S
)
_NO_USER = re.compile(r"(?:command \w+ requires authentication|there are no users authenticated)", re.I)

_RIGHTS = {
    "aggregate": "find",
    "count": "find",
    "create": "createCollection",
    "createIndexes": "createIndex",
    "delete": "remove",
    "getMore": "find",
}
"""The action that a command needs, where its name is another one. Manual, "Privilege Actions"."""


def _without_dump(text: str) -> str:
    return " ".join(_DUMP.split(text)[0].split())


def _of_server(text: str, code: int | None) -> str:
    """What a server said, with its code; of a refused command the right that is missing, not the command."""
    of_code = "" if code is None else f" (code {code})"
    if (refused := _NOT_AUTHORIZED.match(text)) is not None:
        return one_line(_missing_right(refused["database"], refused["command"], refused["rest"]) + of_code)
    said = _without_dump(text).rstrip(".")
    if code == _UNAUTHORIZED and _NO_USER.search(said):
        said += ": the URI names no user, or the user is gone; see HYBRIDSYNC_MONGODB_URI"
    elif code == _AUTHENTICATION_FAILED:
        said += ": check user, password and authSource in HYBRIDSYNC_MONGODB_URI"
    return one_line(f"{said or 'no reason given'}{of_code}")


def _missing_right(database: str, command: str, rest: str) -> str:
    right = f"the right {_RIGHTS.get(command, command)}"
    if command == "aggregate" and "$changeStream" in rest:
        right = "one of the rights changeStream, find"
    elif command == "update":  # nearly all of ours insert what is not there
        right = "one of the rights update, insert"
    named = re.match(r'"((?:[^"\\]|\\.)*)"', rest)
    if command == "getMore":
        named = re.search(r'collection: "((?:[^"\\]|\\.)*)"', rest)
    on = f"{database}.{named[1]}" if named is not None else f"the database {database}"
    return f"the user lacks {right} on {on}: not authorized"


def _first_text(complaints: Iterable[Mapping[str, Any]]) -> str:
    for complaint in complaints:
        text = complaint.get("errmsg")
        return _of_server(text if isinstance(text, str) and text else "the write was refused", complaint.get("code"))
    return "the write was refused"
