"""The options of a Kubernetes source, read and checked. No server is asked for anything."""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from hybridsync.kube_target import EVERYWHERE, Target
from hybridsync.sources.kube_shape import PATHS_ALLOWED, parse_path

API_ALLOWED = "v1, or group/version such as apps/v1 or example.com/v1alpha1"
PLURAL_ALLOWED = "the plural name of a resource as in its URL, such as deployments"
NAMESPACES_ALLOWED = 'a list of namespaces such as ["prod", "staging"]; ["*"] is all of them, and what has none'
LABELS_ALLOWED = "a label selector such as app=web,tier!=test"
FIELDS_ALLOWED = "a field selector such as status.phase=Running"
KUBECONFIG_ALLOWED = "a kubeconfig file; without it the pod's own service account, else KUBECONFIG"
CONTEXT_ALLOWED = "the name of a context of the kubeconfig; without it its current one"
MANAGED_ALLOWED = "true or false"

_DOMAIN = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_API = re.compile(rf"(v1|{_DOMAIN}/v[a-z0-9]{{1,62}})")
_PLURAL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _check_api(api: str) -> str:
    if not _API.fullmatch(api):
        raise ValueError("it is no API and version")
    return api


def _check_plural(plural: str) -> str:
    if not _PLURAL.fullmatch(plural):
        raise ValueError("it is no resource name; subresources cannot be watched")
    return plural


def _texts(value: object) -> object:
    """A variable carries a JSON list, or one text as it is."""
    if isinstance(value, str):
        if not value.strip():
            return ()
        if not value.lstrip().startswith("["):
            return (value.strip(),)
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("it is not a JSON list") from None
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise ValueError("it is not a list of texts")
    return tuple(value)


def _check_namespaces(namespaces: tuple[str, ...]) -> tuple[str, ...]:
    if not namespaces:
        raise ValueError("it is empty")
    if EVERYWHERE in namespaces and len(namespaces) > 1:
        raise ValueError("* is all of them, so no other fits beside it")
    if len(set(namespaces)) < len(namespaces):
        raise ValueError("a namespace is there twice")
    if any(one != EVERYWHERE and not _PLURAL.fullmatch(one) for one in namespaces):
        raise ValueError("one is no name of a namespace")
    return namespaces


def _check_selector(selector: str) -> str:
    if not selector.isprintable():
        raise ValueError("it has characters that cannot be printed")
    return selector.strip()


def _check_paths(paths: tuple[str, ...]) -> tuple[str, ...]:
    for path in paths:
        parse_path(path)
    return paths


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


_Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]


class KubernetesSource(BaseModel):
    """The objects of one resource type of a cluster. `drop` and `keep`: what is stored of each.

    `kubeconfig` and `context` let one service read several clusters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    type: Literal["kubernetes"] = "kubernetes"
    api: Annotated[str, AfterValidator(_check_api)] = Field(json_schema_extra={"allowed": API_ALLOWED})
    plural: Annotated[str, AfterValidator(_check_plural)] = Field(json_schema_extra={"allowed": PLURAL_ALLOWED})
    namespaces: Annotated[_Texts, AfterValidator(_check_namespaces)] = Field(
        default=(EVERYWHERE,), json_schema_extra={"allowed": NAMESPACES_ALLOWED}
    )
    label_selector: Annotated[str, AfterValidator(_check_selector)] = Field(
        default="", json_schema_extra={"allowed": LABELS_ALLOWED}
    )
    field_selector: Annotated[str, AfterValidator(_check_selector)] = Field(
        default="", json_schema_extra={"allowed": FIELDS_ALLOWED}
    )
    kubeconfig: Annotated[str | None, BeforeValidator(_none_if_empty)] = Field(
        default=None, json_schema_extra={"allowed": KUBECONFIG_ALLOWED}
    )
    context: Annotated[str | None, BeforeValidator(_none_if_empty)] = Field(
        default=None, json_schema_extra={"allowed": CONTEXT_ALLOWED}
    )
    drop: Annotated[_Texts, AfterValidator(_check_paths)] = Field(
        default=(), json_schema_extra={"allowed": PATHS_ALLOWED}
    )
    keep: Annotated[_Texts, AfterValidator(_check_paths)] = Field(
        default=(), json_schema_extra={"allowed": PATHS_ALLOWED}
    )
    managed_fields: bool = Field(default=False, json_schema_extra={"allowed": MANAGED_ALLOWED})

    @property
    def target(self) -> Target:
        """Which objects are meant."""
        return Target(self.api, self.plural, self.namespaces, self.label_selector, self.field_selector)
