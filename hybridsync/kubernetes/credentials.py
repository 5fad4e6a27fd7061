"""Where the API server is and how to identify oneself: a kubeconfig, or the service account of the pod.

Read by kubernetes_asyncio. Exec plugins are run, and token files read, again each time this is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config
from kubernetes_asyncio.config.kube_config import KubeConfigLoader

from hybridsync.errors import ConfigurationError, SourceDisconnected

IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
DEFAULT_FILE = "~/.kube/config"


def kubeconfig_file(given: str | None) -> Path | None:
    """The file in use; `None` stands for the service account of the pod.

    Without a `given` one: the pod's own identity inside a cluster, else `KUBECONFIG`, else `~/.kube/config`.
    Raises `ConfigurationError` when there is none.
    """
    if given is None and os.environ.get(IN_CLUSTER):
        return None
    named = given or os.environ.get("KUBECONFIG") or DEFAULT_FILE
    file = Path(named).expanduser()
    if not file.is_file():
        raise ConfigurationError(
            f"kubeconfig {named}: there is no such file; allowed: a kubeconfig file, or none inside a cluster"
        )
    return file


def check(given: str | None, context: str | None) -> None:
    """Raises `ConfigurationError` for a kubeconfig that is not one, or a `context` that it does not have."""
    file = kubeconfig_file(given)
    if file is None:
        return
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ConfigurationError(f"kubeconfig {file}: it is not a kubeconfig")
        KubeConfigLoader(content, active_context=context, config_base_path=str(file.parent))
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"kubeconfig {file}: it cannot be read ({type(error).__name__})") from None
    except (ConfigException, AssertionError, TypeError, AttributeError, KeyError, yaml.YAMLError):
        what = f"it has no usable context {context!r}" if context else "it has no usable current-context"
        raise ConfigurationError(f"kubeconfig {file}: {what}") from None


in_cluster: Callable[..., None] = load_incluster_config
"""It has no types of its own."""


async def load(given: str | None, context: str | None) -> Configuration:
    """Address and credentials as they are now. Raises `SourceDisconnected` when they cannot be had."""
    configuration: Configuration = Configuration()
    with _one_line(given):
        file = kubeconfig_file(given)
        if file is None:
            in_cluster(client_configuration=configuration)
        else:
            await load_kube_config(
                config_file=str(file), context=context, client_configuration=configuration, persist_config=False
            )
    return configuration


@contextmanager
def _one_line(given: str | None) -> Iterator[None]:
    """Any failure as one line, without what a plugin printed: that may hold secrets."""
    where = f"kubeconfig {given}" if given else "the credentials for Kubernetes"
    try:
        yield
    except (ConfigurationError, SourceDisconnected) as error:
        raise SourceDisconnected(str(error)) from None
    except Exception as error:
        raise SourceDisconnected(f"{where}: could not be loaded ({type(error).__name__})") from None
