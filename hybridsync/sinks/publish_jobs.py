"""From a change, and what is known of its znode, to the one operation that makes it true. No I/O.

    put, equal bytes are there              nothing
    put, nothing seen, nothing there        create
    put, nobody looked before               create or set, whatever is there
    put, a state was seen and is there      set, on the version of the data
    put, another state was seen             nothing: somebody was here since, who knew more
    remove, no guard                        delete
    remove, a state was seen and is there   delete, on the version of the data
    remove, another state was seen          nothing

A hash has no order, so of two different states nobody can say which is newer; who saw another state
than the one that is there now has old news. `Remove.as_of` is a position and says nothing here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from hybridsync.model import ANY, Applied, Change, Put, Version
from hybridsync.zookeeper import transaction
from hybridsync.zookeeper.acl import Entry
from hybridsync.zookeeper.transaction import ANY_VERSION, Operation

UNREADABLE: Version = -2
"""The version of a znode that is there but may not be read: equal to no record's."""

MAX_VALUE_BYTES = transaction.MAX_PACKET_BYTES - 88
"""A value that a client can read: the answer to `getData` has 88 bytes more, and the same limit."""


class Look(NamedTuple):
    """A znode as it was just read: version of its content (`None`: not there), of its data, children."""

    version: Version | None
    data_version: int = ANY_VERSION
    children: int = 0


@dataclass(slots=True, eq=False)
class Job:
    """One change on its way. `path` is the server's; `tried` is what was sent and may have been done."""

    change: Change
    path: str
    look: Look | None = None
    tried: Literal["inserted", "updated", "deleted"] | None = None
    tries: int = 0
    settled: bool = False

    @property
    def key(self) -> str:
        """The key of the change."""
        return self.change.key

    @property
    def guard(self) -> Version | None:
        """The version that was seen: `None` for nothing, `ANY` when there is no guard."""
        if isinstance(self.change, Put):
            return self.change.replaces
        return ANY if self.change.seen is None else self.change.seen

    def must_look(self, known: Version | None) -> bool:
        """Whether the znode has to be read first.

        So it is when nothing is known, when a certain state is to be replaced, and when something is
        known although somebody saw nothing: then one of the two is old news.
        """
        if self.look is not None:
            return False
        return known == ANY or self.guard not in (ANY, None) or (self.guard is None and known is not None)


def settle(job: Job, known: Version | None, applied: Applied) -> bool:
    """Whether nothing has to be sent for the job; then it is settled and counted."""
    held = job.look.version if job.look is not None else known
    if held == UNREADABLE:
        return fail(job, "its znode may not be read, so nothing is done to it", applied)
    if isinstance(job.change, Put):
        return _settle_put(job, job.change, held, applied)
    if held is None:
        applied.deleted += job.tried == "deleted"
    elif job.guard in (ANY, held):
        if job.look is None or not job.look.children:
            return False
        return fail(
            job, f"its znode has children ({job.look.children}) that are not hybridsync's: it is not deleted", applied
        )
    job.settled = True
    return True


def _settle_put(job: Job, put: Put, held: Version | None, applied: Applied) -> bool:
    size = len(put.record.value)
    if held == put.record.version:
        applied.inserted += job.tried == "inserted"
        applied.updated += job.tried == "updated"
        applied.unchanged += job.tried is None
    elif job.guard in (ANY, held):
        if size <= MAX_VALUE_BYTES:
            return False
        return fail(job, f"a value of {size} bytes does not fit into a znode: {MAX_VALUE_BYTES} are allowed", applied)
    else:
        applied.unchanged += 1
    job.settled = True
    return True


def fail(job: Job, reason: str, applied: Applied) -> bool:
    """Settles a job that cannot be done, with the reason."""
    applied.failed[job.key] = reason
    job.settled = True
    return True


def operation_of(job: Job, known: Version | None, acl: Sequence[Entry]) -> Operation:
    """What to send for a job that is not settled; notes it as tried."""
    held = job.look.version if job.look is not None else known
    version = ANY_VERSION if job.look is None or job.guard == ANY else job.look.data_version
    if not isinstance(job.change, Put):
        job.tried = "deleted"
        return transaction.delete(job.path, version)
    if held is None:
        job.tried = "inserted"
        return transaction.create(job.path, job.change.record.value, acl)
    job.tried = "updated"
    return transaction.set_data(job.path, job.change.record.value, version)


def acknowledge(job: Job, applied: Applied) -> None:
    """Counts a job whose operation was done."""
    job.settled = True
    if isinstance(job.change, Put):
        applied.inserted += job.tried == "inserted"
        applied.updated += job.tried == "updated"
    else:
        applied.deleted += 1
