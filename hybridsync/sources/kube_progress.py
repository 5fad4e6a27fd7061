"""Whether the pages of a listing come to an end: a server that ignores `continue` sends the same one for ever.

Nothing is kept of a listing of one page. Of a longer one a number is kept for each key and each token: less than
the engine keeps of each record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hybridsync.errors import ListingFailed

SPARE_REPEATS = 1000
"""Keys that may come twice beside as many as came once: objects move between pages that are of several moments."""

EMPTY_PAGES = 100
"""In a row, of a server that looks for matching objects page by page."""


class Progress:
    """The pages of one listing, which `told` names."""

    def __init__(self, told: str) -> None:
        self._told = told
        self._keys: set[int] = set()
        self._tokens: set[int] = set()
        self._repeats = 0
        self._empty = 0

    def token(self, token: str) -> None:
        """Takes the token of the next page. Raises `ListingFailed` for one that was there already."""
        if hash(token) in self._tokens:
            raise ListingFailed(f"{self._told}: the server gave a continue token twice, so the pages would never end")
        self._tokens.add(hash(token))

    def expired(self, token: str) -> None:
        """Takes the token that goes on without the snapshot. Raises `ListingFailed` when no page ever follows."""
        self._empty += 1
        self.token(token)
        if self._empty > EMPTY_PAGES:
            raise ListingFailed(f"{self._told}: every continue token was too old at once")

    def page(self, items: Sequence[Any], token: str) -> None:
        """Takes a page and the token of the next. Raises `ListingFailed` when the listing comes to no end."""
        if not token and not self._keys:
            return
        known = len(self._keys)
        self._keys.update(map(_key, items))
        new = len(self._keys) - known
        self._repeats += len(items) - new
        self._empty = 0 if items else self._empty + 1
        if not token:
            return
        self.token(token)
        if items and not new:
            raise ListingFailed(
                f"{self._told}: a page brought only what was there before, and claims that there is more"
            )
        if self._repeats > len(self._keys) + SPARE_REPEATS or self._empty > EMPTY_PAGES:
            raise ListingFailed(f"{self._told}: the pages bring nothing new any more, and claim that there is more")


def _key(item: Any) -> int:
    metadata = item.get("metadata") if isinstance(item, Mapping) else None
    if not isinstance(metadata, Mapping):
        return 0
    return hash((str(metadata.get("namespace")), str(metadata.get("name"))))
