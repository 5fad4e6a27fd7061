"""The seam between the one MongoDB mirror and the kinds of documents it can hold.

A codec knows how a record becomes a document, how its version is read back from a few fields, and
what may be overwritten or deleted. It does no I/O: the mirror asks the server, the codec judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import DeleteMany, DeleteOne

from hybridsync.model import Index, Put, Record, Remove, Version

MALFORMED: Version = -2
"""The version of a document under one of our keys that is not of the mirror's shape: equal to no record's."""

MISPLACED: Version = 1 << 192
"""Added to the version of a document of the right state that has to be written anew all the same."""

LENIENT: CodecOptions[dict[str, Any]] = CodecOptions(
    unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_MS
)
"""Decodes whatever somebody may have stored, also where it is quoted in a complaint of the server."""

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""What MongoDB stores at most (https://www.mongodb.com/docs/manual/reference/limits/)."""

PlainEncoding: TypeAlias = Literal["utf8", "binary"]
Document: TypeAlias = bytes
"""BSON."""

Delete: TypeAlias = DeleteOne | DeleteMany

Update: TypeAlias = Mapping[str, Any]
"""One update, as MongoDB's command has it: `q`, `u`."""

Shown: TypeAlias = Mapping[str, Any]
"""A document with the fields of `DocumentCodec.shown` only."""


class DocumentCodec(Protocol):
    """One kind of mirrored documents."""

    @property
    def keeps_newest(self) -> bool:
        """See `Sink.keeps_newest`. Where it is false, no write may arrive late: removals travel in lanes too."""

    @property
    def indexes(self) -> Sequence[str]:
        """The fields that are indexed, one index each."""

    @property
    def shown(self) -> Mapping[str, int]:
        """The projection that tells a document's version."""

    @property
    def inside(self) -> Mapping[str, Any]:
        """The filter for the documents that can be the mirror's."""

    @property
    def misplaced(self) -> Mapping[str, Any] | None:
        """The filter for documents that are misplaced, when their shown fields do not tell."""

    def documents(self, puts: Sequence[Put], synced_at: int) -> Iterator[Document | str]:
        """The document of each record in the richest encoding without loss, made when it is asked for.

        Text instead of one says why there can be none. `synced_at`: milliseconds since 1970, UTC.
        """

    def plain(self, record: Record, synced_at: int, encoding: PlainEncoding) -> Document:
        """The document with its value as text or bytes. Raises `UnicodeDecodeError` where it is no text."""

    def same_content(self, stored: bytes, document: Document) -> bool:
        """Whether a stored document equals ours in everything but `syncedAt`."""

    def replacement(self, put: Put, document: Document) -> Update:
        """The guarded update where there may be a document under the key; to be upserted, in case there is none."""

    def to_look_at(self, removes: Sequence[Remove]) -> Sequence[str]:
        """The keys whose documents `removal` has to see."""

    def removal(self, removes: Sequence[Remove], seen: Mapping[str, Shown]) -> list[Delete]:
        """The guarded deletes. `seen`: what is there now of `to_look_at`."""

    def index_of(self, batch: bytes) -> tuple[Index, Sequence[bytes]]:
        """Key → version of documents in BSON, one after the other, as far as it goes quickly, and the others."""

    def version_in(self, document: Shown) -> Version:
        """The version of the state that a document shows; `MALFORMED` when it is not of the mirror's shape."""

    def owns_malformed(self, key: str) -> bool:
        """Whether a document found `inside` counts as the mirror's although it is not of its shape."""
