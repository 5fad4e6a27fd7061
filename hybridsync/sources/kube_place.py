"""Which cluster it is: what a position belongs to.

The address and the CA say which server is meant; the uid of the namespace kube-system, made with the cluster, says
whether the same one still answers there. The right to read it is optional: `get` on that one namespace.
"""

from __future__ import annotations

from collections.abc import Mapping

from hybridsync.errors import SourceDisconnected
from hybridsync.kubernetes.client import KubeClient
from hybridsync.kubernetes.failures import ApiFailure
from hybridsync.sources.kube_pages import QUESTION_SECONDS

PATH = "/api/v1/namespaces/kube-system"


async def cluster_uid(client: KubeClient) -> str:
    """The uid, empty where it may not be read or is not there.

    Raises `SourceDisconnected` and `ListingFailed` for no answer: another place would then be made of it.
    """
    try:
        body = await client.get(PATH, {}, QUESTION_SECONDS)
    except ApiFailure as failure:
        if failure.code == 401:
            told = "401 Unauthorized: the credentials are missing, wrong or expired"
            raise SourceDisconnected(f"{client.where}: {told}") from None
        if failure.code >= 500 or failure.busy:
            raise SourceDisconnected(f"{client.where}: cannot tell which cluster it is: {failure}") from None
        return ""
    metadata = body.get("metadata") if isinstance(body, Mapping) else None
    return str(metadata.get("uid") or "") if isinstance(metadata, Mapping) else ""
