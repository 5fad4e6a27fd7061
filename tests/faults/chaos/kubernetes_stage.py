"""The stage of Kubernetes → MongoDB: the objects of one type, and a fake API server that can be made to misbehave."""

from __future__ import annotations

from pathlib import Path

from hybridsync.embedded import MongoServer
from tests.fakes.kube_api import CONFIG_MAPS, DEPLOYMENTS, KubeApi
from tests.faults.chaos.kubernetes_scene import KubernetesScene
from tests.faults.chaos.kubernetes_writer import KubernetesWriter
from tests.faults.chaos.stage import BULK_RECORDS, SETTINGS, STATIC_RECORDS, Stage
from tests.kube_truth import differences

TYPES = (DEPLOYMENTS, CONFIG_MAPS)
"""The one that is mirrored, and another one."""

_BOOKMARK_SECONDS = 0.1
"""So that there are many promises to check."""

_PLURAL = DEPLOYMENTS.plural
_OTHER = CONFIG_MAPS.plural


class KubernetesStage(Stage):
    """See `Stage`. `api` runs and has `TYPES`; `directory`: for its kubeconfig."""

    pair = "kubernetes"
    scene: KubernetesScene

    def __init__(self, api: KubeApi, mongodb: MongoServer, directory: Path) -> None:
        super().__init__(KubernetesScene(api, mongodb.port, "chaos", directory, **SETTINGS), mongodb)
        self.api = api
        api.bookmark_seconds = _BOOKMARK_SECONDS

    def _populated(self) -> KubernetesWriter:
        def put() -> None:
            for number in range(STATIC_RECORDS):
                self.api.store.put(_PLURAL, f"group-{number // 100}", f"member-{number}", spec={"n": number})

        self.api.do(put)
        return KubernetesWriter(self.scene.journal, self.api, _OTHER, 0)

    def _grow_bulk(self) -> None:
        def put() -> None:
            for number in range(BULK_RECORDS):
                self.api.store.put(_PLURAL, "bulk", str(number), spec={"bulk": True})

        self.api.do(put)

    def _fell_bulk(self) -> None:
        def delete() -> None:
            for number in range(BULK_RECORDS):
                self.api.store.delete(_PLURAL, "bulk", str(number))

        self.api.do(delete)

    def _calm_source(self) -> None:
        self.api.do(self._all_switches_off)

    def _all_switches_off(self) -> None:
        self.api.deaf = False
        self.api.instant = 0
        self.api.offers_rest = True
        self.api.on_page = lambda number: None
        self.api.refused.clear()

    def lose_history(self) -> None:
        """See `Stage`. The version that a disconnected service would resume from is gone."""
        self.api.do(self.compact)

    def compact(self) -> None:
        """The same, for what runs in the server's thread. Versions that were given out before are too old now."""
        self.api.store.put(_OTHER, "one", "compacted")
        self.api.store.compact()

    def differences(self) -> list[str]:
        """See `Stage`."""
        return differences(self.api.do(lambda: list(self.api.store.objects(_PLURAL))), self.scene.collection)
