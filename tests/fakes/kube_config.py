"""The file with which clients find the fake API server."""

from __future__ import annotations

from pathlib import Path

import yaml


def kubeconfig(directory: Path, url: str, token: str = "", **cluster: str) -> str:
    """A kubeconfig file for the server at `url`; an underscore in a name of `cluster` stands for a dash."""
    more = {name.replace("_", "-"): value for name, value in cluster.items()}
    user = {"token": token} if token else {}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": url, **more}}],
        "users": [{"name": "me", "user": user}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
    }
    file = directory / "kubeconfig.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(file)
