"""Where the API server is and how to identify oneself: a kubeconfig, or the service account of the pod.

Nothing is remembered between two loads: exec plugins are run and files read again each time. Whether another load
is worth it says the content of what the last one read, so that a file that was replaced in place counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException, incluster_config, load_kube_config_from_dict

from hybridsync.errors import SourceDisconnected
from hybridsync.kubernetes import exec_plugin, kubeconfig

POD = "the service account of the pod"


class Access(NamedTuple):
    """One load. `server`: its address without what is secret; `origin`: who says so.

    `authority`: the fingerprint of the CA. `identity`: equal as long as open connections may be used.
    `files`: what was read, with the digests of then. `plugin`: whether an exec plugin gave the credentials.
    """

    configuration: Configuration
    server: str
    origin: str
    authority: str
    identity: str
    files: Mapping[Path, str]
    plugin: bool

    @property
    def changed(self) -> bool:
        """Whether any of the files has another content by now."""
        return _digests(self.files) != self.files


async def load(given: str | None, context: str | None) -> Access:
    """Address and credentials as they are now. Raises `SourceDisconnected` when they cannot be had."""
    place = kubeconfig.where(given)
    name = place.name if place is not None else POD
    files = _digests(_of_the_pod() if place is None else place.files)
    configuration: Configuration = Configuration()
    configuration.host = ""
    with _one_line(name):
        if place is None:
            origin, plugin = f"{kubeconfig.IN_CLUSTER} in the pod", False
            in_cluster(client_configuration=configuration)
        else:
            whole = kubeconfig.merged(place)
            files |= _digests(kubeconfig.referenced(whole))
            found = kubeconfig.chosen(place, whole, context)
            origin, plugin = f"{name}, context {found.name}", "exec" in found.user
            await _apply(found, configuration)
    parts = urlsplit(str(configuration.host))
    server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    authority = _digest(configuration.ssl_ca_cert)
    return Access(configuration, server, origin, authority, _identity(configuration), files, plugin)


in_cluster: Callable[..., None] = incluster_config.load_incluster_config
"""It has no types of its own."""


def _of_the_pod() -> list[Path]:
    return [Path(incluster_config.SERVICE_TOKEN_FILENAME), Path(incluster_config.SERVICE_CERT_FILENAME)]


def _digests(files: Iterable[Path]) -> dict[Path, str]:
    return {file: _digest(str(file)) for file in files}


async def _apply(found: kubeconfig.Chosen, configuration: Configuration) -> None:
    user = found.user
    if isinstance(user.get("exec"), dict):
        given = await exec_plugin.credential(user["exec"], found.cluster)
        user = {name: value for name, value in user.items() if name != "exec"} | given
    whole = {
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": found.cluster}],
        "users": [{"name": "it", "user": user}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    await load_kube_config_from_dict(whole, client_configuration=configuration)


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Any failure as one line, without what may hold secrets."""
    try:
        yield
    except SourceDisconnected as error:
        told = str(error)
        raise SourceDisconnected(told if told.startswith("kubeconfig") else f"{name}: {told}") from None
    except ConfigException as error:
        told = " ".join(str(error).split())  # of files and keys that are missing
        raise SourceDisconnected(f"{name}: {told}") from None
    except Exception as error:
        raise SourceDisconnected(f"{name}: could not be loaded ({type(error).__name__})") from None


def _identity(configuration: Configuration) -> str:
    names = ("host", "verify_ssl", "disable_strict_ssl_verification", "tls_server_name", "proxy")
    settings = [getattr(configuration, name, None) for name in names]
    files = [_digest(getattr(configuration, name)) for name in ("ssl_ca_cert", "cert_file", "key_file")]
    return repr((settings, files))


def _digest(file: str | None) -> str:
    """Of the content of a file; a word where there is none."""
    if not file:
        return "none"
    try:
        return sha256(Path(file).read_bytes()).hexdigest()
    except OSError as error:
        return type(error).__name__
