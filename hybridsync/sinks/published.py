"""What a sink remembers of what it holds, so that nothing is asked or written that need not be. No I/O.

Of a key the version is known, or that there is nothing, or neither. Absence is known only after the
whole was listed. What is under way, or went wrong, is not known until it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from hybridsync.model import ANY, Index, Version

Listed: TypeAlias = set[str]
"""A listing under way: keys of which something newer was learnt since it began."""


class Published:
    """Key → version as last seen or written. Strings and integers only."""

    def __init__(self) -> None:
        self._complete = False
        self._versions: Index = {}
        self._doubtful: set[str] = set()
        self._listings: list[Listed] = []

    def of(self, key: str) -> Version | None:
        """The version; `None` when nothing is there; `ANY` when it is not known."""
        if key in self._doubtful:
            return ANY
        return self._versions.get(key, None if self._complete else ANY)

    def learn(self, key: str, version: Version | None) -> None:
        """Takes in what was just read or acknowledged."""
        self._note(key)
        self._doubtful.discard(key)
        if version is None:
            self._versions.pop(key, None)
        else:
            self._versions[key] = version

    def doubt(self, keys: Iterable[str]) -> None:
        """Says that a write of these is under way."""
        for key in keys:
            self._note(key)
            self._doubtful.add(key)

    def forget(self) -> None:
        """Says that everything may be different now."""
        self._complete = False
        self._versions.clear()
        self._doubtful.clear()
        self._listings.clear()

    def listing_begins(self) -> Listed:
        """From now on, what is learnt is newer than the listing; `listing_dropped` comes at its end."""
        listing: Listed = set()
        self._listings.append(listing)
        return listing

    def listing_dropped(self, listing: Listed) -> None:
        """Says that the listing has ended, however it did."""
        self._listings = [one for one in self._listings if one is not listing]

    def listing_ended(self, listing: Listed, found: Index, unreadable: Iterable[str]) -> None:
        """Takes in a complete listing, and keys that are there but could not be read."""
        if not any(one is listing for one in self._listings):  # forgotten meanwhile
            return
        newer = listing
        kept = {key: self._versions[key] for key in newer if key in self._versions}
        doubtful = {key for key in newer if key in self._doubtful}
        self._versions = {key: version for key, version in found.items() if key not in newer} | kept
        self._doubtful = doubtful | {key for key in unreadable if key not in newer}
        self._complete = True

    def _note(self, key: str) -> None:
        for listing in self._listings:
            listing.add(key)
