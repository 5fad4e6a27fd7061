"""Asks the probes of a service, at a steady rate, until it is ready; a process of its own.

Every request has a connection of its own, as a kubelet's has, and its latency runs from opening that to
the end of the answer. A second, idle server is asked in between: what it takes is the machine's share.
Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from hybridsync.embedded.ports import LOOPBACK

TIMEOUT_SECONDS = 1.0
"""What Kubernetes gives a probe by default."""

_IDLE = "idle"
_ORDER = ("/health/live", "/health/ready")
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@dataclass(slots=True)
class Probes:
    """Seconds by path, and one line for each answer that should not have come."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {path: [] for path in (*_ORDER, _IDLE)})
    failures: list[str] = field(default_factory=list)
    listening: bool = False
    ready: bool = False


async def probe(port: int, idle_port: int, rate: float) -> Probes:
    """Asks `rate` times a second, half as often the idle server, until the service is ready."""
    probes = Probes()
    tasks: set[asyncio.Task[None]] = set()
    begin = time.monotonic()
    sent = 0
    while not probes.ready:
        await asyncio.sleep(max(0.0, begin + sent / rate - time.monotonic()))
        tasks.add(asyncio.create_task(_ask(port, _ORDER[sent % 2], probes)))
        if sent % 2:
            tasks.add(asyncio.create_task(_ask(idle_port, _IDLE, probes)))
        tasks = {task for task in tasks if not task.done()}
        sent += 1
    await asyncio.gather(*tasks)
    return probes


async def _ask(port: int, path: str, probes: Probes) -> None:
    began = time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            status = await _status(port, path)
    except (OSError, TimeoutError, ValueError) as error:
        if probes.listening:
            probes.failures.append(f"{path}: {type(error).__name__} {error}".strip())
        return
    if path != _IDLE:
        probes.listening = True
    if not probes.listening:
        return
    probes.seconds[path].append(time.monotonic() - began)
    if path == "/health/ready" and status == 200:
        probes.ready = True
    elif status != 200 and not (path == "/health/ready" and status == 503):
        probes.failures.append(f"{path}: status {status}")


async def _status(port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


async def serve_idle(port: int) -> None:
    """The idle server; runs until it is ended."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_ANSWER)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, LOOPBACK, port) as server:
        await server.serve_forever()


def main() -> None:
    """Probes, or serves with `--idle`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--idle-port", type=int, required=True)
    parser.add_argument("--port", type=int, help="of the service; without it, be the idle server")
    parser.add_argument("--rate", type=float, default=50.0)
    options = parser.parse_args()
    if options.port is None:
        asyncio.run(serve_idle(options.idle_port))
        return
    probes = asyncio.run(probe(options.port, options.idle_port, options.rate))
    told: dict[str, Any] = {"seconds": probes.seconds, "failures": probes.failures}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
