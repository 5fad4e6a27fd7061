"""Access lists that hide a part of the tree from the service, and open it again; the writer goes on in it.

ZooKeeper sends no event for what is hidden, and none when an access list changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from kazoo.security import OPEN_ACL_UNSAFE, make_digest_acl

from tests.faults.allowances import Keys, at_and_below
from tests.faults.chaos.faults import LONG_SECONDS, Faults
from tests.faults.chaos.schedule import EVERYTHING, Step, Target, kind
from tests.faults.chaos.zookeeper.stage import ZooKeeperStage

_CHANGED = 5
_SOMEBODY_ELSE = [make_digest_acl("somebody", "else", all=True)]


@contextmanager
def closed(client: KazooClient, path: str) -> Iterator[None]:
    """Only somebody else, and who may do everything, reads this znode in the block. It may go meanwhile."""
    with suppress(NoNodeError):
        client.set_acls(path, _SOMEBODY_ELSE)
    try:
        yield
    finally:
        with suppress(NoNodeError):
            client.set_acls(path, OPEN_ACL_UNSAFE)


@contextmanager
def _closed_and_open(stage: ZooKeeperStage, step: Step) -> Iterator[None]:
    """Perhaps nobody looks while it is closed: then only a comparison finds what happened in there."""
    path = stage.a_subtree(step.count)
    excuse = at_and_below(path)
    stage.allowances.unverified(excuse)
    with closed(stage.zk, path):
        _change_some(stage, excuse)
        yield


def _change_some(stage: ZooKeeperStage, inside: Keys) -> None:
    journal = stage.scene.journal
    with stage.writer.held():
        for key in [key for key in journal.keys if inside(key) and journal.exists(key)][:_CHANGED]:
            journal.set(key, b"changed where it is closed")


@contextmanager
def _seen_to_be_closed(stage: ZooKeeperStage, step: Step) -> Iterator[None]:
    """A full sync meets it. So it is named, looked at again and again, and needs no comparison when it opens."""
    with ExitStack() as access:
        with stage.writer.held():  # who deletes it and makes it again opens it
            path = stage.a_subtree(step.count)
            excuse = at_and_below(path)
            stage.allowances.unnoticed(excuse)
            access.enter_context(closed(stage.zk, path))
            stage.trigger()
            if not stage.until(stage.unreadable, LONG_SECONDS):
                stage.claims.append(f"{path} is closed, a full sync was asked for, and nothing is named as unreadable")
        _change_some(stage, excuse)
        yield
        stage.allowances.unnoticed(excuse)
    stage.allowances.unnoticed(excuse)


ACCESS_OUTSIDERS: Faults[ZooKeeperStage] = {
    kind("ZooKeeper: a subtree closed and opened", Target.SOURCE): _closed_and_open,
    kind("ZooKeeper: a subtree closed, met by a full sync, and opened", *EVERYTHING): _seen_to_be_closed,
}
