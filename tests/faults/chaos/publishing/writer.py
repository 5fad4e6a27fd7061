"""A writer that edits documents in every way there is.

They are created, changed, switched off and on, deleted, deleted and created again, and given other keys; many are
edited at once; and now and then there is a burst. No two have one key: what happens then is not what chaos is about.
"""

from __future__ import annotations

from tests.faults.chaos.publishing.journal import KEY, SWITCH, Document, PublishingJournal
from tests.faults.chaos.writer import Act, Writer

_NUMBERS = 400
_MANY = 12
_LARGE = range(1, 41)
_BURST = 120
_SIGNS = ("-", "/", "%", " b", "é", "😀")


class PublishingWriter(Writer):
    """See `Writer`. Writes what it tells the journal: documents from number 1 on."""

    def __init__(self, journal: PublishingJournal, seed: int) -> None:
        super().__init__(seed)
        self._journal = journal
        self._numbers = [str(number) for number in range(1, _NUMBERS + 1)]
        self._serial = 0

    @property
    def _actions(self) -> list[tuple[Act, int]]:
        return [
            (self._change_one, 60),
            (self._switch_one, 10),
            (self._another_key, 6),
            (self._reborn, 10),
            (self._change_many, 5),
            (self._delete_many, 3),
            (self._burst, 1),
        ]

    def _change_one(self) -> None:
        number = self._one()
        if number in self._journal.documents and self._random.random() < 0.2:
            self._journal.delete_all([number])
        else:
            self._journal.put(number, self._document(number))

    def _switch_one(self) -> None:
        number = self._one()
        known = self._journal.documents.get(number)
        if known is not None:
            self._journal.put(number, {**known, SWITCH: not known[SWITCH]})

    def _another_key(self) -> None:
        number = self._one()
        self._journal.put(number, {**self._document(number), KEY: self._key(number, self._random.choice("abc"))})

    def _reborn(self) -> None:
        number = self._one()
        if number in self._journal.documents:
            self._journal.delete_all([number])
        self._journal.put(number, self._document(number))

    def _change_many(self) -> None:
        first = self._one()
        self._journal.put_all({number: self._document(number) for number in range(first, first + _MANY)})

    def _delete_many(self) -> None:
        first = self._one()
        self._journal.delete_all([each for each in range(first, first + _MANY) if each in self._journal.documents])

    def _burst(self) -> None:
        for _ in range(_BURST):
            self._change_one()

    def change_large(self) -> None:
        """Changes many documents at once, each of some kilobytes. For who holds the writer."""
        self._journal.put_all({number: {**self._document(number), "long": "y" * 5_000} for number in _LARGE})

    def _one(self) -> int:
        return int(self._pick(self._numbers))

    def _key(self, number: int, variant: str = "") -> str:
        return f"{number}{_SIGNS[number % len(_SIGNS)]}{variant}"

    def _document(self, number: int) -> Document:
        """Each is another: a serial number tells states apart."""
        self._serial += 1
        known = self._journal.documents.get(number)
        bodies: list[Document] = [
            {"port": self._random.randrange(10**6)},
            {"text": "é 😀 " * self._random.randrange(5), "on_since": None},
            {"long": "x" * 5_000},
            {"nested": {"list": [1, True, "1", {}, []], "b": {"a": self._random.randrange(100)}}},
        ]
        key = known[KEY] if known is not None else self._key(number)
        return {KEY: key, SWITCH: True, "serial": self._serial, **self._random.choices(bodies, [8, 3, 3, 4])[0]}
