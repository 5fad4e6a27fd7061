"""What both ends of a Kubernetes mirror agree on: the name, the version and the identity of an object. Pure.

A resourceVersion is opaque: it says equal or not equal, never older or newer (Kubernetes API concepts,
"Resource versions"). Together with the uid it names one state of one object for good.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

VERSION_BYTES = 16


class ObjectMeta(NamedTuple):
    """The identity of an object as the API serves it. `namespace`: `None` when it is cluster-scoped."""

    uid: str
    namespace: str | None
    name: str
    labels: Mapping[str, str]
    resource_version: str

    @property
    def key(self) -> str:
        """See `object_key`."""
        return object_key(self.namespace, self.name)


def object_key(namespace: str | None, name: str) -> str:
    """`namespace/name`, or `name` for what is cluster-scoped. Neither part can hold a slash."""
    return f"{namespace}/{name}" if namespace else name


def object_version(uid: str, resource_version: str) -> int:
    """One number for one state of one object: equal exactly when both are."""
    digest = hashlib.blake2b(f"{uid}\0{resource_version}".encode(), digest_size=VERSION_BYTES)
    return int.from_bytes(digest.digest(), "big")
