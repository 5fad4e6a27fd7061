"""The life of a ZooKeeper session and its connections, on the event loop: who begins, who ends, what is told.

Everything kazoo's thread says arrives through one `Mailbox`, so the order of events and answers
is the server's. Each connection has a number, its *epoch*; calls and watches belong to one. When a
connection is lost every call of its epoch fails at once, so that a request queued before a gap and
answered after it can never count as a proof.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable

import structlog

from hybridsync.errors import PositionExpired, SourceDisconnected, SourceError
from hybridsync.zookeeper.calls import Call
from hybridsync.zookeeper.connection import Link
from hybridsync.zookeeper.limits import Limits
from hybridsync.zookeeper.mailbox import Mailbox
from hybridsync.zookeeper.names import Resolver
from hybridsync.zookeeper.settings import SessionSettings, credentials_of, servers_of
from hybridsync.zookeeper.tls import tls_of
from hybridsync.zookeeper.trouble import Trouble

MIN_DEADLINE_SECONDS = 10.0
CONNECT_SECONDS = 10.0
"""How long `connect` waits before it says that there is no connection; the attempts go on behind it."""

CLOSE_SECONDS = 2.0
"""What closing in good order may take; then the socket is shut, and the thread gets half of it again."""

STEADY_SECONDS = 10.0
"""A session that lasted this long is followed by the next one without a delay."""

MAX_NEXT_SESSION_SECONDS = 2.5

EventHandler = Callable[[int, str], None]

_log = structlog.get_logger("hybridsync")


class Armed:
    """A recursive watch on one epoch. `lost` gets the reason as its exception when it is gone."""

    def __init__(self, epoch: int, on_event: EventHandler, lost: asyncio.Future[None]) -> None:
        self.epoch = epoch
        self.on_event = on_event
        self.lost = lost


class Lifetime(ABC):
    """One ZooKeeper session after the other; `Session` adds what is asked. Raises `ConfigurationError`."""

    def __init__(self, settings: SessionSettings) -> None:
        self._settings = settings
        self._servers = servers_of(settings.hosts)
        self._credentials = credentials_of(settings.auth)
        self._tls = tls_of(settings)
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
        self._resolver = Resolver()
        self._trouble = Trouble(self.where)
        self.limits = Limits(self.where)
        self._supported: Link | None = None
        self._outstanding: set[Call] = set()
        self._armed: set[Armed] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._closed = False

    # the life of the connection

    @property
    def trouble(self) -> str | None:
        """Why there is no connection that is of use, as far as attempts have told; from memory."""
        return None if self._closed or (self._connected and self._supported is self._link) else self._trouble.text

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
                        self._trouble.over()
                        return self._epoch
        except TimeoutError:
            because = f": {self._trouble.detail}" if self._trouble.detail else ""
            raise SourceDisconnected(f"no connection to {self.where} within {patience:g} s{because}") from None

    def _start(self) -> None:
        if self._mailbox is None and not self._closed:
            self._mailbox = Mailbox(asyncio.get_running_loop())
            self._start_link()

    def _start_link(self) -> None:
        if self._closed or self._mailbox is None:
            return
        self._link = Link(
            self._servers,
            self._settings.timeout_seconds,
            self._credentials,
            self._tls,
            self._resolver,
            self._mailbox,
            self,
        )
        self._link.start()

    @abstractmethod
    async def _check(self) -> bool:
        """Whether the server knows what is needed, asked once a session; `False` when the connection went away."""

    def on_failed(self, link: Link, address: str, reason: str) -> None:
        """A server cannot be used."""
        if link is self._link:
            self._trouble.note(address, reason)

    def on_connected(self, link: Link) -> None:
        """The connection is up: a new epoch begins."""
        if link is not self._link:
            return
        self._cancel_timer()
        self._epoch += 1
        self._connected = link.was_connected = True
        self._connected_at = asyncio.get_running_loop().time()
        if self._supported is link:
            self._trouble.over()
        _log.info("ZooKeeper connected", servers=self.where, session_timeout_seconds=link.negotiated_seconds)
        self._announce()

    def on_suspended(self, link: Link) -> None:
        """The connection is gone: its epoch ends. kazoo goes on trying, but not for ever.

        kazoo reports the end of a session only when the connection comes back, and a server
        whose data was restored refuses for ever a client that has seen a higher zxid. So after
        the time in which the session must have ended it is given up.
        """
        if link is self._link and self._connected:
            self.limits.lost((call.weight, call.sent_at) for call in self._outstanding)
            self._suspended(link)

    def _suspended(self, link: Link) -> None:
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
            self._suspended(self._link)

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

    def _link_of(self, epoch: int) -> Link:
        if self._link is None or epoch != self.epoch:
            raise SourceDisconnected(f"the connection to {self.where} was lost meanwhile")
        return self._link

    def server_path(self, path: str) -> str:
        """`path` with the chroot in front."""
        chroot = self._servers.chroot
        return (chroot if path == "/" else chroot + path) or "/"
