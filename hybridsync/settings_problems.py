"""Turns what pydantic found wrong into lines for the person who wrote it.

Each line names the variable or the place in a file as it was written, the value with secrets masked,
and what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from hybridsync.nearest import nearest
from hybridsync.resource_config import DEFAULT_TYPES, NAME_ALLOWED, known_keys
from hybridsync.resource_kinds import PARTS, SECRETS
from hybridsync.settings_masks import is_secret, mask_secret, show
from hybridsync.settings_tree import Location, Origin, Raw, variable


def describe(error: ValidationError, raw: Raw, fields: Mapping[str, FieldInfo]) -> list[str]:
    """One line, or for an unknown table one line a variable, for each thing that is wrong."""
    lines: list[str] = []
    for detail in error.errors(include_url=False):
        location = tuple(part for part in detail["loc"] if isinstance(part, str))
        reason = _reason(detail.get("ctx"))
        if location[0] != "resources":
            field = fields[location[0]]
            value = detail["input"]
            shown = repr(mask_secret(location[0], value)) if is_secret(field) else show(value)
            given = shown if location in raw.origins and not raw.origins[location].file else None
            lines.append(_line(name_of(raw, location), given, reason, allowed_of(field)))
        elif detail["type"] == "extra_forbidden":
            lines.extend(_unknown_keys(raw, location))
        else:
            lines.append(_resource_line(raw, location, detail["type"], detail["input"], reason))
    return lines


def name_of(raw: Raw, location: Location) -> str:
    """The place the user wrote the value in, or would write it in next to its neighbours."""
    return _origin(raw, location).name(location)


def allowed_of(field: FieldInfo) -> str:
    """What a setting may be, in words."""
    assert isinstance(field.json_schema_extra, dict)
    return str(field.json_schema_extra["allowed"])


def _line(name: str, shown: str | None, reason: str | None, allowed: str) -> str:
    wrong = f"{shown} is not allowed" if shown is not None else "not allowed"
    return f"{name}: {wrong}{f' ({reason})' if reason else ''}; allowed: {allowed}"


def _reason(context: Any) -> str | None:
    """What a check of our own said; pydantic's own words are never shown."""
    error = context.get("error") if isinstance(context, dict) else None
    if not isinstance(error, ValueError) or isinstance(error, UnicodeError):
        return None
    return str(error)


def _origin(raw: Raw, location: Location) -> Origin:
    for depth in range(len(location), 0, -1):
        for _, origin in raw.below(location[:depth]):
            return origin
    return Origin("default", variable(location), location)


def _resource_line(raw: Raw, location: Location, kind: str, value: object, reason: str | None) -> str:
    if location[-1] == "[key]":
        return f"{name_of(raw, location[:2])}: {show(location[1])} is not a resource name; allowed: {NAME_ALLOWED}"
    written = name_of(raw, location)
    if len(location) < 3:
        return _line(written, show(value), reason, "a table with source and sink")
    part = location[2]
    allowed = known_keys(None)[part]
    if len(location) > 3 and part in PARTS:
        allowed = known_keys(part, _type_of(raw, location[:3]))[location[3]]
    if kind == "missing":
        return f"{written}: missing; allowed: {allowed}"
    if location[2:] in SECRETS:
        origin = raw.origins.get(location)
        return _line(written, None if origin is not None and origin.file else repr("***"), reason, allowed)
    return _line(written, show(value), reason, allowed)


def _unknown_keys(raw: Raw, location: Location) -> list[str]:
    """The value is not shown: nobody knows what it was meant to be."""
    part = location[2] if len(location) > 3 else None
    known = sorted(known_keys(part, _type_of(raw, location[:3])))
    meant = nearest(location[-1], known)
    lines: dict[str, None] = {}
    for leaf, origin in raw.below(location):
        written, right = origin.name(location), meant
        if origin.exact:
            written, right = origin.name(leaf), variable((*location[:-1], meant, *leaf[len(location) :]))
        lines[f"{written}: unknown; the nearest known one is {right}; allowed: {', '.join(known)}"] = None
    return list(lines)


def _type_of(raw: Raw, location: Location) -> object:
    table = raw.value(location)
    return (table.get("type") or DEFAULT_TYPES.get(location[2])) if isinstance(table, Mapping) else None
