"""`TcpProxy`: a connection through which a test can cut, stall, refuse and delay.

The proxy has a thread and an event loop of its own: traffic flows on while a test blocks its own
loop, and its methods are plain calls that have taken effect when they return.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self, TypeVar

from hybridsync.embedded.ports import LOOPBACK, free_port

T = TypeVar("T")
Direction = Literal["to_server", "to_client"]
Directions = Literal["both", "to_server", "to_client"]

_CALL_SECONDS = 20.0
_CHUNK = 65_536
_QUEUED_CHUNKS = 64


class TcpProxy:
    """Forwards a loopback port to `target_host:target_port`. Connect to `address` instead of the target.

    `connections` counts those accepted so far, `open_connections` those that are open, `bytes` what
    was forwarded in each direction.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self.port = free_port()
        self.connections = 0
        self.bytes: dict[Direction, int] = {"to_server": 0, "to_client": 0}
        self._flows: dict[Direction, asyncio.Event] = {"to_server": asyncio.Event(), "to_client": asyncio.Event()}
        for gate in self._flows.values():
            gate.set()
        self._budget: dict[Direction, int | None] = {"to_server": None, "to_client": None}
        self._delay = 0.0
        self._pairs: set[_Pair] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def open_connections(self) -> int:
        """How many connections are open."""
        return len(self._pairs)

    def start(self) -> None:
        """Begins to accept."""
        self._thread.start()
        self.accept_again()

    def close(self) -> None:
        """Ends everything; no thread and no socket is left."""
        self._run(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)
        self._loop.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def cut(self) -> None:
        """Resets every connection there is (RST on both sides); new ones are accepted."""
        self._run(self._cut)

    def refuse(self) -> None:
        """Closes the listening socket and resets every connection; new ones are refused."""
        self._run(self._refuse)

    def accept_again(self) -> None:
        """Ends `refuse`, on the same port."""
        self._run(self._listen)

    def stall(self, direction: Directions = "both") -> None:
        """Bytes stop flowing, connections stay open, and new ones are accepted but silent."""
        self._run(lambda: self._open_gates(direction, False))

    def resume(self) -> None:
        """Ends `stall` in both directions; what was held back is delivered."""
        self._run(lambda: self._open_gates("both", True))

    def drop_after(self, count: int, direction: Directions = "both") -> None:
        """Lets exactly `count` more bytes pass in one direction, then closes every connection, once."""
        self._run(lambda: self._set_budget(count, direction))

    def delay(self, seconds: float) -> None:
        """From now on every byte arrives that much later, in each direction; the throughput stays."""
        self._delay = seconds

    def _run(self, action: Callable[[], object]) -> None:
        async def call() -> None:
            outcome = action()
            if asyncio.iscoroutine(outcome):
                await outcome

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(_CALL_SECONDS)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accepted, LOOPBACK, self.port)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _end(self) -> None:
        await self._refuse()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:  # one may just be accepted
            await asyncio.wait(others, timeout=0.1)
            await self._cut()

    async def _cut(self) -> None:
        pairs = list(self._pairs)
        for pair in pairs:
            pair.end(abruptly=True)
        await asyncio.gather(*(pair.over.wait() for pair in pairs))

    def _open_gates(self, direction: Directions, flow: bool) -> None:
        for each in _expand(direction):
            if flow:
                self._flows[each].set()
            else:
                self._flows[each].clear()

    def _set_budget(self, count: int, direction: Directions) -> None:
        for each in _expand(direction):
            self._budget[each] = count

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # accepted in the moment in which `refuse` came
            _reset_on_close(writer)
            writer.transport.abort()
            return
        self.connections += 1
        pair = _Pair(writer)
        self._pairs.add(pair)
        try:
            await self._connect(pair, reader, writer)
            await asyncio.gather(*pair.pumps, return_exceptions=True)
            await pair.closed()
        finally:
            self._pairs.discard(pair)
            pair.over.set()

    async def _connect(self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            pair.end(abruptly=True)
            return
        pair.writers.append(server_writer)
        if pair.ended:  # cut while the target was dialled
            pair.end(abruptly=True)
            return
        pair.pumps = [
            asyncio.create_task(self._pump("to_server", pair, reader, server_writer)),
            asyncio.create_task(self._pump("to_client", pair, server_reader, writer)),
        ]

    async def _pump(
        self, direction: Direction, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One direction of one connection: reads ahead a little, writes when it is time and allowed."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED_CHUNKS)

        async def read() -> None:
            chunk = b"-"
            while chunk:
                try:
                    chunk = await reader.read(_CHUNK)
                except OSError:
                    chunk = b""
                await queue.put((self._loop.time() + self._delay, chunk))

        reading = asyncio.create_task(read())
        try:
            while True:
                due, chunk = await queue.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await self._flows[direction].wait()
                if not chunk:
                    writer.write_eof()
                    return
                await self._forward(direction, chunk, writer)
        except OSError:
            pair.end(abruptly=True)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _forward(self, direction: Direction, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        budget = self._budget[direction]
        if budget is not None:
            chunk = chunk[:budget]
            self._budget[direction] = budget - len(chunk)
        self.bytes[direction] += len(chunk)
        writer.write(chunk)
        await writer.drain()
        if self._budget[direction] == 0:
            self._budget = {"to_server": None, "to_client": None}
            for pair in list(self._pairs):
                pair.end(abruptly=False)


class _Pair:
    """The two sockets of one forwarded connection, and the two tasks that pump between them."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.pumps: list[asyncio.Task[None]] = []
        self.over = asyncio.Event()
        self.ended = False

    def end(self, *, abruptly: bool) -> None:
        """Ends both sides: `abruptly` at once with RST, otherwise after what was written went out."""
        self.ended = True
        for writer in self.writers:
            if abruptly:
                _reset_on_close(writer)
                writer.transport.abort()
            else:
                writer.close()
        for pump in self.pumps:
            pump.cancel()

    async def closed(self) -> None:
        """Closes what is still open once both directions have ended, and waits until it is closed."""
        for writer in self.writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    """SO_LINGER with no time: closing sends RST, and nothing waits for anything."""
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _expand(direction: Directions) -> tuple[Direction, ...]:
    return ("to_server", "to_client") if direction == "both" else (direction,)
