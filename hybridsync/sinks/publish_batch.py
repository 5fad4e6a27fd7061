"""One `apply` of the ZooKeeper sink: look where nothing is known, decide, send, narrow down what fails.

Operations travel in transactions, bounded in number and bytes. ZooKeeper names the first operation
that failed. Where the state was another than expected, all of that transaction are looked at again
and decided anew; anything else is that key's failure, and the others go again without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from hybridsync.errors import SinkError
from hybridsync.model import Applied, Put
from hybridsync.sinks.publish_jobs import UNREADABLE, Job, Look, acknowledge, fail, operation_of, settle
from hybridsync.sinks.published import Published
from hybridsync.zookeeper import transaction
from hybridsync.zookeeper.codes import reason
from hybridsync.zookeeper.limits import refused as refused_by_length
from hybridsync.zookeeper.transaction import Operation
from hybridsync.zookeeper.writes import RootChanged, Writes

BATCH_OPERATIONS = 500
BATCH_BYTES = 512 * 1024
"""Of one transaction; a single operation may be longer, up to what a server takes."""

IN_FLIGHT = 4
CULPRITS = 8
"""After so many failures of single keys the rest goes one by one: a transaction each would take for ever."""

ALONE_IN_FLIGHT = 32
MAX_TRIES = 10
MAX_PATH_CHARACTERS = 256 * 1024

_CONFLICTS = (transaction.NO_NODE, transaction.NODE_EXISTS, transaction.BAD_VERSION, transaction.NOT_EMPTY)

_RIGHTS_ON_PATH = {transaction.CREATE: "CREATE", transaction.DELETE: "DELETE"}
"""The right that the path published to must give for an operation on a znode in it."""

Read: TypeAlias = Callable[[Iterable[str], int], Awaitable[dict[str, Look]]]
"""Keys and epoch → what is there for each."""


class PublishBatch:
    """Jobs with distinct keys; `applied` counts what became of them."""

    def __init__(self, jobs: list[Job], writes: Writes, published: Published, read: Read) -> None:
        self.applied = Applied()
        self._open = jobs
        self._writes = writes
        self._published = published
        self._read = read
        self._culprits = 0
        self._missing_rights: set[int] = set()
        self._root_changes = 0
        for job in jobs:
            if len(job.path) > MAX_PATH_CHARACTERS:
                limit = f"{MAX_PATH_CHARACTERS} characters are allowed"
                fail(job, f"its path would have {len(job.path)}: {limit}", self.applied)

    def settle(self) -> bool:
        """Settles what needs no request, as far as is known; whether that is all."""
        for job in self._open:
            known = self._published.of(job.key)
            if job.settled or job.must_look(known):
                continue
            if settle(job, known, self.applied) and job.look is not None and job.look.version != UNREADABLE:
                self._published.learn(job.key, job.look.version)
        return not self._sift()

    async def work(self, epoch: int) -> None:
        """Looks, decides and sends until every job is settled; may be called again after an error.

        Raises what `Session.send` tells, and `SinkError`.
        """
        while not self.settle():
            unknown = {job.key: job for job in self._open if job.must_look(self._published.of(job.key))}
            if unknown:
                for key, look in (await self._read(unknown, epoch)).items():
                    unknown[key].look = look
                continue
            await self._writes.prepare(epoch)
            await self._send(epoch)

    async def _send(self, epoch: int) -> None:
        """Sends what is open, some transactions at once. Raises the first error after all have ended.

        A single one that is longer than this server may take goes last and alone, so that it takes nothing along.
        """
        alone = self._culprits > CULPRITS
        sending = asyncio.Semaphore(ALONE_IN_FLIGHT if alone else IN_FLIGHT)

        async def send(jobs: list[Job], operations: list[Operation]) -> bool:
            async with sending:
                return await self._commit(jobs, operations, epoch)

        parts = list(self._cut(1 if alone else BATCH_OPERATIONS))
        normal = [part for part in parts if len(part[1][0].encoded) <= self._batch_bytes]
        long = [part for part in parts if len(part[1][0].encoded) > self._batch_bytes]
        outcomes = await asyncio.gather(*(send(*part) for part in normal), return_exceptions=True)
        for part in long:
            if any(isinstance(outcome, BaseException) for outcome in outcomes):
                self._not_done(part[0])
            else:
                outcomes += await asyncio.gather(send(*part), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        self._root_changes += not all(outcomes)
        if self._root_changes > MAX_TRIES:
            raise SinkError("the znode that is published to is changed all the time by somebody else")

    @property
    def _batch_bytes(self) -> int:
        """How long the operations of one transaction may be together, unless there is only one."""
        return min(BATCH_BYTES, self._writes.limits.request_bytes - self._writes.overhead)

    def _cut(self, count: int) -> Iterator[tuple[list[Job], list[Operation]]]:
        """Jobs and their operations, in portions for one transaction each."""
        jobs: list[Job] = []
        operations: list[Operation] = []
        size, room, most = 0, self._writes.room, self._batch_bytes
        for job in self._open:
            operation = operation_of(job, self._published.of(job.key), self._writes.acl)
            length = len(operation.encoded)
            if operation.kind in self._missing_rights:
                self._no_right(job, operation.kind)
                continue
            if length > room:
                fail(job, self._too_long(length, room), self.applied)
                continue
            if jobs and (len(jobs) >= count or size + length > most):
                yield jobs, operations
                jobs, operations, size = [], [], 0
            jobs.append(job)
            operations.append(operation)
            size += length
        if jobs:
            yield jobs, operations

    async def _commit(self, jobs: list[Job], operations: list[Operation], epoch: int) -> bool:
        """One transaction, done or not; `False` when the root had changed.

        What was not done, or perhaps not, is looked at before the next try.
        """
        self._published.doubt(job.key for job in jobs)
        for job in jobs:
            job.look = None
        try:
            refused = await self._writes.commit(operations, epoch)
        except RootChanged:
            self._not_done(jobs)
            return False
        if refused is None:
            self._done(jobs)
        else:
            self._not_done(jobs)
            self._blame(jobs[refused.number], operations[refused.number].kind, refused.code)
        return True

    def _too_long(self, length: int, room: int) -> str:
        learnt = self._writes.limits.refused_bytes
        if learnt is None:
            return f"path and value need a request of {length} bytes: {room} are allowed"
        return refused_by_length(length + self._writes.overhead, learnt)

    def _done(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            acknowledge(job, self.applied)
            self._published.learn(job.key, job.change.record.version if isinstance(job.change, Put) else None)

    def _not_done(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            job.tried = None

    def _blame(self, job: Job, kind: int, code: int) -> None:
        """Takes in which operation failed a transaction, and why.

        A right that the published path does not give is missing for all operations of that kind: they are not tried.
        """
        job.tries += 1
        if code == transaction.NO_AUTH:
            if kind in _RIGHTS_ON_PATH:
                self._missing_rights.add(kind)
            self._no_right(job, kind)
            self._culprits += 1
        elif code not in _CONFLICTS:
            self._culprits += 1
            fail(job, f"its znode was not written: {reason(code)}", self.applied)
        elif job.tries >= MAX_TRIES:
            fail(job, "its znode is changed all the time by somebody else", self.applied)

    def _no_right(self, job: Job, kind: int) -> None:
        right = _RIGHTS_ON_PATH.get(kind)
        done = "deleted" if kind == transaction.DELETE else "written"
        lacks = f"of {self._writes.shown} gives no {right}" if right else "of the znode gives no WRITE"
        fail(job, f"its znode was not {done}: the access list (ACL) {lacks}", self.applied)

    def _sift(self) -> list[Job]:
        self._open = [job for job in self._open if not job.settled]
        return self._open
