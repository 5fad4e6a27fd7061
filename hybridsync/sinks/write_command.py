"""Inserts and updates as the commands that MongoDB knows, not by way of the driver's bulk API.

That handles each document by itself, several times, which takes a first full sync longer than making the documents
does. In an insert they cross as one piece of bytes here: on the wire they follow each other just like that.

And it makes a second attempt by itself, under the number of the first. Of two attempts with one number MongoDB takes
from the later what the earlier has not done, so one that comes late could still insert. Here each attempt has a number
of its own, above those before it: once it is answered, nothing comes of any earlier one (see `write_lanes.py`).
https://github.com/mongodb/specifications/blob/master/source/message/OP_MSG.md
https://github.com/mongodb/specifications/blob/master/source/retryable-writes/retryable-writes.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError

from hybridsync.errors import SinkError
from hybridsync.mongodb import Collection, Session
from hybridsync.mongodb_errors import is_answer
from hybridsync.mongodb_sessions import next_number
from hybridsync.sinks.codec import LENIENT
from hybridsync.sinks.mirror_writes import Outcome, nothing_but_inserted


async def insert(collection: Collection, documents: Sequence[bytes], session: Session, *, numbered: bool) -> Outcome:
    """One attempt of an unordered insert. `numbered`: whether the server numbers writes (`MongoDB.numbers_writes`).

    Raises what `Collection.insert_many` does, `BulkWriteError` also when only some documents were refused.
    """
    command = {"insert": collection.name, "documents": [_Documents(documents)]}
    said = await _send(collection, command, session, numbered=numbered)
    outcome = {**nothing_but_inserted(said["n"]), **_complaints(said)}
    refused = len(outcome["writeErrors"])
    if said["n"] + refused != len(documents) and is_answer(BulkWriteError(outcome)):
        raise SinkError(f"MongoDB counts {said['n']} inserted and {refused} refused of {len(documents)} documents")
    return _without_complaint(outcome)


async def update(
    collection: Collection, updates: Sequence[Mapping[str, Any]], session: Session, *, numbered: bool
) -> Outcome:
    """One attempt of unordered updates, each as MongoDB's command has it: `q`, `u`, `upsert`. Else like `insert`."""
    command = {"update": collection.name, "updates": list(updates)}
    said = await _send(collection, command, session, numbered=numbered)
    upserted = len(said.get("upserted", ()))
    counts = {"nUpserted": upserted, "nMatched": said["n"] - upserted, "nModified": said["nModified"]}
    return _without_complaint({**nothing_but_inserted(0), **counts, **_complaints(said)})


async def _send(
    collection: Collection, command: Mapping[str, Any], session: Session, *, numbered: bool
) -> Mapping[str, Any]:
    number = {"txnNumber": next_number(session)} if numbered else {}
    concern = {"writeConcern": collection.write_concern.document}
    said: Mapping[str, Any] = await collection.database.command(
        {**command, "ordered": False, **concern, **number}, codec_options=LENIENT, session=session
    )
    return said


def _complaints(said: Mapping[str, Any]) -> dict[str, Any]:
    concern = [said["writeConcernError"]] if "writeConcernError" in said else []
    return {"writeErrors": said.get("writeErrors", []), "writeConcernErrors": concern}


def _without_complaint(outcome: dict[str, Any]) -> Outcome:
    if outcome["writeErrors"] or outcome["writeConcernErrors"]:
        raise BulkWriteError(outcome)
    return outcome


class _Documents(RawBSONDocument):
    """Several documents, in the place of one in a command: pymongo copies `raw` to where documents go."""

    __slots__ = ("_all",)

    def __init__(self, documents: Sequence[bytes]) -> None:
        super().__init__(documents[0])
        self._all = b"".join(documents)

    @property
    def raw(self) -> bytes:
        """The documents, one after the other."""
        return self._all
