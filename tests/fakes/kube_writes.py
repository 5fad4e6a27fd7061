"""What writers ask of the fake API server: create, merge patch and delete, as far as tests write over HTTP.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ and RFC 7396, JSON merge patch.
"""

from __future__ import annotations

from typing import Any

from tests.fakes.kube_answers import status
from tests.fakes.kube_store import Name, Object, Store, Table

_METADATA = ("labels", "annotations")


def create(store: Store, table: Table, namespace: str, body: Object) -> tuple[int, Object]:
    """Code and body of the answer; 409 for what is there already."""
    name = (namespace, str(body["metadata"]["name"]))
    if store.latest(table, name) is not None:
        return 409, status(409, "AlreadyExists", f'{table.type.plural} "{name[1]}" already exists')
    return 201, _stored(store, table, name, body)


def patch(store: Store, table: Table, name: Name, body: Object) -> tuple[int, Object]:
    """The object with the merge patch applied; without a new version when that changes nothing."""
    known = store.latest(table, name)
    if known is None:
        return missing(table, name)
    changed = _merged(known, body)
    return 200, known if changed == known else _stored(store, table, name, changed)


def delete(store: Store, table: Table, name: Name) -> tuple[int, Object]:
    """A Status that says it is gone."""
    if store.latest(table, name) is None:
        return missing(table, name)
    store.delete(table.type.plural, *name)
    return 200, status(200, "", "") | {"status": "Success"}


def missing(table: Table, name: Name) -> tuple[int, Object]:
    """404 for an object that is not there."""
    details = {"name": name[1], "kind": table.type.plural}
    if "/" in table.type.api:
        details["group"] = table.type.api.partition("/")[0]
    return 404, status(404, "NotFound", f'{table.type.plural} "{name[1]}" not found', details)


def _stored(store: Store, table: Table, name: Name, body: Object) -> Object:
    fields = {key: value for key, value in body.items() if key not in ("apiVersion", "kind", "metadata")}
    metadata = {key: body["metadata"].get(key) or {} for key in _METADATA}
    return store.put(table.type.plural, name[0], name[1], **metadata, **fields)


def _merged(known: Any, patched: Any) -> Any:
    if not isinstance(patched, dict):
        return patched
    result = dict(known) if isinstance(known, dict) else {}
    for key, value in patched.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result
