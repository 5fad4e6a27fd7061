"""The asyncio face of a ZooKeeper session: connect, call, watch, close; each with a deadline."""

from __future__ import annotations

import asyncio
from typing import Any

from kazoo.exceptions import ConnectionClosedError, ConnectionLoss
from kazoo.protocol.serialization import Exists, Sync

from hybridsync.errors import ListingFailed, PositionExpired, SourceDisconnected, SourceError
from hybridsync.zookeeper import wire
from hybridsync.zookeeper.calls import Answer, Call, retrieved, translated
from hybridsync.zookeeper.lifetime import Armed, EventHandler, Lifetime
from hybridsync.zookeeper.limits import Weight


class Session(Lifetime):
    """One ZooKeeper session after the other. All methods on one event loop.

    Raises `ConfigurationError` when the settings cannot be used.
    """

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
                self._trouble.note(self._servers.text, str(error).removeprefix(f"{self.where} "))
                raise SourceDisconnected(str(error)) from None
            self._supported = link
        return self._connected

    async def send(
        self, request: Any, *, epoch: int, seconds: float | None = None, answer_bytes: int = 0
    ) -> asyncio.Future[Answer]:
        """Sends a request on the connection of `epoch`; waits only while too many are under way.

        The future always ends: with the answer, or with `SourceDisconnected` (also after `seconds`,
        `deadline_seconds` by default: then the connection is dropped), `PositionExpired`,
        `SourceUnsupported`, or `ListingFailed` when the server refuses or cannot be understood.
        `answer_bytes`: how long an answer is expected, for `limits`.
        """
        link = self._link_of(epoch)
        await link.slots.acquire()
        try:
            self._link_of(epoch)
        except SourceError:
            link.slots.release()
            raise
        weight = Weight(getattr(request, "encoded_bytes", 0), answer_bytes, getattr(request, "divisible", True))
        call = Call(type(request).__name__, weight, link, epoch, self._on_answered)
        wait = self.deadline_seconds if seconds is None else seconds
        call.timer = asyncio.get_running_loop().call_later(wait, self._missed, call, wait)
        self._outstanding.add(call)
        link.call(request, call)
        return call.future

    async def call(self, request: Any, *, epoch: int, seconds: float | None = None) -> Answer:
        """Sends a request and waits for its answer; raises what `send` tells."""
        return await (await self.send(request, epoch=epoch, seconds=seconds))

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
        if isinstance(error, ConnectionLoss) and call.epoch == self._epoch:
            self.on_suspended(call.link)  # kazoo tells the calls first, then the state
        self._outstanding.discard(call)
        if call.timer is not None:
            call.timer.cancel()
        if answer is None:
            call.fail(translated(self.where, call.name, error))
            if isinstance(error, ConnectionClosedError):  # kazoo could not take the call
                self.drop_connection(call.epoch)
        else:
            self.limits.answered(call.weight)
            if not call.future.done():
                call.future.set_result(answer)

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
