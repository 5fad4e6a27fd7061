"""`Ensemble`: three private ZooKeeper servers that elect a leader.

In a `linked` one, what a follower hears of its leader comes through a `TcpProxy` (`quorum_link`), which a test
slows down or refuses. Votes travel on other ports, directly: a server whose links are refused knows who
leads and still cannot follow, which is what a partition does to its clients.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from hybridsync.embedded import ZooKeeperServer
from hybridsync.embedded.ports import LOOPBACK, free_port
from tests.proxy import TcpProxy
from tests.servers import SUPER_PASSWORD
from tests.service import wait_until

TICK_MILLISECONDS = 500
READ_ONLY = "-Dreadonlymode.enabled=true"
"""A JVM option: a server without a quorum then serves clients that ask for no more than reading."""


class Peer(ZooKeeperServer):
    """One server of an ensemble. `start` returns when it serves, which takes a quorum."""

    def __init__(self, directory: Path, number: int, jvm_options: Sequence[str]) -> None:
        super().__init__(
            directory,
            free_port(),  # the others and the clients know it from the beginning
            tick_time_ms=TICK_MILLISECONDS,
            heap_mb=128,
            super_password=SUPER_PASSWORD,
            jvm_options=jvm_options,
        )
        self.number = number
        self.quorum_port = free_port()
        self.election_port = free_port()
        self.seen: dict[int, tuple[int, int]] = {}
        """Number of each peer → the ports at which this one finds it: quorum, election."""

    @property
    def mode(self) -> str:
        """`leader`, `follower`, `read-only`; empty while it serves nobody."""
        with suppress(OSError):
            found = re.search(r"^Mode: (\S+)", self.ask("srvr"), re.MULTILINE)
            return found[1] if found else ""
        return ""

    def count(self, name: str) -> int:
        """One number of `mntr`. Raises `OSError` while the server serves nobody."""
        found = re.search(rf"^{name}\t(\d+)", self.ask("mntr"), re.MULTILINE)
        if found is None:
            raise OSError(f"server {self.number} serves nobody")
        return int(found[1])

    def _command(self) -> list[str]:
        (self.data / "myid").write_text(f"{self.number}\n", encoding="ascii")
        return super()._command()

    def _configuration(self) -> list[str]:
        peers = [f"server.{number}={LOOPBACK}:{ports[0]}:{ports[1]}" for number, ports in sorted(self.seen.items())]
        return [*super()._configuration(), "initLimit=20", "syncLimit=10", *peers]


class Ensemble:
    """Use as `with`: all three are started, and killed at the end. `jvm_options` are for each of them.

    Do not kill the leader of a `linked` one: a proxy accepts before the next leader does, so the follower
    thinks that it has found it, and the election takes ten seconds more.
    """

    def __init__(self, directory: Path, *, linked: bool = False, jvm_options: Sequence[str] = ()) -> None:
        self._linked = linked
        self.servers = [Peer(directory / f"server-{number}", number, jvm_options) for number in (1, 2, 3)]
        self._links: dict[tuple[int, int], TcpProxy] = {}
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with self._exits:
            for one in self.servers:
                one.seen = {peer.number: self._ports(one, peer) for peer in self.servers}
            self._exits.callback(lambda: at_once(Peer.kill, self.servers))
            at_once(Peer.start, self.servers)
            self._exits = self._exits.pop_all()
        return self

    def _ports(self, one: Peer, peer: Peer) -> tuple[int, int]:
        if one is peer or not self._linked:
            return peer.quorum_port, peer.election_port
        link = self._exits.enter_context(TcpProxy(LOOPBACK, peer.quorum_port))
        self._links[one.number, peer.number] = link
        return link.port, peer.election_port

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    @property
    def hosts(self) -> str:
        """What a client connects to, without any proxy."""
        return ",".join(one.address for one in self.servers)

    def wait_leader(self) -> Peer:
        """The server that leads now."""
        return wait_until(lambda: next((one for one in self.servers if one.mode == "leader"), None), "one leads")

    def followers(self) -> list[Peer]:
        """The two others, once they follow."""

        def following() -> list[Peer]:
            found = [one for one in self.servers if one.mode == "follower"]
            assert len(found) == 2, {one.number: one.mode for one in self.servers}
            return found

        return wait_until(following, "two follow")

    def quorum_link(self, follower: Peer, leader: Peer) -> TcpProxy:
        """The connection through which `follower` follows `leader`."""
        return self._links[follower.number, leader.number]

    def make_whole(self) -> None:
        """Starts what is down, thaws what is frozen, mends the links; returns when a leader has two followers."""
        for link in self._links.values():
            link.delay(0.0)
            link.resume()
            link.accept_again()
        for one in self.servers:
            if one.running:
                one.resume()
        at_once(Peer.start, self.servers)
        self.wait_leader()
        self.followers()


def at_once(act: Callable[[Peer], None], servers: Sequence[Peer]) -> None:
    """The same for several servers at the same time: none serves before a quorum is there."""
    with ThreadPoolExecutor(len(servers)) as threads:
        list(threads.map(act, servers))
