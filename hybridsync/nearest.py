"""The name a user most likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that resembles `name` most; there is always one."""
    return difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)[0]
