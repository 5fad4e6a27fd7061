"""The faults of Kubernetes → MongoDB."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.fakes.kube_api import DEPLOYMENTS, Refusal
from tests.faults.chaos.faults import LONG_SECONDS, SERVICE_FAULTS, Faults, link_faults, mongodb_faults
from tests.faults.chaos.kubernetes.outsiders import KUBERNETES_OUTSIDERS
from tests.faults.chaos.kubernetes.stage import KubernetesStage
from tests.faults.chaos.mirror_outsiders import MIRROR_OUTSIDERS
from tests.faults.chaos.schedule import Direction, Kind, Step, Target, kind

Fault = Callable[[KubernetesStage, Step], AbstractContextManager[None]]

_INSTANT_CLOSES = 4
VERBS: dict[Direction, tuple[str, ...]] = {
    "both": ("list", "watch", "get"),
    "to_server": ("watch",),
    "to_client": ("list",),
}
"""What is refused, drawn with the direction."""


@contextmanager
def _noticed(stage: KubernetesStage) -> Iterator[None]:
    """What begins in the block lasts until the service, which was watching, has noticed that it hears nothing."""
    stage.until(lambda: stage.entry()["informer"]["state"] == "watching", LONG_SECONDS)
    yield
    stage.until(lambda: stage.entry()["informer"]["state"] in ("disconnected", "connecting"), LONG_SECONDS)


@contextmanager
def _half_open(stage: KubernetesStage, step: Step) -> Iterator[None]:
    """Stalled: nothing says that the connection is gone."""
    proxy = stage.source_link
    with _noticed(stage):
        proxy.stall("both" if step.direction == "both" else "to_client")
        yield
    proxy.resume()


# -- watches --------------------------------------------------------------------------------------


@contextmanager
def _before_and_after(act: Callable[[], None]) -> Iterator[None]:
    act()
    yield
    act()


@contextmanager
def _closed_at_once(stage: KubernetesStage, step: Step) -> Iterator[None]:
    stage.api.instant = 1 + step.count % _INSTANT_CLOSES
    stage.api.end_watches()
    yield
    stage.until(lambda: not stage.api.instant, LONG_SECONDS)
    stage.api.instant = 0


@contextmanager
def _deaf(stage: KubernetesStage, step: Step) -> Iterator[None]:
    """Watches stay open and say nothing."""
    with _noticed(stage):
        stage.api.deaf = True
        yield
    stage.api.deaf = False


# -- history --------------------------------------------------------------------------------------


def _compacted(*, as_http: bool) -> Fault:
    @contextmanager
    def fault(stage: KubernetesStage, step: Step) -> Iterator[None]:
        """While the service is away; how that is told stays so until the next one comes."""
        stage.source_link.refuse()
        yield
        stage.api.gone_as_http = as_http
        stage.lose_history()
        stage.source_link.accept_again()

    return fault


def _compacted_under_a_listing(*, offers_rest: bool) -> Fault:
    @contextmanager
    def fault(stage: KubernetesStage, step: Step) -> Iterator[None]:
        """After every page, so that no `continue` token is good."""
        met = threading.Event()

        def on_page(count: int) -> None:
            stage.compact()
            met.set()

        stage.api.offers_rest = offers_rest
        stage.api.on_page = on_page
        stage.trigger()
        yield
        stage.until(met.is_set, LONG_SECONDS)
        stage.api.on_page = lambda count: None
        stage.api.offers_rest = True

    return fault


# -- refusals -------------------------------------------------------------------------------------


def _refused(refusal: Refusal) -> Fault:
    @contextmanager
    def fault(stage: KubernetesStage, step: Step) -> Iterator[None]:
        """For as long as it lasts; watches are ended and a full sync asked for, so that something is refused."""
        verbs = [(verb, DEPLOYMENTS.plural) for verb in VERBS[step.direction]]
        stage.api.do(lambda: stage.api.refused.update(dict.fromkeys(verbs, refusal)))
        stage.api.end_watches()
        stage.trigger()
        yield
        stage.api.do(stage.api.refused.clear)

    return fault


_TOO_NEW = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}

_REFUSALS = {
    "401": Refusal(401, "Unauthorized"),
    "403": Refusal(403, "Forbidden"),
    "404, the type is gone for a while": Refusal(404, "NotFound"),
    "429 with Retry-After": Refusal(429, "TooManyRequests", headers={"Retry-After": "1"}),
    "500": Refusal(500, "InternalError"),
    "503 with Retry-After": Refusal(503, "ServiceUnavailable", headers={"Retry-After": "1"}),
    "504, too large resource version": Refusal(504, "Timeout", details=_TOO_NEW),
}


def _refusals() -> dict[Kind, Fault]:
    return {kind(f"API server answers {name}", Target.SOURCE): _refused(refusal) for name, refusal in _REFUSALS.items()}


_ALL_BUT_MONGODB = (Target.SOURCE, Target.SOURCE_LINK, Target.SERVICE)
"""Undisturbed, so that what is to be noticed is nothing else."""

KUBERNETES_FAULTS: Faults[KubernetesStage] = {
    **link_faults("API server", Target.SOURCE_LINK, lambda stage: stage.source_link),
    kind("API server connection half open", *_ALL_BUT_MONGODB): _half_open,
    kind("watches ended in good order", Target.SOURCE): lambda stage, _: _before_and_after(stage.api.end_watches),
    kind("watches cut", Target.SOURCE): lambda stage, _: _before_and_after(stage.api.cut_watches),
    kind("watches closed at once", Target.SOURCE): _closed_at_once,
    kind("watches open and silent", *_ALL_BUT_MONGODB): _deaf,
    kind("history compacted, 410 as event", Target.SOURCE, Target.SOURCE_LINK): _compacted(as_http=False),
    kind("history compacted, 410 as status", Target.SOURCE, Target.SOURCE_LINK): _compacted(as_http=True),
    kind("history compacted under a listing", Target.SOURCE): _compacted_under_a_listing(offers_rest=True),
    kind("listing broken off by a compaction", Target.SOURCE): _compacted_under_a_listing(offers_rest=False),
    **_refusals(),
    **KUBERNETES_OUTSIDERS,
    **mongodb_faults(Target.SINK_LINK, Target.SINK),
    **MIRROR_OUTSIDERS,
    **SERVICE_FAULTS,
}
