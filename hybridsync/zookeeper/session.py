"""The asyncio face of a ZooKeeper session: connect, call, watch, close; each with a deadline.

Everything kazoo's thread says arrives through one `Mailbox`, so the order of events and answers
is the server's. Each connection has a number, its *epoch*; calls and watches belong to one. When a
connection is lost every call of its epoch fails at once, so that a request queued before a gap and
answered after it can never count as a proof.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import structlog
from kazoo.exceptions import ConnectionClosedError, ConnectionLoss
from kazoo.protocol.serialization import Exists, Sync

from hybridsync.errors import ListingFailed, PositionExpired, SourceDisconnected, SourceError
from hybridsync.zookeeper import wire
from hybridsync.zookeeper.calls import Answer, Call, retrieved, translated
from hybridsync.zookeeper.connection import Link
from hybridsync.zookeeper.mailbox import Mailbox
from hybridsync.zookeeper.settings import SessionSettings, credentials_of, servers_of, tls_context_of

MIN_DEADLINE_SECONDS = 10.0
CONNECT_SECONDS = 10.0
"""How long `connect` waits before it says that there is no connection; the attempts go on behind it."""

CLOSE_SECONDS = 2.0
"""What closing in good order may take; then the socket is shut, and the thread gets half of it again."""

STEADY_SECONDS = 10.0
"""A session that lasted this long is followed by the next one without a delay."""

MAX_NEXT_SESSION_SECONDS = 5.0

EventHandler = Callable[[int, str], None]

_log = structlog.get_logger("hybridsync")


class Armed:
    """A recursive watch on one epoch. `lost` gets the reason as its exception when it is gone."""

    def __init__(self, epoch: int, on_event: EventHandler, lost: asyncio.Future[None]) -> None:
        self.epoch = epoch
        self.on_event = on_event
        self.lost = lost


class Session:
    """One ZooKeeper session after the other. All methods on one event loop.

    Raises `ConfigurationError` when the settings cannot be used.
    """

    def __init__(self, settings: SessionSettings) -> None:
        self._settings = settings
        self._servers = servers_of(settings.hosts)
        self._credentials = credentials_of(settings.auth)
        self._tls = tls_context_of(settings)
        self.where = f"ZooKeeper at {self._servers.text}{self._servers.chroot}"
        self.deadline_seconds = max(MIN_DEADLINE_SECONDS, settings.timeout_seconds)
        self._mailbox: Mailbox | None = None
        self._link: Link | None = None
        self._retired: set[Link] = set()
        self._epoch = 0
        self._connected = False
        self._connected_at = 0.0
        self._short_lived = 0
        self._over: str | None = None
        self._last_failure: str | None = None
        self._supported: Link | None = None
        self._outstanding: set[Call] = set()
        self._armed: set[Armed] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._closed = False

    # the life of the connection

    @property
    def over(self) -> bool:
        """Whether a session ended of which `connect` has not told yet."""
        return self._over is not None

    async def connect(self) -> int:
        """Returns the epoch once requests can be sent; starts connecting when that was not done yet.

        Raises `PositionExpired` once after each session that ended, `SourceDisconnected` when there
        is no connection within `CONNECT_SECONDS`, and `SourceUnsupported` when the server is too old.
        """
        self._start()
        patience = min(CONNECT_SECONDS, self.deadline_seconds)
        try:
            async with asyncio.timeout(patience):
                while True:
                    if self._closed:
                        raise SourceDisconnected(f"the session with {self.where} is closed")
                    if self._over is not None:
                        reason, self._over = self._over, None
                        raise PositionExpired(reason)
                    changed = self._changed
                    if not self._connected:
                        await changed.wait()
                    elif await self._check():
                        return self._epoch
        except TimeoutError:
            failure = (self._link and self._link.last_failure) or self._last_failure
            because = f": {failure}" if failure else ""
            raise SourceDisconnected(f"no connection to {self.where} within {patience:g} s{because}") from None

    async def _check(self) -> bool:
        """Whether the server knows multiRead, asked once a session; `False` when the connection went away."""
        link = self._link
        if self._supported is not link:
            probe = wire.MultiRead(values=[self.server_path("/").encode()])
            try:
                await self.call(probe, epoch=self._epoch)
            except (SourceDisconnected, PositionExpired):
                return False  # `connect` finds the new state
            except ListingFailed as error:
                raise SourceDisconnected(str(error)) from None
            self._supported = link
        return self._connected

    def _start(self) -> None:
        if self._mailbox is None and not self._closed:
            self._mailbox = Mailbox(asyncio.get_running_loop())
            self._start_link()

    def _start_link(self) -> None:
        if self._closed or self._mailbox is None:
            return
        self._link = Link(
            self._servers, self._settings.timeout_seconds, self._credentials, self._tls, self._mailbox, self
        )
        self._link.start()

    def on_connected(self, link: Link) -> None:
        """The connection is up: a new epoch begins."""
        if link is not self._link:
            return
        self._cancel_timer()
        self._epoch += 1
        self._connected = link.was_connected = True
        self._connected_at = asyncio.get_running_loop().time()
        _log.info("ZooKeeper connected", servers=self.where, session_timeout_seconds=link.negotiated_seconds)
        self._announce()

    def on_suspended(self, link: Link) -> None:
        """The connection is gone: its epoch ends. kazoo goes on trying, but not for ever.

        kazoo reports the end of a session only when the connection comes back, and a server
        whose data was restored refuses for ever a client that has seen a higher zxid. So after
        the time in which the session must have ended it is given up.
        """
        if link is not self._link or not self._connected:
            return
        _log.warning("ZooKeeper connection lost", servers=self.where)
        self._disconnected(SourceDisconnected(f"the connection to {self.where} was lost"))
        margin = 0.5 + link.negotiated_seconds / 10
        self._timer = asyncio.get_running_loop().call_later(link.negotiated_seconds + margin, self._give_up, link)
        self._announce()

    def _give_up(self, link: Link) -> None:
        if link is self._link:
            link.drop_connection()
            self.on_over(link)

    def on_over(self, link: Link) -> None:
        """The session is gone for good: its kazoo client is thrown away, and the next one starts."""
        if not link.finished.is_set():
            self._retired.add(link)
        if link is not self._link:
            return
        self._cancel_timer()
        loop = asyncio.get_running_loop()
        if link.was_connected:
            because = f": {link.last_failure}" if link.last_failure else ""
            self._over = f"the session with {self.where} is over{because}"
            _log.warning("ZooKeeper session over", servers=self.where, reason=link.last_failure)
            self._disconnected(PositionExpired(self._over))
        steady = link.was_connected and loop.time() - self._connected_at > STEADY_SECONDS
        self._short_lived = 0 if steady else self._short_lived + 1
        self._last_failure = link.last_failure or self._last_failure
        self._link = None
        link.stop()
        delay = min(MAX_NEXT_SESSION_SECONDS, 0.05 * 2**self._short_lived) if self._short_lived else 0.0
        self._timer = loop.call_later(delay * random.uniform(0.5, 1.0), self._start_link)
        self._announce()

    def on_event(self, link: Link, kind: int, path: str) -> None:
        """A watch event, in its place between the answers."""
        if link is not self._link or not self._connected:
            return
        chroot = self._servers.chroot
        if chroot:
            if path != chroot and not path.startswith(chroot + "/"):
                return
            path = path[len(chroot) :] or "/"
        for armed in self._armed:
            armed.on_event(kind, path)

    def _disconnected(self, reason: SourceError) -> None:
        """Ends the epoch: nothing of it may count any more."""
        self._connected = False
        outstanding, self._outstanding = self._outstanding, set()
        for call in outstanding:
            call.fail(type(reason)(str(reason)))  # one each: a raised exception keeps its traceback
        armed, self._armed = self._armed, set()
        for watch in armed:
            if not watch.lost.done():
                watch.lost.set_exception(type(reason)(str(reason)))

    def _announce(self) -> None:
        """Wakes everybody who waits for the state of the connection to change."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def drop_connection(self, epoch: int) -> None:
        """Cuts the connection of this epoch, when it is still the present one, and ends the epoch at once."""
        if self._connected and epoch == self._epoch and self._link is not None:
            self._link.drop_connection()
            self.on_suspended(self._link)

    async def close(self) -> None:
        """Closes the session on the server if it answers in time. Never raises, never hangs; may be repeated."""
        self._closed = True
        self._cancel_timer()
        self._disconnected(SourceDisconnected(f"the session with {self.where} is closed"))
        self._announce()
        link, self._link = self._link, None
        if link is not None:
            self._retired.add(link)
            link.stop()
        try:
            if not await self._finished(CLOSE_SECONDS):
                for one in self._retired:
                    one.drop_connection()
                await self._finished(CLOSE_SECONDS / 2)
        finally:
            for one in self._retired:
                one.drop_connection()
            self._retired.clear()

    async def _finished(self, seconds: float) -> bool:
        """Whether every thread has ended within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                for link in list(self._retired):
                    await link.finished.wait()
        except TimeoutError:
            return False
        return True

    # calls

    @property
    def epoch(self) -> int:
        """The number of the present connection. Raises `SourceDisconnected` when there is none."""
        if not self._connected:
            raise SourceDisconnected(f"there is no connection to {self.where}")
        return self._epoch

    @property
    def timeout_seconds(self) -> float:
        """The session timeout: the one agreed with the server once there is one."""
        return self._link.negotiated_seconds if self._link else self._settings.timeout_seconds

    async def send(self, request: Any, *, epoch: int, seconds: float | None = None) -> asyncio.Future[Answer]:
        """Sends a request on the connection of `epoch`; waits only while too many are under way.

        The future always ends: with the answer, or with `SourceDisconnected` (also after `seconds`,
        `deadline_seconds` by default: then the connection is dropped), `PositionExpired`,
        `SourceUnsupported`, or `ListingFailed` when the server refuses or cannot be understood.
        """
        link = self._link_of(epoch)
        await link.slots.acquire()
        try:
            self._link_of(epoch)
        except SourceError:
            link.slots.release()
            raise
        call = Call(type(request).__name__, link, epoch, self._on_answered)
        wait = self.deadline_seconds if seconds is None else seconds
        call.timer = asyncio.get_running_loop().call_later(wait, self._missed, call, wait)
        self._outstanding.add(call)
        link.call(request, call)
        return call.future

    async def call(self, request: Any, *, epoch: int, seconds: float | None = None) -> Answer:
        """Sends a request and waits for its answer; raises what `send` tells."""
        return await (await self.send(request, epoch=epoch, seconds=seconds))

    def _link_of(self, epoch: int) -> Link:
        if self._link is None or epoch != self.epoch:
            raise SourceDisconnected(f"the connection to {self.where} was lost meanwhile")
        return self._link

    def _missed(self, call: Call, seconds: float) -> None:
        """The deadline of a call has passed: a connection that does not answer is no good."""
        call.fail(SourceDisconnected(f"{self.where} did not answer {call.name} within {seconds:g} s"))
        self.drop_connection(call.epoch)

    def _on_answered(self, call: Call, answer: Answer | None, error: Exception | None) -> None:
        """kazoo is done with a call: its slot is free, whether or not anybody still waits."""
        if call.completed:
            return
        call.completed = True
        call.link.slots.release()
        self._outstanding.discard(call)
        if call.timer is not None:
            call.timer.cancel()
        if answer is None:
            call.fail(translated(self.where, call.name, error))
            if isinstance(error, ConnectionClosedError):  # kazoo could not take the call
                self.drop_connection(call.epoch)
            elif isinstance(error, ConnectionLoss) and call.epoch == self._epoch:
                self.on_suspended(call.link)  # kazoo tells the calls first, then the state
        elif not call.future.done():
            call.future.set_result(answer)

    # what is asked

    def server_path(self, path: str) -> str:
        """`path` with the chroot in front."""
        chroot = self._servers.chroot
        return (chroot if path == "/" else chroot + path) or "/"

    async def sync(self, path: str, *, epoch: int, seconds: float | None = None) -> int:
        """Makes the server catch up with its leader; returns the zxid it has reached."""
        return (await self.call(Sync(self.server_path(path)), epoch=epoch, seconds=seconds)).zxid

    async def prove(self, path: str, *, epoch: int, seconds: float) -> None:
        """Returns when everything the server sent before answering has been handled.

        `sync` and `exists` go out together. The `exists` is answered from the state that the `sync`
        brought, and sets no watch: a standard watch would kill the recursive one (ZOOKEEPER-4466).
        """
        synced = await self.send(Sync(self.server_path(path)), epoch=epoch, seconds=seconds)
        exists = await self.send(Exists(self.server_path(path), False), epoch=epoch, seconds=seconds)
        await synced
        await exists

    async def arm(self, path: str, on_event: EventHandler, *, epoch: int) -> Armed:
        """Sets a persistent recursive watch on `path`, which need not exist.

        `on_event(kind, path)` runs on the loop, in order with the answers, until `disarm` or until
        the connection is gone. It also gets events of watches set before on the same connection.
        """
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lost.add_done_callback(retrieved)
        armed = Armed(epoch, on_event, lost)
        self._link_of(epoch)
        self._armed.add(armed)  # before asking: events may follow the answer at once
        try:
            await self.call(wire.AddWatch(self.server_path(path)), epoch=epoch)
        except BaseException:
            self.disarm(armed)
            raise
        return armed

    def disarm(self, armed: Armed) -> None:
        """Forgets the watch. The server's half stays until the connection ends; nobody hears it."""
        self._armed.discard(armed)
        armed.lost.cancel()
