"""One insert of many documents that are BSON already, as the command that MongoDB knows.

pymongo's `insert_many` handles each document by itself, several times, which takes a first full sync longer than
making the documents does. Here they cross as one piece of bytes: on the wire they follow each other just like that.

The command is a retryable write, with one number for all its attempts in one session. So what an attempt has done whose
answer was lost is not done again, and the next answer counts it.
https://github.com/mongodb/specifications/blob/master/source/message/OP_MSG.md
https://github.com/mongodb/specifications/blob/master/source/retryable-writes/retryable-writes.md
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bson.codec_options import CodecOptions
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError

from hybridsync.errors import SinkError
from hybridsync.mongodb import Collection, Session, next_number
from hybridsync.sinks.mirror_writes import Outcome, nothing_but_inserted

_LENIENT: CodecOptions[dict[str, Any]] = CodecOptions(unicode_decode_error_handler="replace")
"""Complaints quote what is in a document."""


class InsertCommand:
    """An unordered insert of `documents`. Call it with a session until it is answered; `numbered`: see `MongoDB`."""

    def __init__(self, collection: Collection, documents: Sequence[bytes], *, numbered: bool) -> None:
        self._database = collection.database
        self._command: dict[str, Any] = {
            "insert": collection.name,
            "ordered": False,
            "writeConcern": collection.write_concern.document,
            "documents": [_Documents(documents)],
        }
        self._count = len(documents)
        self._numbered = numbered
        self._attempted: tuple[Session, Int64] | None = None

    async def __call__(self, session: Session | None) -> Outcome:
        """One attempt. Raises what `Collection.insert_many` does, `BulkWriteError` also for a part of the documents."""
        command = dict(self._command)  # pymongo adds to it
        if self._numbered and session is not None:
            if self._attempted is None or self._attempted[0] is not session:
                self._attempted = session, next_number(session)
            command["txnNumber"] = self._attempted[1]
        said = await self._database.command(command, codec_options=_LENIENT, session=session)
        refused = said.get("writeErrors", [])
        if said["n"] + len(refused) != self._count:
            raise SinkError(
                f"MongoDB counts {said['n']} inserted and {len(refused)} refused of {self._count} documents"
            )
        outcome = {**nothing_but_inserted(said["n"]), "writeErrors": refused}
        if "writeConcernError" in said:
            outcome["writeConcernErrors"] = [said["writeConcernError"]]
        if len(outcome["writeErrors"]) or "writeConcernErrors" in outcome:
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
