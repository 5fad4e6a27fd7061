"""From puts to documents and bulk writes, and from their outcome to counts: no I/O.

What may be overwritten is for the codec to say; here is what every kind of document shares: how much
goes into one bulk write, what a refused document is tried as next, and what is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from hybridsync.model import Applied, Put
from hybridsync.mongodb_errors import DOCUMENT_VALIDATION, DUPLICATE_KEY, one_line
from hybridsync.sinks.codec import MAX_DOCUMENT_BYTES, Document, DocumentCodec, PlainEncoding

_new = tuple.__new__
"""Makes a named tuple of a tuple without a call into Python: this file sees every record of a first sync."""

MAX_COMMAND_BYTES = 12 * 2**20
"""Of the documents in one command, unless it is a single one: pymongo sends no larger command than 16 MiB."""

_PLAIN: tuple[PlainEncoding, ...] = ("utf8", "binary")

Outcome: TypeAlias = Mapping[str, Any]
"""What became of many writes, in the words of pymongo's bulk result.

nInserted, nUpserted, nMatched, nModified, nRemoved, writeErrors.
"""


_RULES = frozenset({DUPLICATE_KEY, DOCUMENT_VALIDATION})
"""Refusals by somebody's rule about this very document: another encoding would get round the rule, not obey it."""


class PendingPut(NamedTuple):
    """A put that is not yet settled. It is inserted while no document is known under its key, else it replaces."""

    put: Put
    document: Document
    inserts: bool
    simpler: tuple[PlainEncoding, ...] = _PLAIN

    def simplified(self, codec: DocumentCodec, synced_at: int) -> PendingPut | None:
        """With the next simpler document, if there is one."""
        for tried, encoding in enumerate(self.simpler, start=1):
            with suppress(UnicodeDecodeError):
                document = codec.plain(self.put.record, synced_at, encoding)
                if document != self.document and len(document) <= MAX_DOCUMENT_BYTES:
                    return self._replace(document=document, simpler=self.simpler[tried:])
        return None


@dataclass(slots=True)
class Prepared:
    """The first `taken` of some puts, encoded; `failed` are those of them that no document can hold."""

    pending: list[PendingPut] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    taken: int = 0


def prepare_puts(codec: DocumentCodec, puts: Sequence[Put], size: int, synced_at: int) -> Prepared:
    """Encodes puts until their documents have `size` bytes; at least one."""
    prepared = Prepared()
    total = 0
    for put, document in zip(puts, codec.documents(puts, synced_at), strict=False):
        length = len(document)
        if total + length > MAX_COMMAND_BYTES and prepared.pending:
            break
        prepared.taken += 1
        if isinstance(document, str):
            prepared.failed[put.key] = document
            continue
        if length > MAX_DOCUMENT_BYTES:
            prepared.failed[put.key] = (
                f"a value of {len(put.record.value)} bytes does not fit into a MongoDB document of 16 MiB"
            )
            continue
        prepared.pending.append(_new(PendingPut, (put, document, put.replaces is None, _PLAIN)))
        total += length
        if total >= size:
            break
    return prepared


def inserts_and_replacements(pending: Sequence[PendingPut]) -> list[list[PendingPut]]:
    """The one and the other apart, as far as there are any."""
    batches = [[one for one in pending if one.inserts is inserts] for inserts in (True, False)]
    return [batch for batch in batches if batch]


def settle_puts(
    codec: DocumentCodec, pending: Sequence[PendingPut], outcome: Outcome, synced_at: int
) -> tuple[Applied, list[PendingPut]]:
    """Counts what an unordered bulk write did, and says what must be tried again, in another way."""
    applied = Applied(
        inserted=outcome["nInserted"] + outcome["nUpserted"],
        updated=outcome["nModified"],
        unchanged=outcome["nMatched"] - outcome["nModified"],
    )
    again: list[PendingPut] = []
    for error in outcome["writeErrors"]:
        put = pending[error["index"]]
        if error["code"] == DUPLICATE_KEY and _is_of_the_key(error):
            again.append(put._replace(inserts=False))
        elif error["code"] not in _RULES and (simpler := put.simplified(codec, synced_at)) is not None:
            again.append(simpler)
        else:
            applied.failed[put.put.key] = one_line(f"MongoDB refused the document: {_why(error)}")
    return applied, again


def nothing_but_inserted(count: int) -> Outcome:
    """The outcome of a bulk write of so many inserts, all of which were done."""
    return {"nInserted": count, "nUpserted": 0, "nMatched": 0, "nModified": 0, "nRemoved": 0, "writeErrors": []}


def nothing_but_refused(reason: str, code: int | None = None) -> Outcome:
    """The outcome of a bulk write of one put that was refused before it was tried."""
    error = {"index": 0, "code": code or 0, "errmsg": reason}
    return {**nothing_but_inserted(0), "writeErrors": [error]}


def _why(error: Mapping[str, Any]) -> str:
    text, code = error.get("errmsg") or "no reason given", error.get("code")
    return f"{text} (code {code})" if code else str(text)


def _is_of_the_key(error: Mapping[str, Any]) -> bool:
    """Whether the duplicate is that of `_id`, and not of a unique index somebody added."""
    pattern = error.get("keyPattern")
    return list(pattern) == ["_id"] if pattern is not None else "_id_" in error.get("errmsg", "")
