"""What an event of a change stream says about keys, by what was known before. Pure.

A delete event carries nothing but the `_id`, and an update only what changed, so the key of each
document is remembered (`KeyMap`). The map was read at some moment that nobody knows exactly; events up to a
moment after that are *replayed*: the map may be ahead of them, or not. They are worked in all the same, in their
order: what one of them sets back is set right by those that follow, and every key they touch is marked. What a
replayed event may have done to a key that the map no longer knows (the document was deleted or got another one
since) cannot be told. Then the answer is `lost`, and a full sync makes it good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from bson.raw_bson import RawBSONDocument

from hybridsync.mongodb_stream import as_number
from hybridsync.sources.key_map import KeyMap, Known, identity
from hybridsync.sources.publish_judge import known
from hybridsync.sources.publish_rules import PublishRules
from hybridsync.sources.raw_documents import fields, identity_in


class Hint(NamedTuple):
    """What is remembered with a dirty key."""

    committed: float | None
    """When the newest change was committed, in seconds since the epoch."""


@dataclass(slots=True)
class Effect:
    """What one event means. `lost`: a key may have changed that nobody can name."""

    marked: list[str] = field(default_factory=list)
    deleted_live: str | None = None
    document: bytes = b""
    after: Known | None = None
    """What is known of the document now; `None` when it is gone."""
    lost: bool = False


def pipeline(rules: PublishRules) -> list[dict[str, Any]]:
    """Leaves of each event only what `effect` looks at, whatever the size of the document."""
    shown = ["operationType", "clusterTime", "wallTime", "documentKey._id", "updateDescription.removedFields"]
    for name in filter(None, (rules.key, rules.when)):
        shown += [f"fullDocument.{name}", f"updateDescription.updatedFields.{name}"]
    return [{"$project": dict.fromkeys(shown, 1)}]


def hint(event: Mapping[str, Any]) -> Hint:
    """The hint for the keys that an event marks. MongoDB before 6.0 tells whole seconds only.

    That is the clock of the server, which may be wrong by years: it serves to measure delays, and no claim rests on it.
    """
    wall, cluster = event.get("wallTime"), event.get("clusterTime")
    if isinstance(wall, datetime):
        return Hint(wall.timestamp())
    return Hint(float(cluster.time)) if cluster is not None else Hint(None)


def effect(event: Mapping[str, Any], keys: KeyMap, rules: PublishRules, *, read_until: int, resumed: bool) -> Effect:
    """Works one event into `keys`. `read_until`: the map knows everything up to this cluster time.

    `resumed`: no listing covers what happened before that time.
    """
    document = _document_of(event["documentKey"])
    replayed = as_number(event["clusterTime"]) <= read_until
    before = keys.get(document)
    if event["operationType"] == "delete":
        return _deleted(document, before, keys, replayed=replayed, resumed=resumed)
    after, moved = _after(event, before, rules)
    result = Effect(document=document, after=after)
    result.lost = after is None and (resumed or not replayed)
    result.lost = result.lost or (replayed and resumed and moved)
    for one in (before, after):
        if one is not None and one.key is not None and (one.live or replayed) and one.key not in result.marked:
            result.marked.append(one.key)
    if after is not None:
        keys.put(document, after)
    return result


def _document_of(key: Mapping[str, Any]) -> bytes:
    return identity_in(bytes(key.raw)) if isinstance(key, RawBSONDocument) else identity(key["_id"])


def _fields(part: Any) -> Mapping[str, Any]:
    """A part of an event, which may hold what cannot be decoded."""
    return fields(bytes(part.raw)) if isinstance(part, RawBSONDocument) else part or {}


def _deleted(document: bytes, before: Known | None, keys: KeyMap, *, replayed: bool, resumed: bool) -> Effect:
    if (replayed and resumed) or before is None:
        # Another document may have taken the `_id` since, and then the key in the map is that one's.
        return Effect(document=document, lost=resumed or not replayed)
    keys.remove(document)
    result = Effect(document=document)
    if before.key is not None and (before.live or replayed):
        result.marked.append(before.key)
        result.deleted_live = before.key if before.live else None
    return result


def _after(event: Mapping[str, Any], before: Known | None, rules: PublishRules) -> tuple[Known | None, bool]:
    """What is known of the document after the event, and whether its key may be another than before."""
    if event["operationType"] in ("insert", "replace"):
        return known(_fields(event.get("fullDocument")), rules), event["operationType"] == "replace"
    description: Mapping[str, Any] = event.get("updateDescription") or {}
    changed = dict(_fields(description.get("updatedFields")))
    changed |= dict.fromkeys(set(description.get("removedFields") or ()) & {rules.key, rules.when}, None)
    said = known(changed, rules)
    moved = rules.key in changed
    if before is None:
        return None, moved
    keyed = said if moved else before
    live = said.live if rules.when in changed else before.live
    return Known(keyed.key, live, keyed.long), moved
