"""One document as MongoDB sends it → what becomes of it: a record, a problem, or nothing. Pure.

Each document is decoded by itself, so that one that cannot be decoded (text that is no UTF-8) holds up no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from hybridsync.canonical import content_version
from hybridsync.model import Record
from hybridsync.sources.key_map import Known, identity, original
from hybridsync.sources.publish_rules import Invalid, PublishRules, Switch, is_key
from hybridsync.sources.publish_values import NoJsonForm, to_json

LENIENT: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
_STRICT: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

LONGEST_ID = 80


class Verdict(NamedTuple):
    """What becomes of one document. With neither record nor problem it is switched off."""

    document: bytes
    """The `identity` of its `_id`."""
    key: str | None
    """`None` when its key field holds no usable key; then there is a problem."""
    record: Record | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        """What a problem is reported under: the key, or the `_id` where there is none."""
        return self.key if self.key is not None else nameless(self.document)


def nameless(document: bytes) -> str:
    """What a document without a usable key is called."""
    try:
        text = str(to_json(original(document)))
    except NoJsonForm:
        text = "of a type that JSON has no form for"
    return f"_id {text if len(text) <= LONGEST_ID else text[: LONGEST_ID - 1] + '…'}"


def judge(piece: bytes, rules: PublishRules) -> list[Verdict]:
    """The verdicts on the documents of one raw batch, in its order."""
    return [_verdict(raw, rules) for raw in bson.decode_all(piece, _RAW)]


def known_documents(piece: bytes, rules: PublishRules) -> list[tuple[bytes, Known]]:
    """What the key map keeps of the documents of one raw batch."""
    return [(identity(document["_id"]), known(document, rules)) for document in bson.decode_all(piece, LENIENT)]


def known(document: Mapping[str, Any], rules: PublishRules) -> Known:
    """What the key map keeps of one document."""
    key = document.get(rules.key)
    live = rules.when is None or rules.switch(document.get(rules.when)) is not Switch.OFF
    return Known(key if is_key(key) else None, live)


def by_key(verdicts: Sequence[Verdict]) -> Iterator[Verdict]:
    """One verdict a key; where several live documents have it, all of them are at fault.

    Documents that are switched off do not count. Those without a usable key stay as they are.
    """
    alike: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.record is None and verdict.problem is None:
            continue
        if verdict.key is None:
            yield verdict
        else:
            alike.setdefault(verdict.key, []).append(verdict)
    for key, several in alike.items():
        first = several[0]
        if len(several) == 1:
            yield first
        else:
            problem = conflict(len(several), first.document, several[-1].document)
            yield Verdict(first.document, key, problem=problem)


def conflict(count: int, first: bytes, last: bytes) -> str:
    """The problem of several documents that have one key."""
    more = "" if count == 2 else f" and {count - 2} more"
    return f"{count} documents have this key: {nameless(first)}, {nameless(last)}{more}"


def _verdict(raw: RawBSONDocument, rules: PublishRules) -> Verdict:
    try:
        document = bson.decode(raw.raw, _STRICT)
    except (BSONError, ValueError, OverflowError):
        document = bson.decode(raw.raw, LENIENT)
        what = known(document, rules)
        problem = "a text in it is not UTF-8, or a value cannot be decoded" if what.live else None
        return Verdict(identity(document["_id"]), what.key, problem=problem)
    document_id, what = identity(document["_id"]), known(document, rules)
    if not what.live:
        return Verdict(document_id, what.key)
    try:
        value = rules.publish(document)
    except Invalid as error:
        return Verdict(document_id, what.key, problem=str(error))
    assert what.key is not None, "a document without a key is invalid"
    return Verdict(document_id, what.key, Record(what.key, value, content_version(value)))
