"""How the fake API server answers a LIST: pages of a snapshot, whole objects or their metadata alone.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/, "Retrieving large results sets in chunks" and
"Metadata-only fetches".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping

from aiohttp import web

from tests.fakes.kube_answers import continue_token, failure
from tests.fakes.kube_store import Object, Store, Table, matches

METADATA_ONLY = "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def is_metadata_only(accept: str) -> bool:
    """Whether nothing but metadata is accepted."""
    return METADATA_ONLY in accept.replace(" ", "") and "," not in accept


def listed(
    store: Store,
    table: Table,
    namespace: str | None,
    query: Mapping[str, str],
    *,
    metadata_only: bool = False,
    offers_rest: bool = True,
    continues: str = "",
    on_page: Callable[[int], None] = lambda count: None,
) -> web.Response:
    """One page; `on_page` is told its size.

    `continues`: `"same"` ignores the token and gives the same one again, `"new"` always another.
    """
    limit = int(query.get("limit", "0")) or 10**9
    if int(query.get("resourceVersion") or 0) > store.revision:
        return too_large(store, query["resourceVersion"])
    revision, after = store.revision, ["", ""]
    if query.get("continue") and not continues:
        token = json.loads(base64.urlsafe_b64decode(query["continue"]))
        revision, after = token["revision"] or store.revision, token["after"]
        if revision < store.compacted:
            rest = {"continue": continue_token(0, after)} if offers_rest else {}
            return failure(410, "Expired", "The provided continue parameter is too old", metadata=rest)
    names = [
        name
        for name in table.names(revision)
        if list(name) > after
        and namespace in (None, name[0])
        and matches(table.at(name, revision), query.get("labelSelector", ""), query.get("fieldSelector", ""))
    ]
    page, rest_names = names[:limit], names[limit:]
    metadata: Object = {"resourceVersion": str(revision)}
    if rest_names:
        metadata |= {"continue": continue_token(revision, list(page[-1])), "remainingItemCount": len(rest_names)}
    if continues == "new" and rest_names:
        metadata["continue"] = f"{len(query.get('continue', '')) + 1:x}".rjust(len(query.get("continue", "")) + 1, "x")
    items = [_item(table.at(name, revision) or {}, metadata_only=metadata_only) for name in page]
    kind, api = f"{table.type.kind}List", table.type.api
    if metadata_only:
        kind, api = "PartialObjectMetadataList", "meta.k8s.io/v1"
    answer = web.json_response({"kind": kind, "apiVersion": api, "metadata": metadata, "items": items})
    answer.enable_compression()
    if limit > 1:
        on_page(len(items))
    return answer


def too_large(store: Store, version: str) -> web.Response:
    """A version of the future."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Too large resource version: {version}, current: {store.revision}"
    return failure(504, "Timeout", message, details={"causes": [cause], "retryAfterSeconds": 1})


def _item(one: Object, *, metadata_only: bool) -> Object:
    if metadata_only:
        return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": one["metadata"]}
    return {key: value for key, value in one.items() if key not in ("kind", "apiVersion")}
