"""`hybridsync rbac`: the roles that the configured Kubernetes sources need."""

from __future__ import annotations

import typer

from hybridsync.cli.session import settings_for_resources
from hybridsync.errors import ConfigurationError
from hybridsync.kube_options import KubernetesSource
from hybridsync.kube_target import Target


def rbac() -> None:
    """Print the ClusterRole (and a Role for each namespace that is named) that the Kubernetes sources need."""
    settings = settings_for_resources()
    clusters: dict[str, list[Target]] = {}
    for config in settings.resources.values():
        source = config.source
        if isinstance(source, KubernetesSource):
            names = (("kubeconfig", source.kubeconfig), ("context", source.context))
            cluster = ", ".join(f"{what} {name}" for what, name in names if name is not None)
            clusters.setdefault(cluster, []).append(source.target)
    if not clusters:
        raise ConfigurationError("no resource has a source of type kubernetes: there is nothing to allow")
    from hybridsync.kube_rbac import roles  # imported here: YAML is no concern of the other commands

    for number, (cluster, targets) in enumerate(clusters.items()):
        if number:
            typer.echo("---")
        if len(clusters) > 1:
            typer.echo(f"# for {cluster or 'the cluster that hybridsync runs in'}")
        typer.echo(roles(targets), nl=False)
