"""What may be shown of a value: nothing of a secret, and of anything else no password that strayed into it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from hybridsync.addresses import mask_mongodb_uri

LONGEST_SHOWN = 120
LIKE_A_TOKEN = 20
"""Characters without a slash or a dot: rather a token than the name of a file."""


def is_secret(field: FieldInfo) -> bool:
    """Whether the value of a setting must not be shown."""
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


def mask_secret(name: str, value: object) -> str:
    """What may be shown of the value of a secret setting."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if not text:
        return ""
    return mask_mongodb_uri(text) if name == "mongodb_uri" else "***"


def show_file(name: object) -> str:
    """The name of a file that should hold a secret, unless it looks like the secret itself."""
    if isinstance(name, str) and len(name) >= LIKE_A_TOKEN and not re.search("[/.]", name):
        return repr("***")
    return show(name)


def show(value: object) -> str:
    """A value that should hold no secret; passwords that strayed into it are masked all the same."""
    if isinstance(value, str):
        masked = re.sub(r"(?s)(?<=://).*@", "***@", value)
        masked = re.sub(r"(?<![^\s/,])[^\s/:,@]*:[^\s/@]*@", "***@", masked)
        masked = re.sub(r"(?s)(?<=digest:).+", "***", masked)
        return repr(masked if len(masked) <= LONGEST_SHOWN else masked[:LONGEST_SHOWN] + "…")
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, Sequence):
        return "a list"
    try:
        return str(value)[:LONGEST_SHOWN]
    except ValueError:
        return "a number of thousands of digits"
