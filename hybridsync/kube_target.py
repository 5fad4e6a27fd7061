"""Which objects are meant: the paths of the API and the rule that is needed for them. Pure.

Source of the paths: Kubernetes API concepts, "Resource URIs".
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

EVERYWHERE = "*"
VERBS = ("get", "list", "watch")


class Target(NamedTuple):
    """One resource type of an API. `namespaces`: `("*",)` for all of them and for what is cluster-scoped."""

    api: str
    plural: str
    namespaces: tuple[str, ...] = (EVERYWHERE,)
    label_selector: str = ""
    field_selector: str = ""

    @property
    def group(self) -> str:
        """The API group as RBAC names it: empty for the core group."""
        return self.api.rpartition("/")[0]

    @property
    def is_secrets(self) -> bool:
        """Whether these are Secrets."""
        return self.api == "v1" and self.plural == "secrets"

    def path(self, namespace: str | None) -> str:
        """The collection's path: of one namespace, or of the cluster for `None` and `"*"`."""
        root = f"/apis/{self.api}" if self.group else f"/api/{self.api}"
        if namespace is None or namespace == EVERYWHERE:
            return f"{root}/{self.plural}"
        return f"{root}/namespaces/{quote(namespace, safe='')}/{self.plural}"

    def selectors(self, **more: str | int) -> dict[str, str | int]:
        """The parameters of a request: the selectors that are set, and `more`."""
        chosen: dict[str, str | int] = {}
        if self.label_selector:
            chosen["labelSelector"] = self.label_selector
        if self.field_selector:
            chosen["fieldSelector"] = self.field_selector
        return chosen | more

    def rule(self, verb: str, namespace: str = EVERYWHERE) -> str:
        """The RBAC rule that allows `verb` there, for people."""
        where = "" if namespace == EVERYWHERE else f" in namespace {namespace}"
        return f'apiGroups: ["{self.group}"], resources: ["{self.plural}"], verbs: ["{verb}"]{where}'

    def __str__(self) -> str:
        return f"{self.plural} ({self.api})"
