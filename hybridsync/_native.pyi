"""The few loops that see every znode, in C: native/, where the comment of each file says what it declines."""

from collections.abc import Sequence
from typing import TypeVar

D = TypeVar("D", bound=tuple[bytes, bytes, int, int])

def znode_document(key: str, value: bytes, stat: bytes, root: str, synced_at: int) -> bytes | None:
    """The document of a znode, as `sinks.znode_document` makes it; `None` when Python is to do it."""

def znode_names(answer: bytes, offset: int) -> tuple[list[str], int] | None:
    """The names of children from `offset` on, and the offset behind them; `None` when Python is to do it."""

def znode_values(answer: bytes, offset: int, most: int, data: type[D]) -> tuple[list[D], int]:
    """The up to `most` values that follow each other from `offset` on, and the offset behind them."""

def znode_versions(documents: bytes) -> tuple[dict[str, int], Sequence[bytes]]:
    """Path → version of those documents that are in the shape of ours, and the other documents."""
