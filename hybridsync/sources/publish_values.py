"""What a BSON value looks like in JSON. Pure.

JSON has fewer types than BSON, so each of BSON's others has one written form, or none. The forms are
part of the outside contract (docs/mongodb-to-zookeeper.md): equal documents must give equal bytes for ever.
"""

from __future__ import annotations

import base64
import math
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from bson.binary import UUID_SUBTYPE, Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

EXACT_INTEGERS = 2**53
"""Beyond this a double no longer holds every integer, so one that looks whole may not be meant as one."""


class NoJsonForm(ValueError):
    """A value that JSON has no form for. The message names the place and the type, never the value."""


def to_json(value: Any, place: str = "") -> Any:
    """The JSON form of a BSON value; `place` names it in errors.

    A double with a whole value becomes an integer: shells and JavaScript drivers write every number as
    a double, and JSON does not tell the two apart. Raises `NoJsonForm`.
    """
    kind = type(value)
    if value is None or kind in (str, bool, int):
        return value
    if kind is float:
        return _number(value, place)
    if isinstance(value, Mapping):
        return {key: to_json(below, f"{place}.{key}" if place else key) for key, below in value.items()}
    if isinstance(value, list):
        return [to_json(below, f"{place}[{number}]") for number, below in enumerate(value)]
    form = _FORMS.get(kind)
    if form is None:
        raise NoJsonForm(f"{place}: a value of type {kind.__name__} has no form in JSON")
    return form(value)


def _number(value: float, place: str) -> float | int:
    if not math.isfinite(value):
        raise NoJsonForm(f"{place}: JSON has no number that is infinite or not a number")
    return int(value) if value.is_integer() and abs(value) <= EXACT_INTEGERS else value


def _moment(value: datetime) -> str:
    """As everywhere in hybridsync: ISO 8601, UTC, milliseconds, which is what BSON holds."""
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _binary(value: Binary) -> str:
    if value.subtype == UUID_SUBTYPE and len(value) == 16:
        return str(uuid.UUID(bytes=bytes(value)))
    return base64.b64encode(value).decode()


_FORMS: Mapping[type, Callable[[Any], Any]] = {
    Int64: int,
    ObjectId: str,
    Decimal128: str,
    datetime: _moment,
    DatetimeMS: int,  # beyond the years 1 to 9999: the milliseconds since 1970
    Binary: _binary,
    bytes: lambda value: base64.b64encode(value).decode(),
    uuid.UUID: str,
}
