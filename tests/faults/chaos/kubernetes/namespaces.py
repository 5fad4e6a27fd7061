"""Kubernetes → MongoDB with a list of namespaces, a watch for each: rights in them come and go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.fakes.kube_api import CONFIG_MAPS
from tests.faults.chaos.faults import Faults
from tests.faults.chaos.kubernetes.faults import KUBERNETES_FAULTS, VERBS
from tests.faults.chaos.kubernetes.stage import KubernetesStage
from tests.faults.chaos.kubernetes.writer import KubernetesWriter
from tests.faults.chaos.schedule import Step, Target, kind
from tests.faults.chaos.stage import STATIC_RECORDS

_TEAMS = 4
_GROUPS = [f"group-{number}" for number in range(STATIC_RECORDS // 100)]


class NamespacesStage(KubernetesStage):
    """See `Stage`. Every namespace there is is named."""

    pair = "namespaces"

    def _writer(self) -> KubernetesWriter:
        writer = KubernetesWriter(self.scene.journal, self.api, CONFIG_MAPS.plural, 0, _TEAMS)
        self.scene.namespaces = [*writer.namespaces, *_GROUPS, "bulk"]
        return writer


@contextmanager
def _forbidden(stage: NamespacesStage, step: Step, count: int) -> Iterator[None]:
    """In some namespaces, some of which the writer writes in. Watches would go on until they end, so they are ended."""
    namespaces = stage.scene.namespaces
    chosen = [namespaces[(step.count + 5 * number) % len(namespaces)] for number in range(count)]
    refused = {(verb, namespace) for verb in VERBS[step.direction] for namespace in chosen}
    stage.api.do(lambda: stage.api.forbidden.update(refused))
    stage.api.end_watches()
    yield
    stage.api.do(stage.api.forbidden.clear)


NAMESPACE_OUTSIDERS: Faults[NamespacesStage] = {
    kind("rights in one namespace withdrawn", Target.SOURCE): lambda stage, step: _forbidden(stage, step, 1),
    kind("rights in four namespaces withdrawn", Target.SOURCE): lambda stage, step: _forbidden(stage, step, 4),
}

NAMESPACES_FAULTS: Faults[NamespacesStage] = {**NAMESPACE_OUTSIDERS, **KUBERNETES_FAULTS}
