"""From a document to what is published for it: which documents, under which key, which bytes. Pure.

The rules of one resource: `key` names the field with the key, `when` the field that switches a document
on, `schema` says which properties are published and what they may be, `fields` what they are called in
the document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any

from bson.decimal128 import Decimal128

from hybridsync.canonical import canonical_json
from hybridsync.sources.publish_schema import PublishSchema
from hybridsync.sources.publish_values import NoJsonForm, to_json

LONGEST_MESSAGE = 500
LONGEST_KEY = 2**20
"""In characters. Longer ones fit into no request of ZooKeeper, and are not kept in memory."""


class Switch(Enum):
    """What the `when` field says."""

    ON = "on"
    OFF = "off"
    UNCLEAR = "unclear"


class Invalid(ValueError):
    """A document that breaks the rules. `problems`: one line a field and rule, without any value."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        line = re.sub(r"[\x00-\x1f\x7f]", "?", "; ".join(problems))
        super().__init__(line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…")


@dataclass(frozen=True, slots=True)
class PublishRules:
    """The rules of one resource. `fields`: name in the znode → name in the document.

    Raises `ValueError` when the parts do not fit together.
    """

    key: str
    when: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    schema: PublishSchema | None = None

    def __post_init__(self) -> None:
        if self.schema is None:
            return
        unknown = sorted(set(self.fields) - set(self.schema.names))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no property of the schema; its properties: {_list(self.schema.names)}")
        for name in self.schema.names:
            if not is_field_name(self.fields.get(name, name)):
                raise ValueError(f"the schema's property {name!r} cannot be a field of a document; rename it in fields")

    def no_key(self, *, long: bool) -> str:
        """The problem of a document without a usable key. `long`: that is because of its length."""
        if long:
            return f"{self.key}: the key must have at most {LONGEST_KEY} characters"
        return f"{self.key}: the key must be a text that is not blank"

    def projection(self) -> dict[str, int] | None:
        """What has to be read of a document; `None` for all of it."""
        if self.schema is None:
            return None
        names = {self.fields.get(name, name) for name in self.schema.names} | {self.key}
        if self.when is not None:
            names.add(self.when)
        return dict.fromkeys(sorted(names), 1)

    def selection(self) -> dict[str, Any]:
        """A MongoDB filter that leaves out documents which are plainly switched off, and no other."""
        if self.when is None:
            return {}
        return {self.when: {"$nin": [False, None, 0], "$not": {"$type": "array"}}}

    def switch(self, value: Any) -> Switch:
        """Whether a document with this value in its `when` field is to be published.

        True and numbers other than 0 are on; false, 0, null, nothing and lists are off. Anything else (a
        text, say `"false"`) might be meant either way, so it is neither.
        """
        if self.when is None:
            return Switch.ON
        if value is None or isinstance(value, list):
            return Switch.OFF
        if isinstance(value, Decimal128):
            value = value.to_decimal()
        if isinstance(value, (int, float, Decimal)):
            return Switch.ON if value else Switch.OFF
        return Switch.UNCLEAR

    def publish(self, document: Mapping[str, Any]) -> bytes:
        """The bytes for a document that is not switched off. Raises `Invalid`."""
        problems = self._problems_of_the_frame(document)
        try:
            published = self._properties(document)
            text = canonical_json(published)
        except NoJsonForm as error:
            raise Invalid([*problems, str(error)]) from None
        except UnicodeEncodeError:
            raise Invalid([*problems, "a text in it cannot be written as UTF-8"]) from None
        if self.schema is not None:
            problems += map(self._in_the_document, self.schema.violations(published))
        if problems:
            raise Invalid(problems)
        return text

    def violations(self, document: Mapping[str, Any]) -> list[str]:
        """What keeps a document from being published; empty when nothing does. Whether it is on is not asked."""
        try:
            self.publish(document)
        except Invalid as error:
            return error.problems
        return []

    def _problems_of_the_frame(self, document: Mapping[str, Any]) -> list[str]:
        problems = []
        key = document.get(self.key)
        if not is_key(key):
            problems.append(self.no_key(long=is_long(key)))
        if self.when is not None and self.switch(document.get(self.when)) is Switch.UNCLEAR:
            problems.append(f"{self.when}: must be true or false")
        return problems

    def _properties(self, document: Mapping[str, Any]) -> dict[str, Any]:
        if self.schema is not None:
            named = [(name, self.fields.get(name, name)) for name in self.schema.names]
        else:
            renamed = {"_id", self.when, *self.fields, *self.fields.values()}
            named = [(name, name) for name in document if name not in renamed] + list(self.fields.items())
        return {name: to_json(document[own], own) for name, own in named if own in document}

    def _in_the_document(self, problem: str) -> str:
        """The problem with the document's name of the field beside the znode's, where the two differ."""
        name = re.split(r"[.:\[]", problem, maxsplit=1)[0]
        own = self.fields.get(name, name)
        return problem if own == name else f"{name} ({own} in the document){problem.removeprefix(name)}"


def is_key(value: Any) -> bool:
    """Whether a document can be published under this value."""
    return type(value) is str and len(value) <= LONGEST_KEY and bool(value.strip())  # Code is a `str`, too


def is_long(value: Any) -> bool:
    """Whether it would be a key if it were shorter."""
    return type(value) is str and len(value) > LONGEST_KEY


def is_field_name(name: str) -> bool:
    """Whether a top-level field of a document can be asked for by this name."""
    return bool(name) and not name.startswith("$") and "." not in name and "\0" not in name


def _list(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:20])
    return shown if len(names) <= 20 else f"{shown}, …"
