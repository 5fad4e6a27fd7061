"""Which keys lie at or below some roots, in a few steps for each key however many roots there are."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator


class Subtrees:
    """The subtrees at `roots`, whose names are parted by slashes. False where there are none."""

    def __init__(self, roots: Iterable[str]) -> None:
        self._roots = frozenset(root.rstrip("/") for root in roots)
        self._lengths = frozenset(map(len, self._roots))

    def __bool__(self) -> bool:
        return bool(self._roots)

    def __contains__(self, key: str) -> bool:
        if not self._roots:
            return False
        cut = len(key)
        while cut >= 0:
            if cut in self._lengths and key[:cut] in self._roots:
                return True
            cut = key.rfind("/", 0, cut) if cut else -1
        return False


def not_named(keys: Iterable[str], unreadable: Iterable[str], invalid: Container[str]) -> Iterator[str]:
    """Of keys that a listing did not name, those that are gone: not what may not be read, nor what breaks rules."""
    kept = Subtrees(unreadable)
    for key in keys:
        if key not in invalid and key not in kept:
            yield key
