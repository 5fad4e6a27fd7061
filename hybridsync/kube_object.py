"""What both ends of a Kubernetes mirror agree on: the name, the version and the identity of an object. Pure.

A resourceVersion together with the uid names one state of one object for good. Of two versions of one type that
are decimal integers the larger is the newer (Kubernetes API concepts, "Resource versions", documented since 1.35,
and true since etcd 3). Those of an extension API server may be anything; then they say equal or not equal, nothing
more. So only the proof of a watch looks for an order; writes do without.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

VERSION_BYTES = 16
_DECIMAL = re.compile(r"[1-9][0-9]*", re.ASCII)


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


def is_ordered(resource_version: str) -> bool:
    """Whether it can be compared with others of its type."""
    return _DECIMAL.fullmatch(resource_version) is not None


def reaches(resource_version: str, other: str) -> bool:
    """Whether it is `other` or newer; whether it is exactly `other` where there is no order."""
    if is_ordered(resource_version) and is_ordered(other):
        return (len(resource_version), resource_version) >= (len(other), other)
    return resource_version == other


def is_before(resource_version: str, other: str) -> bool:
    """Whether it is older than `other`; never where there is no order."""
    return is_ordered(resource_version) and is_ordered(other) and not reaches(resource_version, other)
