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
        121,  # DocumentValidationFailure
        10334,  # BSONObjectTooLarge
        17280,  # KeyTooLong, before 4.2
        17419,  # the result of an update is too large
        17420,  # the document to upsert is too large
    }
)

_LABELS = ("RetryableWriteError", "TransientTransactionError")


def sink_error(error: Exception, where: str) -> SinkError:
    """The error of our own tree for one of the driver's. `where`: the servers, without credentials."""
    line = f"MongoDB at {where}: {_reason(error)}"
    return SinkUnavailable(line) if _is_transient(error) else SinkError(line)


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
    if isinstance(error, ConfigurationError) and "Sessions are not supported" in str(error):
        return True  # said of every MongoDB that is just starting; those without sessions are long gone
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


def _reason(error: Exception) -> str:
    if isinstance(error, ServerSelectionTimeoutError):
        # "host: what (configured timeouts: …), Timeout: 5s, Topology Description: <…>"
        return one_line(re.split(r", Timeout:|, full error:| \(configured timeouts", str(error))[0])
    if isinstance(error, BulkWriteError):
        return one_line(_first_text(c for c in _complaints(error.details) if c.get("code") != DUPLICATE_KEY))
    if isinstance(error, OperationFailure):
        text = (error.details or {}).get("errmsg") or str(error).split(", full error:")[0]
        return one_line(f"{text} (code {error.code})")
    if isinstance(error, ConnectionFailure):
        return one_line(str(error).split(" (configured timeouts")[0])
    if isinstance(error, BSONError):
        return one_line(f"cannot be read or written as BSON: {error}")
    return one_line(str(error) or type(error).__name__)


def _first_text(complaints: Iterable[Mapping[str, Any]]) -> str:
    for complaint in complaints:
        return f"{complaint.get('errmsg', 'the write was refused')} (code {complaint.get('code')})"
    return "the write was refused"
