"""Which key each document of a collection has, and whether it counts: what a delete event does not say.

Strings and bytes only, so that the garbage collector skips it: about 250 bytes a document.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import bson

from hybridsync.sources.raw_documents import identity_in

_LIVE, _LONG, _OFF = "+", "l", "-"


class Known(NamedTuple):
    """What is known of one document. `key` is `None` when its key field holds no usable key.

    `live`: it is not switched off, so it is published, or would be if it broke no rule. `long`: its key is none that
    can be used because of its length.
    """

    key: str | None
    live: bool
    long: bool = False


def identity(document_id: Any) -> bytes:
    """Any `_id` as bytes, those that MongoDB holds: some (embedded documents) cannot be keys of a dict."""
    return identity_in(bson.encode({"_id": document_id}))


class KeyMap:
    """`_id` → key and state, and key → the last document that was seen with it."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}
        self._nameless: dict[bytes, str] = {}
        self._holder: dict[str, bytes] = {}
        self._shared: set[str] = set()

    def __len__(self) -> int:
        return len(self._known) + len(self._nameless)

    def get(self, document: bytes) -> Known | None:
        """What is known of a document; `None` when it is not known at all."""
        state = self._known.get(document)
        if state is not None:
            return Known(state[1:], state[0] == _LIVE)
        state = self._nameless.get(document)
        return None if state is None else Known(None, state != _OFF, state == _LONG)

    def put(self, document: bytes, known: Known) -> None:
        """Says what is known of a document from now on."""
        self.remove(document)
        state = _LIVE if known.live else _OFF
        if known.key is None:
            self._nameless[document] = _LONG if known.live and known.long else state
            return
        self._known[document] = state + known.key
        if known.key in self._holder:
            self._shared.add(known.key)
        self._holder[known.key] = document

    def remove(self, document: bytes) -> None:
        """Forgets a document."""
        self._nameless.pop(document, None)
        state = self._known.pop(document, None)
        if state is not None and self._holder.get(state[1:]) == document:
            del self._holder[state[1:]]

    def live_without_key(self) -> dict[bytes, bool]:
        """The documents that are not switched off and have no usable key, and whether that is because of its length."""
        return {document: state == _LONG for document, state in self._nameless.items() if state != _OFF}

    def only_holder(self, key: str) -> bytes | None:
        """The one document that was ever seen with this key; `None` when there is none, or were several."""
        return None if key in self._shared else self._holder.get(key)
