"""The records of a page: whole ones for the mirror, and those that are only compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from hybridsync.errors import ListingFailed
from hybridsync.give_way import give_way
from hybridsync.kube_object import object_version
from hybridsync.model import Record
from hybridsync.sources.kube_pages import Page
from hybridsync.sources.kube_shape import Shape, meta_of

TURN_RECORDS = 50


async def records_of(page: Page, shape: Shape, told: str) -> Sequence[Record]:
    """Whole ones; others on the loop get their turn meanwhile. Raises `ListingFailed` that begins with `told`."""
    records: list[Record] = []
    make = partial(shape.record, kind=page.kind)
    for number, item in enumerate(page.items, 1):
        records.append(_made(make, item, told))
        if number % TURN_RECORDS == 0:
            await give_way()
    return records


def outlined(page: Page, told: str) -> Sequence[Record]:
    """Keys and versions. Raises `ListingFailed`."""
    return [_made(_outline, item, told) for item in page.items]


def _outline(item: Mapping[str, Any]) -> Record:
    meta = meta_of(item)
    return Record(meta.key, b"", object_version(meta.uid, meta.resource_version))


def _made(make: Callable[[Mapping[str, Any]], Record], item: Mapping[str, Any], told: str) -> Record:
    try:
        return make(item)
    except ValueError as error:
        raise ListingFailed(f"{told}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ListingFailed(f"{told}: an item is no object ({type(error).__name__})") from None
