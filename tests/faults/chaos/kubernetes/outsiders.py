"""What others do to a cluster, or stand in its place: a proxy, an administrator, whoever restores a backup."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.chaos.faults import LONG_SECONDS, Faults
from tests.faults.chaos.kubernetes.api import Page
from tests.faults.chaos.kubernetes.stage import KubernetesStage
from tests.faults.chaos.schedule import EVERYTHING, Step, Target, kind

_READING = ("get", "list", "watch")


@contextmanager
def _page(stage: KubernetesStage, step: Step, code: int, verbs: tuple[str, ...]) -> Iterator[None]:
    """Watches are broken off, so that something is asked for."""
    stage.api.page = Page(code, verbs)
    stage.api.cut_watches()
    yield
    stage.api.page = None


@contextmanager
def _page_for_single_objects(stage: KubernetesStage, step: Step) -> Iterator[None]:
    """The watch goes on: only what is read again is met."""
    stage.api.page = Page(404, ("get",))
    yield
    stage.api.page = None


@contextmanager
def _put_back(stage: KubernetesStage, step: Step) -> Iterator[None]:
    """Objects are gone, others are there again, and the versions are older; then they are counted on.

    The writer waits until the service has had the chance to see a version that is older than its own. Once they
    have been counted on beyond that, a cluster cannot be told from the one that was.
    """
    with stage.writer.held():
        copied = stage.api.do(stage.api.copied)
        remembered, bulk = stage.scene.journal.remembered(), stage.bulk
    yield
    with stage.writer.held():
        # A claim that was asked for before is about the cluster that was.
        stage.put_back(copied, remembered, bulk)
        stage.until(lambda: stage.asked_again(), LONG_SECONDS)


@contextmanager
def _token_replaced(stage: KubernetesStage, step: Step) -> Iterator[None]:
    """The old one is good for nothing any more; the new one is in the kubeconfig a while later."""
    token = f"token-{step.count}"
    stage.api.do(lambda: setattr(stage.api, "token", token))
    stage.api.cut_watches()
    yield
    stage.scene.write_kubeconfig(token)


KUBERNETES_OUTSIDERS: Faults[KubernetesStage] = {
    kind("a proxy answers 404 with a page", Target.SOURCE): lambda stage, step: _page(stage, step, 404, _READING),
    kind("a proxy answers 502 with a page", Target.SOURCE): lambda stage, step: _page(stage, step, 502, _READING),
    kind("a proxy answers single objects with a 404 page", Target.SOURCE): _page_for_single_objects,
    kind("cluster put back from a copy", *EVERYTHING): _put_back,
    kind("token replaced", Target.SOURCE): _token_replaced,
}
