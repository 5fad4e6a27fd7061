"""A refusal of the API server as an error of the source: which verb, which resource, which right is missing."""

from __future__ import annotations

from hybridsync.errors import ListingFailed, PositionExpired, SourceDisconnected, SourceError
from hybridsync.kube_target import EVERYWHERE, Target
from hybridsync.kubernetes.failures import ApiFailure


class RightMissing(SourceError):
    """403: a right is missing, and the rest of the source may be well."""


class WatchForbidden(SourceDisconnected, RightMissing):
    """The right to watch is missing."""


class ReadForbidden(ListingFailed, RightMissing):
    """The right to list or to get is missing."""


def explain(failure: ApiFailure, where: str, verb: str, target: Target, namespace: str = EVERYWHERE) -> str:
    """One line for people."""
    there = "" if namespace == EVERYWHERE else f" in namespace {namespace}"
    start = f"{where}: cannot {verb} {target}{there}"
    if failure.code == 401:
        return f"{start}: 401 Unauthorized: the credentials are missing, wrong or expired"
    if failure.code == 403:
        rule = target.rule(verb, namespace)
        return f"{start}: 403 Forbidden: the RBAC rule is missing: {rule}; `hybridsync rbac` prints it"
    if failure.code == 404 and verb != "get":
        proxy = "" if failure.is_status else "; or a proxy answered in its place"
        missing = "the server has no such resource (a CustomResourceDefinition to be installed?)"
        return f"{start}: 404 Not Found: {missing}{proxy}"
    if failure.code == 405 and verb == "watch":
        return f"{start}: 405 Method Not Allowed: {unwatchable(target)}"
    return f"{start}: {failure}"


def unwatchable(target: Target) -> str:
    """Said of a resource type that can be listed and nothing more, such as those of metrics.k8s.io."""
    return f"the server lets {target} be listed but not watched, so it cannot be mirrored: remove the resource"


def watch_error(failure: ApiFailure, where: str, target: Target, namespace: str = EVERYWHERE) -> SourceError:
    """What a watch ends with."""
    told = explain(failure, where, "watch", target, namespace)
    if failure.expired or failure.too_new:
        return PositionExpired(told)
    return WatchForbidden(told) if failure.code == 403 else SourceDisconnected(told)


def read_error(
    failure: ApiFailure, where: str, verb: str, target: Target, namespace: str = EVERYWHERE
) -> ListingFailed:
    """What a listing or the reading of one object ends with; the watch may go on."""
    told = explain(failure, where, verb, target, namespace)
    return ReadForbidden(told) if failure.code == 403 else ListingFailed(told)
