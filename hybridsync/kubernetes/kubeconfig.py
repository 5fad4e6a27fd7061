"""Kubeconfig files: found, merged and cut down to one context, as kubectl does. No server, no plugin.

Source: Kubernetes, "Organizing Cluster Access Using kubeconfig Files", "Merging kubeconfig files": the first file
that sets an entry wins; a relative path is relative to the file that it stands in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hybridsync.errors import SourceDisconnected

IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
VARIABLE = "KUBECONFIG"
DEFAULT_FILE = "~/.kube/config"
_ENTRIES = (("clusters", "cluster"), ("users", "user"), ("contexts", "context"))
_PATHS = {"cluster": ("certificate-authority",), "user": ("client-certificate", "client-key", "tokenFile")}


class Where(NamedTuple):
    """Which files hold it, in order, and what to call that for people."""

    files: tuple[Path, ...]
    name: str


class Chosen(NamedTuple):
    """One context of a kubeconfig: what it says of the cluster and of the user."""

    name: str
    cluster: dict[str, Any]
    user: dict[str, Any]


def where(given: str | None) -> Where | None:
    """The files in use; `None` stands for the service account of the pod.

    Without a `given` one: the pod's own identity inside a cluster, else the files in `KUBECONFIG`, else
    `~/.kube/config`.
    """
    if given is not None:
        return Where((Path(given).expanduser(),), f"kubeconfig {given}")
    if os.environ.get(IN_CLUSTER):
        return None
    named = os.environ.get(VARIABLE, "")
    files = tuple(dict.fromkeys(Path(one).expanduser() for one in named.split(os.pathsep) if one))
    if files:
        return Where(files, f"kubeconfig {named} (from {VARIABLE})")
    return Where((Path(DEFAULT_FILE).expanduser(),), f"kubeconfig {DEFAULT_FILE}")


def merged(place: Where) -> dict[str, Any]:
    """All files as one, with absolute paths; files that are not there are left out.

    Raises `SourceDisconnected` when none is there, or one is no kubeconfig.
    """
    whole: dict[str, Any] = {"current-context": ""} | {entries: {} for entries, _ in _ENTRIES}
    existing = [file for file in place.files if file.is_file()]
    if not existing:
        raise SourceDisconnected(f"{place.name}: there is no such file")
    for file in existing:
        content = _read(file)
        whole["current-context"] = whole["current-context"] or str(content.get("current-context") or "")
        for entries, entry in _ENTRIES:
            for one in content.get(entries) or ():
                if not isinstance(one, dict) or not isinstance(one.get("name"), str):
                    raise SourceDisconnected(f"kubeconfig {file}: an entry of {entries} has no name")
                said = one.get(entry) or {}
                if not isinstance(said, dict):
                    raise SourceDisconnected(f"kubeconfig {file}: {entry} {one['name']!r} is no table")
                whole[entries].setdefault(one["name"], _absolute(said, entry, file.parent))
    return whole


def chosen(place: Where, whole: Mapping[str, Any], context: str | None) -> Chosen:
    """What the context, or the current one, stands for. Raises `SourceDisconnected`."""
    name = context or whole["current-context"]
    found = whole["contexts"].get(name)
    if found is None:
        what = f"it has no context {name!r}" if name else "it has no current-context, and no context is configured"
        known = ", ".join(sorted(whole["contexts"])) or "none"
        raise SourceDisconnected(f"{place.name}: {what}; it has: {known}")
    cluster = whole["clusters"].get(found.get("cluster"))
    if not cluster or not isinstance(cluster.get("server"), str):
        raise SourceDisconnected(f"{place.name}: the cluster of context {name!r} has no server")
    user = whole["users"].get(found.get("user"))
    if user is None and found.get("user"):
        raise SourceDisconnected(f"{place.name}: the user of context {name!r} is not there")
    return Chosen(name, cluster, user or {})


def referenced(whole: Mapping[str, Any]) -> Iterator[Path]:
    """The files that it names: certificates, keys, tokens."""
    for entries, entry in _ENTRIES:
        for said in whole[entries].values():
            yield from (Path(said[path]) for path in _PATHS.get(entry, ()) if isinstance(said.get(path), str))


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as error:
        raise SourceDisconnected(f"kubeconfig {file}: it cannot be read ({type(error).__name__})") from None
    except yaml.YAMLError:
        raise SourceDisconnected(f"kubeconfig {file}: it is no kubeconfig: no YAML") from None
    if content is None:
        return {}
    lists = isinstance(content, dict) and all(isinstance(content.get(one) or [], list) for one, _ in _ENTRIES)
    if not lists:
        raise SourceDisconnected(f"kubeconfig {file}: it is no kubeconfig")
    found: dict[str, Any] = content
    return found


def _absolute(said: dict[str, Any], entry: str, directory: Path) -> dict[str, Any]:
    """The entry with its paths made absolute; a command without a slash is looked for in PATH."""
    base = directory.absolute()
    paths = {path: said[path] for path in _PATHS.get(entry, ()) if isinstance(said.get(path), str) and said[path]}
    result = said | {path: str(base / value) for path, value in paths.items()}
    plugin = said.get("exec")
    if entry == "user" and isinstance(plugin, dict) and os.sep in str(plugin.get("command") or ""):
        result["exec"] = plugin | {"command": str(base / str(plugin["command"]))}
    return result
