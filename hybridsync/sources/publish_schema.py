"""The JSON Schema of what is published: read from a file, checked once, applied to objects. Draft 2020-12.

A message names the field and the rule and never holds a value of a document: it is shown in logs and in
`/health/sync`, and the value may be a password.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LONGEST_RULE = 80
_REFERENCES = ("$ref", "$dynamicRef")

_WORDS: Mapping[str, str] = {
    "exclusiveMinimum": "must be above {}",
    "minimum": "must be at least {}",
    "exclusiveMaximum": "must be below {}",
    "maximum": "must be at most {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have a length of at least {}",
    "maxLength": "must have a length of at most {}",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "pattern": "must match {}",
    "format": "must have the format {}",
    "type": "must be of type {}",
}
"""Rules that are told with what the schema asks for; of the others only the name is told."""


class PublishSchema:
    """A schema that can be used. `text`: the file's content. Raises `ValueError` with the reason when it cannot be."""

    def __init__(self, text: str) -> None:
        content = _parsed(text)
        if content.get("$schema", DIALECT).rstrip("#") != DIALECT:
            raise ValueError("its $schema is not Draft 2020-12")
        properties = content.get("properties")
        if not isinstance(properties, dict) or not properties:
            raise ValueError("it has no properties: nothing would be published")
        for reference in _references(content):
            if not reference.startswith("#"):
                raise ValueError("it refers to another document; allowed are references within it (#/…)")
        try:
            self._validator = jsonschema_rs.Draft202012Validator(content, offline=True)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise ValueError(f"it is not a JSON Schema: {_first_line(error)}") from None
        self.names: tuple[str, ...] = tuple(properties)
        self.canonical = json.dumps(content, sort_keys=True)
        """Equal for two files that ask for the same."""

    def violations(self, published: Mapping[str, Any]) -> list[str]:
        """What is wrong with an object, one line a field and rule; empty when nothing is."""
        if self._validator.is_valid(published):
            return []
        return list(dict.fromkeys(_worded(error) for error in self._validator.iter_errors(published)))


def _parsed(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(content, dict) or not isinstance(content.get("$schema", ""), str):
        raise ValueError("it is not a JSON object with a schema in it")
    return content


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (part[name] for name in _REFERENCES if isinstance(part.get(name), str))
    for below in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _references(below)


def _first_line(error: Exception) -> str:
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return line if len(line) <= 200 else line[:199] + "…"


def _worded(error: jsonschema_rs.ValidationError) -> str:
    rule, facts = error.kind.name, error.kind.as_dict()
    place = _place(error.instance_path)
    if rule == "required":
        return f"{_place([*error.instance_path, facts['property']])}: is missing"
    words = _WORDS.get(rule)
    if words is None:
        return f"{place}: breaks the rule {rule}"
    asked = facts.get("types") or next(iter(facts.values()), "")
    shown = " or ".join(map(str, asked)) if isinstance(asked, list) else str(asked)
    return f"{place}: {words.format(shown[:LONGEST_RULE])}"


def _place(path: list[Any]) -> str:
    """`upstream.hosts[2]`; the object itself is `(the whole)`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    return re.sub(r"[\x00-\x1f\x7f]", "?", text) or "(the whole)"
