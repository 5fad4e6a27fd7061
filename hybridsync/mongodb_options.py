"""What of a MongoDB URI's options the clients obey, and what they do not whatever it says.

A URI is often one that another program uses, too, and some options that are harmless there would make a claim of
hybridsync false: what is acknowledged before a majority has it may be gone after an election, ids that are decoded
to another type are not recognised, a deadline of some milliseconds lets nothing come to its end. So what an answer
is decoded to, and what is acknowledged, is decided here (`PLAIN`, `WRITES`, `READS`) for every collection and
command, and what is left is kept within bounds. All of pymongo's options:
https://pymongo.readthedocs.io/en/stable/api/pymongo/mongo_client.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any, NamedTuple

from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

PLAIN: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True,
    tzinfo=UTC,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
"""How every answer is decoded that is not decoded in a way of its own: times are aware, UUIDs stay binary, and no
value that a server can store raises: dates beyond the year 9999 come as `DatetimeMS`."""

WRITES = WriteConcern("majority", j=True)
READS = ReadConcern("majority")

_OVERRULED: dict[str, Any] = {
    "w": "majority",
    "wtimeoutMS": 0,
    "journal": True,
    "fsync": False,
    "readConcernLevel": "majority",
    "retryWrites": True,  # without it no write has a number, and a late one cannot be told
    "timeoutMS": None,  # every call has a deadline of its own
    "socketTimeoutMS": 20_000,
    "waitQueueTimeoutMS": None,
}
"""These the URI does not change."""

_DEFAULTS: dict[str, Any] = {"appname": "hybridsync", "serverSelectionTimeoutMS": 5_000, "connectTimeoutMS": 5_000}
"""These it does."""


class _Bounds(NamedTuple):
    option: str
    least: int
    most: int


_BOUNDS = (
    _Bounds("connectTimeoutMS", 500, 10_000),  # 0 means for ever, also for the monitor that finds a server dead
    _Bounds("serverSelectionTimeoutMS", 100, 10_000),
    _Bounds("heartbeatFrequencyMS", 500, 10_000),
    _Bounds("maxPoolSize", 20, 1_000),  # a sign of life must not wait until an index is built
    _Bounds("maxIdleTimeMS", 1_000, 86_400_000),
)

_UNBOUNDED_AT_ZERO = ("connectTimeoutMS", "maxPoolSize")


def client_options(given: Mapping[str, str]) -> dict[str, Any]:
    """Keyword arguments for a client, over the options of its URI; `given`: those, by name in small letters.

    Raises `ValueError` for what contradicts the purpose.
    """
    if given.get("w") == "0":
        raise ValueError("w=0 cannot be used: every write must be acknowledged")
    ours = {name: value for name, value in _DEFAULTS.items() if name.lower() not in given}
    return {**ours, **_OVERRULED, **_within_bounds(given)}


def not_obeyed(given: Mapping[str, str]) -> list[str]:
    """The names of the options in a URI that are overruled, for a line in the log."""
    kept = {"w": ("majority",), "journal": ("true",), "j": ("true",), "retrywrites": ("true",)}
    kept |= {"readconcernlevel": ("majority",), "readpreference": ("primary",)}
    ours = {name.lower() for name in _OVERRULED} | {"j", "readpreference", "uuidrepresentation"}
    changed = {name for name in ours & set(given) if given[name].lower() not in kept.get(name, ())}
    return sorted(changed | {name.lower() for name in _within_bounds(given)})


def _within_bounds(given: Mapping[str, str]) -> dict[str, int]:
    changed: dict[str, int] = {}
    for option, least, most in _BOUNDS:
        text = given.get(option.lower())
        if text is None:
            continue
        try:
            wanted = float(text)
        except ValueError:
            continue  # pymongo says what is wrong with it
        if wanted == 0 and option in _UNBOUNDED_AT_ZERO:
            wanted = most
        bounded = round(min(max(wanted, least), most))
        if bounded != wanted or text.strip("0.") == "":
            changed[option] = bounded
    return changed
