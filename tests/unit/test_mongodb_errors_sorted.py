"""What the driver says, sorted into "try again" and "do not"."""

from __future__ import annotations

import pytest
from pymongo.errors import AutoReconnect, ConfigurationError, OperationFailure

from hybridsync.errors import SinkUnavailable
from hybridsync.mongodb_errors import sink_error


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
