"""What the driver says, sorted into "try again" and "do not"."""

from __future__ import annotations

import pytest
from bson.errors import InvalidBSON
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from hybridsync.errors import SinkUnavailable
from hybridsync.mongodb_errors import reason_of, sink_error

DUMP = (
    'lsid: { id: UUID("d6b8c21f-ab77-487f-978d-2ab51597f0f4") }, $clusterTime: { clusterTime: Timestamp(1, 27), '
    'signature: { hash: BinData(0, E149), keyId: 7713 } }, $db: "d" }'
)
DETAILS = {"ok": 0.0, "code": 13, "codeName": "Unauthorized", "$clusterTime": {"signature": {"hash": b"x"}}}


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (AutoReconnect("connection closed"), True),
        (OperationFailure("stepped down", 189), True),
        (OperationFailure("not authorized", 13), False),
        # a killed server that is coming back has not yet said that it knows sessions
        (ConfigurationError("Sessions are not supported by this MongoDB deployment"), True),
        (ConfigurationError("Server at localhost reports wire version 2"), False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, again: bool) -> None:
    sorted_error = sink_error(error, "mongo:27017/db")

    assert isinstance(sorted_error, SinkUnavailable) == again
    assert str(sorted_error).startswith("MongoDB at mongo:27017/db: ")


def unauthorized(command: str) -> OperationFailure:
    """As the server says it."""
    text = f"not authorized on d to execute command {{ {command}, {DUMP}"
    return OperationFailure(text, 13, {**DETAILS, "errmsg": text})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (unauthorized('insert: "services", ordered: false'), "lacks the right insert on d.services"),
        (unauthorized('delete: "services", deletes: [ { q: { _id: "/a" }'), "lacks the right remove on d.services"),
        (unauthorized('update: "a.b", updates: [ { q: {} } ]'), "lacks one of the rights update, insert on d.a.b"),
        (unauthorized('find: "services", filter: {}'), "lacks the right find on d.services"),
        (unauthorized("listCollections: 1, filter: {}"), "lacks the right listCollections on the database d"),
        (unauthorized('getMore: 12, collection: "services"'), "lacks the right find on d.services"),
        (unauthorized('createIndexes: "s", indexes: []'), "lacks the right createIndex on d.s"),
        (unauthorized('create: "s"'), "lacks the right createCollection on d.s"),
        (
            unauthorized('aggregate: "s", pipeline: [ { $changeStream: {} } ]'),
            "lacks one of the rights changeStream, find on d.s",
        ),
        (OperationFailure("command insert requires authentication", 13, {**DETAILS}), "the URI names no user"),
        (OperationFailure("Authentication failed.", 18, {"errmsg": "Authentication failed."}), "check user, password"),
        (OperationFailure("", 4711, {"errmsg": ""}), "no reason given (code 4711)"),
        (OperationFailure("", 4711, {}), "no reason given (code 4711)"),
        (NotPrimaryError("not primary", {"ok": 0.0, "code": 10107, "secret": 1}), "not primary"),
        (AutoReconnect("h:1: "), "h:1: the connection was closed"),
        (AutoReconnect(""), "the connection was closed"),
        (NetworkTimeout("h:1: timed out (configured timeouts: socketTimeoutMS: 20000.0ms)"), "h:1: timed out"),
        (
            ServerSelectionTimeoutError(
                "h:1: refused (configured timeouts: x), Timeout: 5.0s, Topology Description: <"
            ),
            "h:1: refused",
        ),
        (BulkWriteError({"writeErrors": [{"code": 121, "errmsg": ""}]}), "the write was refused (code 121)"),
        (BulkWriteError({"writeErrors": []}), "the write was refused"),
        (InvalidBSON(""), "cannot be read or written as BSON: (InvalidBSON)"),
    ],
)
def test_the_reason_is_named_and_the_dump_left_out(error: Exception, reason: str) -> None:
    said = reason_of(error)
    assert reason in said
    assert "{" not in said
    assert "lsid" not in said
    assert not said.rstrip().endswith(":")
    assert "\n" not in said
