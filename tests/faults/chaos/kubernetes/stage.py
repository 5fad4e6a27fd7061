"""The stage of Kubernetes → MongoDB: the objects of one type, and a fake API server that can be made to misbehave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.administered_mongo import AdministeredMongo
from tests.fakes.kube_api import CONFIG_MAPS, DEPLOYMENTS
from tests.faults.chaos.clock import Clock
from tests.faults.chaos.kubernetes.api import ChangeableKubeApi
from tests.faults.chaos.kubernetes.journal import Version
from tests.faults.chaos.kubernetes.scene import KubernetesScene
from tests.faults.chaos.kubernetes.writer import KubernetesWriter
from tests.faults.chaos.mirror_stage import MirrorStage
from tests.faults.chaos.stage import BULK_RECORDS, SETTINGS, STATIC_RECORDS
from tests.kube_truth import differences

TYPES = (DEPLOYMENTS, CONFIG_MAPS)
"""The one that is mirrored, and another one."""

_BOOKMARK_SECONDS = 0.1
"""So that there are many promises to check."""

_PLURAL = DEPLOYMENTS.plural
_OTHER = CONFIG_MAPS.plural


class KubernetesStage(MirrorStage):
    """See `Stage`. `api` runs and has `TYPES`; `directory`: for its kubeconfig."""

    pair = "kubernetes"
    scene: KubernetesScene
    # Contents are not compared by the service itself, versions are.
    edit = {"$set": {"version": "1", "value": "by hand"}}  # noqa: RUF012 - never changed
    refusing = {"labels.n": {"$not": {"$regex": "7$"}}}  # noqa: RUF012 - never changed

    def __init__(self, api: ChangeableKubeApi, mongodb: AdministeredMongo, clock: Clock, directory: Path) -> None:
        super().__init__(KubernetesScene(api, mongodb.port, "chaos", directory, **SETTINGS), mongodb, clock)
        self.api = api
        api.bookmark_seconds = _BOOKMARK_SECONDS

    def _populated(self) -> KubernetesWriter:
        def put() -> None:
            for number in range(STATIC_RECORDS):
                self.api.store.put(_PLURAL, f"group-{number // 100}", f"member-{number}", spec={"n": number})

        self.api.do(put)
        return self._writer()

    def _writer(self) -> KubernetesWriter:
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

    def _calm_servers(self) -> None:
        self.api.do(self._all_switches_off)

    def _all_switches_off(self) -> None:
        self.api.deaf = False
        self.api.instant = 0
        self.api.offers_rest = True
        self.api.on_page = lambda number: None
        self.api.refused.clear()
        self.api.forbidden.clear()
        self.api.page = None

    def lose_history(self) -> None:
        """See `Stage`. The version that a disconnected service would resume from is gone."""
        self.api.do(self.compact)

    def compact(self) -> None:
        """The same, for what runs in the server's thread. Versions that were given out before are too old now."""
        self.api.store.put(_OTHER, "one", "compacted")
        self.api.store.compact()

    def differences(self) -> list[str]:
        """See `Stage`."""
        served = self.api.do(lambda: list(self.api.store.objects(_PLURAL)))
        return differences(served, self.mirror) + self.index_differences()

    # -- for outsiders ----------------------------------------------------------------------------

    @property
    def lasting(self) -> list[str]:
        """See `MirrorStage`."""
        return [f"group-{number // 100}/member-{number}" for number in range(STATIC_RECORDS)]

    def foreign(self, model: str) -> dict[str, Any]:
        """See `MirrorStage`."""
        document = self.mirror.find_one({"_id": model}) or {"value": {}}
        return {**document, "_id": "group-0/by-hand", "name": "by-hand", "uid": "by-hand"}

    @property
    def bulk(self) -> bool:
        """Whether the many records are there."""
        return self._bulk

    def put_back(self, copied: dict[str, Any], remembered: Mapping[str, Version | None], bulk: bool) -> None:
        """The cluster is what it was when it was `copied`. No write is under way."""

        self.api.do(lambda: self.api.put_back(copied))
        self.scene.journal.put_back(remembered)
        self._bulk = bulk

    def asked_again(self) -> bool:
        """Whether the service watches again since the cluster was put back, and what it asked for was answered."""
        return self.api.watching > 0 and self.entry()["informer"]["state"] == "watching" and self.entry()["inSync"]
