"""What is at the source and not in the sink as it should be, now, and why: what no claim covers.

Three kinds, each kept where it is found: `unreadable` and `invalid` by the source, `refused` by the writer.
Here they are counted and shown together. What is shown has a bound, whatever a key or a server's text holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from heapq import nsmallest
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

LONGEST_KEY: Final = 400
LONGEST_REASON: Final = 300
_WHOLE: Final = (1 << 64) - 1


class ExceptionKind(StrEnum):
    """How a record is excepted."""

    UNREADABLE = "unreadable"
    """A root of what may not be read; at and below it the sink keeps what it has."""

    REFUSED = "refused"
    """The sink could not store it, or could not remove it."""

    INVALID = "invalid"
    """It breaks the rules of the resource; the last good state stays."""


class Excepted(NamedTuple):
    """One of them, as it is shown. Keys that differ are shown differently."""

    key: str
    kind: ExceptionKind
    why: str


Reasons: TypeAlias = Callable[[], Mapping[str, str]]
"""Gives key → why, as it is now."""


class Exceptions:
    """A live view of one resource's exceptions, by kind. In the order of keys: `page`; `first` in none."""

    def __init__(self, unreadable: Reasons, refused: Reasons, invalid: Reasons) -> None:
        self._of: Mapping[ExceptionKind, Reasons] = {
            ExceptionKind.UNREADABLE: unreadable,
            ExceptionKind.REFUSED: refused,
            ExceptionKind.INVALID: invalid,
        }

    def copied(self) -> Exceptions:
        """The same as it is now, for another thread."""
        copies = [dict(self._of[kind]()) for kind in ExceptionKind]
        unreadable, refused, invalid = (lambda copy=copy: copy for copy in copies)
        return Exceptions(unreadable, refused, invalid)

    def count(self, kind: ExceptionKind) -> int:
        """How many there are of one kind."""
        return len(self._of[kind]())

    def first(self, limit: int, *kinds: ExceptionKind) -> list[Excepted]:
        """Some of them: of the kinds, or of every kind that there is, in turns."""
        shares = [islice(self._shown(kind), limit) for kind in kinds or self._of]
        chosen: list[Excepted] = []
        while shares and len(chosen) < limit:
            for share in list(shares):
                one = next(share, None)
                if one is None:
                    shares.remove(share)
                elif len(chosen) < limit:
                    chosen.append(one)
        return chosen

    def page(self, after: str, limit: int) -> list[Excepted]:
        """The next ones behind the key `after`, as it was shown; all of one key come together."""
        rest = [one for kind in self._of for one in self._shown(kind) if one.key > after]
        chosen = nsmallest(limit, rest)
        if len(chosen) == limit:
            last = chosen[-1]
            chosen += sorted(one for one in rest if one.key == last.key and one > last)
        return chosen

    def _shown(self, kind: ExceptionKind) -> Iterator[Excepted]:
        for key, why in self._of[kind]().items():
            yield Excepted(shown_key(key), kind, shown_reason(why))


def shown_key(key: str) -> str:
    """The key, a long one shortened, with a hash of the whole at its end, which differs from process to process.

    Python has that hash already, of whatever is a key of a dict: nothing here grows with the key.
    """
    if len(key) <= LONGEST_KEY:
        return key
    return f"{key[: LONGEST_KEY - 20]}… ({hash(key) & _WHOLE:016x})"


def shown_reason(why: str) -> str:
    """The reason on one line, a long one shortened."""
    line = " ".join(why[: 4 * LONGEST_REASON].split())
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "…"
