"""What is kept of a Kubernetes object: paths that are dropped, paths that alone are kept. Pure.

A path is names joined by dots; a name with dots in it stands in brackets and quotes, and `*` is any name or
any element of a list: `spec.containers.*.env`, `metadata.annotations["a.b/c"]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from hybridsync.canonical import canonical_json
from hybridsync.kube_object import ObjectMeta, object_key, object_version
from hybridsync.kube_target import EVERYWHERE, Target
from hybridsync.model import Record

Path: TypeAlias = tuple[str, ...]

ANY = "*"
PATHS_ALLOWED = 'a list of paths into the object, such as ["status", "metadata.annotations[\'example.com/note\']"]'
_PART = re.compile(r"""\.?(?:\[(?P<quote>["'])(?P<quoted>.+?)(?P=quote)\]|\[(?P<star>\*)\]|(?P<plain>[^.\[\]"'\s]+))""")
_LAST_APPLIED: Path = ("metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration")
_IDENTITY: tuple[Path, ...] = (
    ("apiVersion",),
    ("kind",),
    *(("metadata", name) for name in ("name", "namespace", "uid", "resourceVersion")),
)
_SECRET: tuple[Path, ...] = (("data",), ("stringData",))


def parse_path(text: str) -> Path:
    """The names of a path. Raises `ValueError`."""
    parts: list[str] = []
    position = 0
    while position < len(text):
        found = _PART.match(text, position)
        if found is None or (position == 0 and text[0] == ".") or (position and text[position] not in ".["):
            raise ValueError(f"{text!r} is no path")
        parts.append(found["quoted"] or found["star"] or found["plain"])
        position = found.end()
    if not parts:
        raise ValueError("a path is empty")
    return tuple(parts)


class Shape:
    """What is kept of each object of a target. `keep`: nothing else stays, beside kind, name, uid and version.

    The data of Secrets goes unless `keep` names it, and with it the annotation in which kubectl repeats it.
    """

    def __init__(
        self, target: Target, drop: Sequence[str] = (), keep: Sequence[str] = (), *, managed_fields: bool = False
    ) -> None:
        self._keep = tuple(map(parse_path, keep))
        self._drop = [parse_path(path) for path in drop]
        if not managed_fields:
            self._drop.append(("metadata", "managedFields"))
        if target.is_secrets:
            unnamed = [path for path in _SECRET if not any(kept[: len(path)] == path for kept in self._keep)]
            self._drop += unnamed
            if _LAST_APPLIED not in self._keep:
                self._drop.append(_LAST_APPLIED)
        self._api = target.api

    def record(self, served: Mapping[str, Any], kind: str | None = None) -> Record:
        """The record of an object as served; `kind` for the items of a list, which do not say theirs.

        Raises `ValueError` for what is no object of Kubernetes.
        """
        meta = meta_of(served)
        whole = dict(served)
        if kind:
            whole.setdefault("kind", kind)
        whole.setdefault("apiVersion", self._api)
        kept: Any = _only(whole, (*_IDENTITY, *self._keep)) if self._keep else whole
        for path in self._drop:
            kept = _without(kept, path)
        return Record(meta.key, _bytes(kept), object_version(meta.uid, meta.resource_version), meta)


def _bytes(value: Any) -> bytes:
    """Canonical JSON; half a surrogate pair, which UTF-8 cannot hold, stays escaped."""
    try:
        return canonical_json(value)
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def meta_of(served: Mapping[str, Any]) -> ObjectMeta:
    """The identity of an object. Raises `ValueError` that names it when it has none."""
    metadata = served.get("metadata") if isinstance(served, Mapping) else None
    if not isinstance(metadata, Mapping):
        raise ValueError("an object without metadata")
    known = [metadata.get(name) for name in ("uid", "name", "resourceVersion")]
    if not all(isinstance(one, str) and one for one in known):
        name = object_key(metadata.get("namespace"), str(metadata.get("name") or "without a name"))
        missing = [one for one in ("uid", "name", "resourceVersion") if not metadata.get(one)]
        raise ValueError(f"the object {name} has no usable metadata.{missing[0] if missing else 'uid'}")
    labels = metadata.get("labels") or {}
    uid, name, version = map(str, known)
    return ObjectMeta(
        uid,
        metadata.get("namespace") or None,
        name,
        {str(name): str(value) for name, value in labels.items()},
        version,
    )


def namespace_of(key: str) -> str:
    """The namespace in a key; `"*"` for what is cluster-scoped."""
    namespace, slash, _ = key.partition("/")
    return namespace if slash else EVERYWHERE


def _without(value: Any, path: Path) -> Any:
    """A copy of what changes; the rest is shared, and nothing that was given is changed."""
    name, rest = path[0], path[1:]
    if isinstance(value, list):
        numbers = range(len(value)) if name == ANY else [int(name)] if name.isdecimal() else []
        chosen = {number for number in numbers if number < len(value)}
        if not rest:
            return [one for number, one in enumerate(value) if number not in chosen]
        return [_without(one, rest) if number in chosen else one for number, one in enumerate(value)]
    if not isinstance(value, dict) or (name != ANY and name not in value):
        return value
    names = set(value) if name == ANY else {name}
    if not rest:
        return {key: one for key, one in value.items() if key not in names}
    return {key: _without(one, rest) if key in names else one for key, one in value.items()}


def _only(value: Any, paths: Sequence[Path]) -> Any:
    if any(not path for path in paths):
        return value
    if isinstance(value, list):
        below = {number: _below(paths, str(number)) for number in range(len(value))}
        return [_only(one, below[number]) for number, one in enumerate(value) if below[number]]
    if not isinstance(value, dict):
        return value
    chosen = {key: _below(paths, key) for key in value}
    return {key: _only(one, chosen[key]) for key, one in value.items() if chosen[key]}


def _below(paths: Sequence[Path], name: str) -> list[Path]:
    return [path[1:] for path in paths if path and path[0] in (name, ANY)]
