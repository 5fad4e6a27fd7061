"""What the fences need of pymongo's private record of a session. After an upgrade, this says whether it still holds."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any, cast

import pytest
from bson.binary import Binary

from hybridsync.errors import SinkError
from hybridsync.mongodb import MongoDB, Session
from hybridsync.mongodb_sessions import id_of, never_again, next_number


async def sessions(count: int) -> tuple[MongoDB, list[Session]]:
    """New sessions; nothing is connected for it."""
    mongodb = MongoDB("mongodb://127.0.0.1:1/test")
    return mongodb, [await mongodb.new_session() for _ in range(count)]


async def test_this_pymongo_continues_a_session_of_another() -> None:
    mongodb, [session] = await sessions(1)
    other = Binary.from_uuid(uuid.uuid4())
    never_again(session, other, 41)
    assert id_of(session) == other, "pymongo gives the id from another place than ClientSession._server_session"
    session.delegate._start_retryable_write()
    assert session.delegate._transaction_id == 42, "pymongo takes the number from another place"
    await mongodb.close()


async def test_this_pymongo_does_not_use_such_a_session_again() -> None:
    mongodb, [used, spent] = await sessions(2)
    ids = id_of(used), id_of(spent)
    never_again(spent)
    await used.end_session()
    await spent.end_session()
    again = [id_of(await mongodb.new_session()) for _ in range(2)]
    assert ids[0] in again, "pymongo has no pool of sessions any more: never_again is not needed"
    assert ids[1] not in again, "pymongo puts a dirty session into its pool"
    await mongodb.close()


def test_a_pymongo_with_other_names_is_an_error_in_one_line() -> None:
    delegate = SimpleNamespace(session_id={"id": Binary.from_uuid(uuid.uuid4())}, _server_session=object())
    session = cast(Any, SimpleNamespace(delegate=delegate))
    with pytest.raises(
        SinkError, match=r"^pymongo [\d.]+ keeps sessions in another way: late writes cannot be fenced$"
    ):
        never_again(session)


async def test_the_numbers_of_a_session_rise_also_between_ours_and_those_of_pymongo() -> None:
    mongodb, [session] = await sessions(1)
    never_again(session, Binary.from_uuid(uuid.uuid4()), 41)
    assert next_number(session) == 42
    session.delegate._start_retryable_write()
    assert session.delegate._transaction_id == 43
    assert next_number(session) == 44
    await mongodb.close()
