"""The RBAC roles that configured resources need, as YAML. Pure.

Source: Kubernetes, "Using RBAC Authorization". Exactly get, list and watch on exactly the resources.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from hybridsync.kube_target import EVERYWHERE, VERBS, Target

NAME = "hybridsync"


def roles(targets: Iterable[Target]) -> str:
    """A ClusterRole for what is read everywhere, a Role in each namespace that is named; YAML documents."""
    needed: dict[str, set[tuple[str, str]]] = {}
    for target in targets:
        for namespace in target.namespaces:
            needed.setdefault(namespace, set()).add((target.group, target.plural))
    everywhere = needed.get(EVERYWHERE, set())
    documents = []
    for namespace in sorted(needed, key=lambda one: (one != EVERYWHERE, one)):
        rules = needed[namespace] if namespace == EVERYWHERE else needed[namespace] - everywhere
        if rules:
            documents.append(_role(namespace, rules))
    return yaml.safe_dump_all(documents, sort_keys=False, explicit_start=len(documents) > 1)


def _role(namespace: str, resources: Iterable[tuple[str, str]]) -> Mapping[str, Any]:
    groups: dict[str, list[str]] = {}
    for group, plural in sorted(resources):
        groups.setdefault(group, []).append(plural)
    rules = [{"apiGroups": [group], "resources": names, "verbs": list(VERBS)} for group, names in groups.items()]
    metadata = {"name": NAME} if namespace == EVERYWHERE else {"name": NAME, "namespace": namespace}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole" if namespace == EVERYWHERE else "Role",
        "metadata": metadata,
        "rules": rules,
    }
