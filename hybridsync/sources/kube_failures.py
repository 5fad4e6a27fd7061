"""A refusal of the API server as an error of the source: which verb, which resource, which right is missing."""

from __future__ import annotations

from hybridsync.errors import ListingFailed, PositionExpired, SourceDisconnected, SourceError
from hybridsync.kube_target import Target
from hybridsync.kubernetes.failures import ApiFailure


def explain(failure: ApiFailure, where: str, verb: str, target: Target) -> str:
    """One line for people."""
    start = f"{where}: cannot {verb} {target}"
    if failure.code == 401:
        return f"{start}: 401 Unauthorized: the credentials are missing, wrong or expired"
    if failure.code == 403:
        return f"{start}: 403 Forbidden: the RBAC rule is missing: {target.rule(verb)}; `hybridsync rbac` prints it"
    if failure.code == 404:
        return f"{start}: 404 Not Found: the server has no such resource (a CustomResourceDefinition to be installed?)"
    return f"{start}: {failure}"


def watch_error(failure: ApiFailure, where: str, target: Target) -> SourceError:
    """What a watch ends with."""
    if failure.expired or failure.too_new:
        return PositionExpired(explain(failure, where, "watch", target))
    return SourceDisconnected(explain(failure, where, "watch", target))


def read_error(failure: ApiFailure, where: str, verb: str, target: Target) -> SourceError:
    """What a listing or the reading of one object ends with; the watch may go on."""
    return ListingFailed(explain(failure, where, verb, target))
