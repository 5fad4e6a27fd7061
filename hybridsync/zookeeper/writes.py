"""Writing below one znode: a connection that is caught up, transactions, and what a lost one may have done.

A transaction whose answer was lost may have been done, or may even be done later, by a server that
finds it in a socket after we wrote on, with another session. Nothing tells such a late creation from
a right one, so every transaction begins with a check of the version of the *root*'s data, and after
a doubtful one the root is written again with the same bytes, which makes a new version: what is
still under way then fails. On one connection the order protects by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

import structlog
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from hybridsync.errors import PositionExpired, SinkError, SinkUnavailable, SourceDisconnected, SourceError
from hybridsync.znode import stat_of
from hybridsync.zookeeper import transaction, wire
from hybridsync.zookeeper.acl import Entry
from hybridsync.zookeeper.codes import reason
from hybridsync.zookeeper.limits import Limits
from hybridsync.zookeeper.session import Session
from hybridsync.zookeeper.transaction import Operation, Transaction, culprit

T = TypeVar("T")

OPERATION_SECONDS = 10.0
"""One request."""

RETRY_SECONDS = 15.0
"""No further attempt is begun after this."""

ROOT_TRIES = 5

_log = structlog.get_logger("hybridsync")


class Refused(NamedTuple):
    """A transaction that was not done: which of its operations failed, and ZooKeeper's code for why."""

    number: int
    code: int


class RootChanged(Exception):
    """A transaction was not done because the root is gone or was written meanwhile. Try again."""


class Writes:
    """Transactions below `root`, on one session. New znodes get the access list `acl`.

    `shown` is `root` as it is told. `forget` is called when a session ended or the root was found missing:
    whatever was known of what is there may be wrong now. Calls may overlap.
    """

    def __init__(self, session: Session, root: str, acl: Sequence[Entry], forget: Callable[[], None]) -> None:
        self.acl = acl
        self._session = session
        self._root = session.server_path(root)
        self.shown = root
        self._on_forget = forget
        self._forgotten = 0
        self._closed = False
        self._preparing = asyncio.Lock()
        self._caught_up: int | None = None
        self._ready: int | None = None
        self._version = 0
        self._in_doubt = False

    async def retrying(self, operation: Callable[[int], Awaitable[T]]) -> T:
        """Runs `operation(epoch)` on a connection, again and again while there is none, for about 15 s.

        Raises `SinkUnavailable`, or `SinkError` for what another attempt would not change.
        """
        attempts = AsyncRetrying(
            retry=retry_if_exception(self._may_try_again),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(RETRY_SECONDS),
            reraise=True,
        )

        async def attempt() -> T:
            return await operation(await self._connected())

        try:
            return await attempts(attempt)
        except (SourceDisconnected, PositionExpired) as error:
            raise SinkUnavailable(str(error)) from error
        except SourceError as error:
            raise SinkError(str(error)) from error

    @property
    def generation(self) -> int:
        """Another number after each session that ended, noticed by us or not yet, and each root that was missing."""
        return self._forgotten + int(self._session.over)

    def _forget(self) -> None:
        self._forgotten += 1
        self._on_forget()

    @property
    def connected(self) -> bool:
        """Whether the connection is up on which we last looked: no session can have ended since."""
        try:
            return self._session.epoch == self._caught_up
        except SourceDisconnected:
            return False

    async def _connected(self) -> int:
        """The epoch of a connection to a server that knows everything we were told before."""
        try:
            epoch = await self._session.connect()
        except PositionExpired:
            self._forget()
            raise
        if epoch != self._caught_up:
            await self._session.sync(self.shown, epoch=epoch, seconds=OPERATION_SECONDS)
            self._caught_up = epoch
        if self._in_doubt:
            await self.prepare(epoch)  # before anybody looks: what comes late would come after the look
        return epoch

    def _may_try_again(self, error: BaseException) -> bool:
        return isinstance(error, SourceDisconnected | PositionExpired) and not self._closed

    async def close(self) -> None:
        """Closes the session. Never raises, never hangs; may be repeated."""
        self._closed = True
        await self._session.close()

    # -- the root -----------------------------------------------------------------------------------

    async def prepare_anew(self, epoch: int) -> None:
        """The same as `prepare`, with a look at whether the root is still there."""
        self._ready = None
        await self.prepare(epoch)

    async def prepare(self, epoch: int) -> None:
        """Once a connection: creates the root and its parents if missing; makes void what is still under way."""
        async with self._preparing:
            if self._ready == epoch:
                return
            for _ in range(ROOT_TRIES):
                if await self._prepared(epoch):
                    self._ready = epoch
                    return
        raise SinkError(f"{self._session.where}: {self.shown} is changed all the time by somebody else")

    async def _prepared(self, epoch: int) -> bool:
        (found,) = await self._read([self._root], epoch)
        if found == wire.NO_NODE:
            return await self._create_root(epoch) and not self._in_doubt
        if not isinstance(found, wire.Data):
            raise SinkError(self._hidden)
        stat = stat_of(found.stat)
        if _is_ephemeral(stat.ephemeralOwner):
            raise SinkError(
                f"{self._session.where}: {self.shown} is an ephemeral znode, which cannot have children: "
                "publish to another path, or have it removed"
            )
        self._version = stat.version
        if not self._in_doubt:
            return True
        again = transaction.set_data(self._root, found.value, self._version)
        if len(again.encoded) > self.room:
            refused: Refused | None = Refused(
                0, transaction.BAD_ARGUMENTS
            )  # its bytes, which are not ours, are too many
        else:
            refused = await self._send([again], epoch)
        if refused is not None and refused.code in (transaction.NO_NODE, transaction.BAD_VERSION):
            return False
        if refused is None:
            self._version += 1
        else:
            _log.warning("the root cannot be written: a write that comes late cannot be told", path=self.shown)
        self._in_doubt = False
        return True

    async def _create_root(self, epoch: int) -> bool:
        """Whether the root was created by us, with all that is missing above it."""
        names = self._root.strip("/").split("/")
        paths = ["/" + "/".join(names[: depth + 1]) for depth in range(len(names))]
        found = await self._read(paths, epoch)
        missing = [path for path, one in zip(paths, found, strict=True) if one == wire.NO_NODE]
        refused = await self._send([transaction.create(path, b"", self.acl) for path in missing], epoch)
        if refused is None:
            self._version = 0
            self._forget()
            _log.info("created in ZooKeeper", paths=missing)
            return True
        if refused.code in (transaction.NODE_EXISTS, transaction.NO_NODE):
            return False
        raise SinkError(f"{self._session.where}: {missing[refused.number]} cannot be created: {reason(refused.code)}")

    async def _read(self, paths: Sequence[str], epoch: int) -> Sequence[wire.OpResult]:
        request = wire.MultiRead(values=[path.encode() for path in paths])
        results: Sequence[wire.OpResult] = (
            await self._session.call(request, epoch=epoch, seconds=OPERATION_SECONDS)
        ).value
        return results

    # -- what is asked ------------------------------------------------------------------------------

    async def children(self, epoch: int) -> list[str]:
        """The names of the znodes directly below the root; none when there is no root."""
        request = wire.MultiRead(lists=[self._root.encode()])
        (found,) = (await self._session.call(request, epoch=epoch, seconds=OPERATION_SECONDS)).value
        if found == wire.NO_NODE:
            return []
        if not isinstance(found, list):
            raise SinkError(self._hidden)
        return found

    @property
    def _hidden(self) -> str:
        return f"{self._session.where} does not permit reading {self.shown}: its access list (ACL) gives no READ"

    async def identity(self, epoch: int) -> str | None:
        """Tells this root from one that was created in its place; `None` where there is none.

        The time is there because an ensemble that was set up anew counts its transactions from the beginning again.
        """
        (found,) = await self._read([self._root], epoch)
        if found == wire.NO_NODE:
            return None
        if not isinstance(found, wire.Data):
            raise SinkError(self._hidden)
        stat = stat_of(found.stat)
        return f"{stat.czxid:x}-{stat.ctime}"

    async def commit(self, operations: Sequence[Operation], epoch: int) -> Refused | None:
        """Does all of the operations and returns `None`, or none of them and says why.

        `prepare` came before. Raises `RootChanged`, and what `Session.send` tells: then the outcome
        is unknown.
        """
        if epoch != self._ready:
            raise RootChanged
        refused = await self._send([self._check(), *operations], epoch)
        if refused is None:
            return None
        if refused.number == 0:
            self._ready = None
            if refused.code == transaction.NO_NODE:
                self._forget()
            if refused.code in (transaction.NO_NODE, transaction.BAD_VERSION):
                raise RootChanged
            raise SinkError(f"{self._session.where}: {self.shown}: {reason(refused.code)}")
        return Refused(refused.number - 1, refused.code)

    @property
    def limits(self) -> Limits:
        """What was learnt of how much a request may hold."""
        return self._session.limits

    @property
    def overhead(self) -> int:
        """How many bytes of a transaction are none of its operations'."""
        return transaction.FRAME_BYTES + len(self._check().encoded)

    @property
    def room(self) -> int:
        """How many bytes of operations the longest possible transaction has room for."""
        longest = self.limits.refused_bytes
        return (transaction.MAX_PACKET_BYTES if longest is None else longest - 1) - self.overhead

    def _check(self) -> Operation:
        return transaction.check(self._root, self._version)

    async def _send(self, operations: Sequence[Operation], epoch: int) -> Refused | None:
        try:
            answer = await self._session.call(Transaction(operations), epoch=epoch, seconds=OPERATION_SECONDS)
        except BaseException:
            self._in_doubt = True
            raise
        number = culprit(answer.value)
        return None if number is None else Refused(number, answer.value[number])


def _is_ephemeral(owner: int) -> bool:
    """Whether this `ephemeralOwner` is a session: containers and znodes with a TTL have marks (`EphemeralType`)."""
    return owner not in (0, -(2**63)) and (owner >> 56) & 0xFF != 0xFF
