"""Transactions on the wire: their exact length, the codes in an answer, and answers that fit nothing."""

from __future__ import annotations

import struct

import pytest
from kazoo.protocol.serialization import Create, Delete, SetData
from kazoo.protocol.serialization import Transaction as KazooTransaction
from kazoo.security import make_digest_acl

from hybridsync.errors import ConfigurationError
from hybridsync.zookeeper import transaction
from hybridsync.zookeeper.acl import Entry, access_of
from hybridsync.zookeeper.transaction import Transaction, culprit
from hybridsync.zookeeper.wire import MalformedAnswer

OPEN = [Entry(31, "world", "anyone")]
END = struct.pack("!iBi", -1, 1, -1)


def result(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("!iBi", kind, 0, -1) + body


def failed(code: int) -> bytes:
    return result(-1, struct.pack("!i", code))


CREATED = result(transaction.CREATE, struct.pack("!i", 2) + b"/a")
SET = result(transaction.SET_DATA, bytes(68))
REQUEST = Transaction(
    [
        transaction.check("/r", 3),
        transaction.create("/a", b"value", OPEN),
        transaction.set_data("/b", b"", 7),
        transaction.delete("/c", -1),
    ]
)


def test_the_request_is_the_one_that_kazoo_would_send() -> None:
    acl = [make_digest_acl("u", "p", all=True)]
    ours = Transaction(
        [
            transaction.create("/é", b"value", access_of("digest:u:p", None).entries),
            transaction.set_data("/b", b"x", 7),
            transaction.delete("/c", -1),
        ]
    )
    theirs = KazooTransaction([Create("/é", b"value", acl, 0), SetData("/b", b"x", 7), Delete("/c", -1)])
    assert ours.serialize() == bytes(theirs.serialize())


def test_the_length_of_a_request_is_known_before_it_is_sent() -> None:
    length = sum(len(operation.encoded) for operation in REQUEST.operations) + transaction.FRAME_BYTES
    assert length == len(REQUEST.serialize()) + 8  # kazoo puts xid and type in front


def test_a_transaction_that_was_done_has_no_culprit() -> None:
    answer = b"--" + result(transaction.CHECK) + CREATED + SET + result(transaction.DELETE) + END
    assert REQUEST.deserialize(answer, 2) == [0, 0, 0, 0]
    assert culprit([0, 0, 0, 0]) is None


def test_the_culprit_is_the_one_whose_code_is_not_of_the_others() -> None:
    codes = REQUEST.deserialize(failed(0) + failed(-110) + failed(-2) + failed(-2) + END, 0)
    assert culprit(codes) == 1


def test_an_error_newer_than_this_code_is_an_error_like_others() -> None:
    assert culprit(REQUEST.deserialize(failed(0) + failed(0) + failed(-4711) + failed(-2) + END, 0)) == 2


def test_a_transaction_that_was_rolled_back_without_a_reason_is_not_taken_for_done() -> None:
    assert culprit([0, -2, -2]) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        END,
        failed(0) * 3 + END,
        failed(0) * 5 + END,
        failed(0) * 4,
        failed(0) * 4 + END + b"x",
        result(transaction.CHECK) + result(transaction.DELETE) + SET + result(transaction.DELETE) + END,
        (result(transaction.CHECK) + CREATED + SET + result(transaction.DELETE) + END)[:-12],
    ],
)
def test_an_answer_that_does_not_fit_is_refused(answer: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        REQUEST.deserialize(answer, 0)


@pytest.mark.parametrize(
    "acl", ["", "world", "creator:x", "digest", "digest:", "digest:s3cret", "digest::s3cret", "auth:s3cret"]
)
def test_an_access_list_that_is_none_is_refused_without_showing_it(acl: str) -> None:
    with pytest.raises(ConfigurationError, match="allowed is open, creator or digest:user:password") as refused:
        access_of(acl, None)
    assert "s3cret" not in str(refused.value)


def test_a_creator_without_credentials_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="HYBRIDSYNC_ZOOKEEPER_AUTH"):
        access_of("creator", None)


def test_credentials_do_not_show_when_an_access_list_is_printed() -> None:
    assert "s3cret" not in repr(access_of("digest:u:s3cret", None))
