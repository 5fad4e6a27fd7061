"""A writer of documents that knows what it wrote. A state is told by the bytes that are to be published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError
from pymongo import DeleteOne, ReplaceOne
from pymongo.collection import Collection

from tests.faults.histories import Histories
from tests.publish_truth import bytes_of, published

KEY, SWITCH = "key", "on"
"""The fields of a document with its key, and with whether it is published."""

SILENT = 10_000

Document = dict[str, Any]
_Write = ReplaceOne[Document] | DeleteOne


class PublishingJournal(Histories[bytes]):
    """Writes documents whose `_id` is their number, acknowledged by a majority; nobody else writes those.

    Of documents from number `SILENT` on there is no history: they are many, and compared in the end.
    It goes straight to MongoDB, which nobody takes away while a write is under way. So no outcome is unknown.
    `documents`: what is there now, by number.
    """

    away = (KazooException, KazooTimeoutError)

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self.collection: Collection[Document]
        self.reader: KazooClient
        """Reads what is published."""
        self.documents: dict[int, Document] = {}

    def held(self, collection: Collection[Document]) -> Mapping[str, bytes]:
        """What is published of the keys: key → bytes."""
        return published(self.reader, self._path, self.keys)

    def put(self, number: int, document: Document) -> None:
        """Creates or replaces a document; it may have another key than before."""
        self.put_all({number: document})

    def put_all(self, documents: Mapping[int, Document]) -> None:
        """The same for many; each is a write of its own."""
        requests: list[_Write] = []
        after: dict[str, bytes | None] = {}
        for number, document in documents.items():
            after |= dict.fromkeys(self._keys_of([number]))
            requests.append(ReplaceOne({"_id": number}, document, upsert=True))
        for number, document in documents.items():
            if number >= SILENT:
                continue
            if document[SWITCH]:
                after[document[KEY]] = bytes_of(document, SWITCH)
            else:
                after.setdefault(document[KEY], None)
        self._write(after, lambda: self.collection.bulk_write(requests, ordered=True))
        self.documents |= documents

    def delete_all(self, numbers: Sequence[int]) -> None:
        """Deletes documents that exist."""
        if not numbers:
            return
        after: dict[str, bytes | None] = dict.fromkeys(self._keys_of(numbers))
        requests: list[_Write] = [DeleteOne({"_id": number}) for number in numbers]
        self._write(after, lambda: self.collection.bulk_write(requests, ordered=True))
        self._gone(numbers)

    def drop(self) -> None:
        """Drops the collection, with all documents."""
        numbers = list(self.documents)
        self._write(dict.fromkeys(self._keys_of(numbers)), self.collection.drop)
        self._gone(numbers)

    @property
    def expected(self) -> dict[str, bytes]:
        """What has to be published of the present documents."""
        return {one[KEY]: bytes_of(one, SWITCH) for one in self.documents.values() if one[SWITCH]}

    def _keys_of(self, numbers: Sequence[int]) -> list[str]:
        return [self.documents[number][KEY] for number in numbers if number in self.documents and number < SILENT]

    def _gone(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            del self.documents[number]

    def _write(self, after: Mapping[str, bytes | None], write: Callable[[], object]) -> None:
        states = [(self._begun(key, version), version) for key, version in after.items()]
        write()
        for state, version in states:
            self._acknowledged(state, version)
