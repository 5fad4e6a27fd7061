"""`KubernetesScene`: a fake API server, a mirror, and a real service process between them, with two proxies."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.fakes.kube_api import DEPLOYMENTS
from tests.fakes.kube_config import kubeconfig
from tests.faults.chaos.kubernetes.api import ChangeableKubeApi
from tests.faults.chaos.kubernetes.journal import KubernetesJournal
from tests.faults.service_scene import ServiceScene
from tests.service import Service

COMMAND = (sys.executable, "-m", "tests.faults.chaos.kubernetes.service", "run")


class KubernetesScene(ServiceScene):
    """Use as `with`. The kubeconfig in `directory` names the proxy; the test writes inside the server.

    `namespaces`: those that are mirrored, for the next service.
    """

    def __init__(self, api: ChangeableKubeApi, mongodb_port: int, database: str, directory: Path, **more: str) -> None:
        self.api = api
        self._directory = directory
        self._kubeconfig = ""
        self.namespaces = ["*"]
        self._journal = KubernetesJournal(api, DEPLOYMENTS.plural)
        port = urlsplit(api.url).port
        assert port is not None, "start the server first"
        super().__init__(port, mongodb_port, database, DEPLOYMENTS.plural, {"CONFIRM_INTERVAL_SECONDS": "0.1", **more})

    def __enter__(self) -> Self:
        super().__enter__()
        self.write_kubeconfig("")
        return self

    def write_kubeconfig(self, token: str) -> None:
        """Puts another kubeconfig in the place of the one there is, as a whole."""
        beside = self._directory / "new"
        beside.mkdir(exist_ok=True)
        new = Path(kubeconfig(beside, f"http://{self.other_proxy.address}", token))
        self._kubeconfig = str(new.replace(self._directory / new.name))

    @property
    def journal(self) -> KubernetesJournal:
        """What the test wrote."""
        return self._journal

    def _service(self, mongodb_uri: str, more: Mapping[str, str]) -> Service:
        source = {"type": "kubernetes", "api": DEPLOYMENTS.api, "plural": DEPLOYMENTS.plural}
        where = {"kubeconfig": self._kubeconfig, "namespaces": self.namespaces}
        resources = {self.resource: {"source": source | where}}
        settings = {"MONGODB_URI": mongodb_uri, "RESOURCES": json.dumps(resources), **more}
        return Service(settings, command=COMMAND, environ=self.environ)
