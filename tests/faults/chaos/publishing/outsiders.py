"""What others do to a published collection and to the znodes that it is published as.

The path is not watched: what is done to znodes by hand is found by a comparison. What cannot be written because of a
quota, an access list or somebody's children is named, and tried again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError, NotEmptyError

from tests.faults.allowances import among
from tests.faults.chaos.faults import Faults
from tests.faults.chaos.publishing.scene import PATH
from tests.faults.chaos.publishing.stage import PublishingStage
from tests.faults.chaos.schedule import Step, Target, kind
from tests.faults.chaos.zookeeper.access import closed
from tests.publish_truth import name_of

_QUOTA = f"/zookeeper/quota{PATH}"


@contextmanager
def _dropped_and_restored(stage: PublishingStage, step: Step) -> Iterator[None]:
    """The writer goes on, and so makes the collection anew; in the end what was in it is back."""
    journal = stage.scene.journal
    with stage.writer.held():
        before = dict(journal.documents)
        journal.drop()
    yield
    with stage.writer.held():
        journal.put_all({number: one for number, one in before.items() if number not in journal.documents})


@contextmanager
def _edited(stage: PublishingStage, step: Step) -> Iterator[None]:
    """Of znodes that are written all the time and of such that nobody writes, some are changed and some deleted."""
    changed, deleted = stage.some_published(step.count, 6)[::2], stage.some_published(step.count + 1, 4)
    stage.allowances.unverified(among([*changed, *deleted, "by-hand"]))
    for key in changed:
        with suppress(NoNodeError):
            stage.zk.set(f"{PATH}/{name_of(key)}", b'{"by":"hand"}')
    for key in deleted:
        with suppress(NoNodeError):
            stage.zk.delete(f"{PATH}/{name_of(key)}")
    stage.zk.ensure_path(f"{PATH}/by-hand")
    yield


@contextmanager
def _strangers(stage: PublishingStage, step: Step) -> Iterator[None]:
    """Somebody keeps something below znodes, which therefore cannot be deleted. What is already gone stays so."""
    kept = _children_below(stage.zk, stage.some_published(step.count, 20))
    yield
    for path in kept:
        with suppress(NoNodeError):
            stage.zk.delete(path)


def _children_below(client: KazooClient, keys: Sequence[str]) -> list[str]:
    kept = []
    for key in keys:
        path = f"{PATH}/{name_of(key)}/stranger"
        with suppress(NoNodeError):
            client.create(path)
            kept.append(path)
    return kept


@contextmanager
def _quota(stage: PublishingStage, step: Step) -> Iterator[None]:
    """No more znodes than there are, and no more bytes."""
    present = len(stage.zk.get_children(PATH)) + 1
    stage.zk.ensure_path(_QUOTA)
    limits = f"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit={present}".encode()
    stage.zk.create(f"{_QUOTA}/zookeeper_limits", limits)
    with suppress(NoNodeError):
        stage.zk.delete(f"{_QUOTA}/zookeeper_stats")
    stage.zk.create(f"{_QUOTA}/zookeeper_stats", f"count={present},bytes=0".encode())
    yield
    for path in (f"{_QUOTA}/zookeeper_limits", f"{_QUOTA}/zookeeper_stats", _QUOTA):
        with suppress(NoNodeError, NotEmptyError):
            stage.zk.delete(path)


@contextmanager
def _closed(stage: PublishingStage, step: Step) -> Iterator[None]:
    """Znodes that somebody else alone may touch, or the path itself. What may not be read is not compared either."""
    keys = stage.some_published(step.count, 12)
    paths = [PATH] if step.count % 3 == 0 else [f"{PATH}/{name_of(key)}" for key in keys]
    with ExitStack() as access:
        for path in paths:
            access.enter_context(closed(stage.zk, path))
        yield


_UNDISTURBED = (Target.SINK, Target.SINK_LINK)

PUBLISHING_OUTSIDERS: Faults[PublishingStage] = {
    kind("collection dropped and restored", Target.SOURCE): _dropped_and_restored,
    kind("znodes edited and deleted by hand", *_UNDISTURBED): _edited,
    kind("somebody's children below znodes", *_UNDISTURBED): _strangers,
    kind("ZooKeeper: a quota", *_UNDISTURBED): _quota,
    kind("ZooKeeper: znodes or the path closed and opened", *_UNDISTURBED): _closed,
}
