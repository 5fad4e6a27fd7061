"""One document as MongoDB sends it → what becomes of it: a record, a problem, or nothing. Pure.

Each document is decoded by itself, so that one that cannot be decoded (text that is no UTF-8) holds up no other.
Whatever a document does to the code that judges it, it is then invalid, and the next one has its turn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import bson
from bson.objectid import ObjectId

from hybridsync.canonical import content_version
from hybridsync.model import Record
from hybridsync.sources.key_map import Known
from hybridsync.sources.publish_rules import Invalid, PublishRules, Switch, is_key, is_long
from hybridsync.sources.publish_values import NoJsonForm, to_json
from hybridsync.sources.raw_documents import LENIENT, STRICT, decoded, documents, fields, identity_in, said_twice

LONGEST_ID = 80
_TEXT = 0x02
_PLAIN_IDS = frozenset({0x07, 0x10, 0x12})  # ObjectId, integers
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
LONGEST_SHOWN = 200


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
    """What a document without a usable key is called. Where that does not tell it from others, a hash does."""
    if not document:
        return "a document without _id"
    try:
        form = to_json(decoded(document, LENIENT))
        text = form if isinstance(form, str) else json.dumps(form, ensure_ascii=False)
    except (NoJsonForm, ValueError):
        text = "of a type that JSON has no form for"
    text = _CONTROL.sub("?", text)
    plain = document[0] in _PLAIN_IDS or (document[0] == _TEXT and not _looks_otherwise(document))
    mark = "" if plain and len(text) <= LONGEST_ID else f" #{blake2b(document, digest_size=4).hexdigest()}"
    return f"_id {shown(text, LONGEST_ID)}{mark}"


def shown(text: str, limit: int = LONGEST_SHOWN) -> str:
    """A text of a document as a line of the log or a reason may have it: a key may be as long as a document."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def judge(piece: bytes, rules: PublishRules) -> list[Verdict]:
    """The verdicts on the documents of one raw batch, in its order."""
    return [_verdict(raw, rules) for raw in documents(piece)]


def known_documents(piece: bytes, rules: PublishRules) -> list[tuple[bytes, Known]]:
    """What the key map keeps of the documents of one raw batch."""
    return [(identity_in(raw), known(fields(raw), rules)) for raw in documents(piece)]


def known(document: Mapping[str, Any], rules: PublishRules) -> Known:
    """What the key map keeps of one document."""
    key = document.get(rules.key)
    live = rules.when is None or rules.switch(document.get(rules.when)) is not Switch.OFF
    return Known(key, live) if is_key(key) else Known(None, live, is_long(key))


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


def _looks_otherwise(document: bytes) -> bool:
    """Whether a text would be taken for an `_id` of another type, or for another text."""
    text = decoded(document)
    if not isinstance(text, str) or _CONTROL.search(text):
        return True
    return ObjectId.is_valid(text) or text.removeprefix("-").isdecimal()


def _verdict(raw: bytes, rules: PublishRules) -> Verdict:
    document_id, problem = identity_in(raw), None
    try:
        document = bson.decode(raw, STRICT)
    except Exception:  # bson raises much beside its own errors
        document, problem = fields(raw), "a text in it is not UTF-8, or a value cannot be decoded"
    what = known(document, rules)
    if not what.live:
        return Verdict(document_id, what.key)
    if problem is None and (twice := said_twice(raw, document)) is not None:
        problem = f"{shown(twice)}: is there twice"
    if problem is not None:
        return Verdict(document_id, what.key, problem=problem)
    try:
        value = rules.publish(document)
        assert what.key is not None, "a document without a key is invalid"
        return Verdict(document_id, what.key, Record(what.key, value, content_version(value)))
    except Invalid as error:
        return Verdict(document_id, what.key, problem=str(error))
    except Exception as error:
        return Verdict(document_id, what.key, problem=f"it cannot be published ({type(error).__name__})")
