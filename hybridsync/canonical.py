"""The bytes that are published for a document, and the number that tells such bytes apart. No I/O.

Both sides of publishing use this: the source makes the bytes, the sink hashes what it finds in a
znode. Two documents are equal exactly when their bytes are, so "nothing to write" is decidable.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

from hybridsync.model import Version

_VERSION_BYTES = 16


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, without blanks, in UTF-8; equal values give equal bytes.

    Raises `ValueError` for what JSON cannot hold (NaN, infinities, half a surrogate pair) and
    `TypeError` for objects that are none of JSON's.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def content_version(value: bytes) -> Version:
    """The version of a record that holds these bytes: their BLAKE2b hash of 128 bits."""
    return int.from_bytes(blake2b(value, digest_size=_VERSION_BYTES).digest())
