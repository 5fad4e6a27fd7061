"""Where ZooKeeper should be there is something else, or it lets nobody in: no busy loop, and the reason is shown."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pymongo.database import Database

from hybridsync.embedded import MongoServer, ZooKeeperServer
from hybridsync.embedded.ports import LOOPBACK
from tests.faults.conftest import NewScene
from tests.faults.scene import Scene
from tests.servers import GivenMongo
from tests.service import wait_until

Behaviour = Callable[[socket.socket], None]

WINDOW_SECONDS = 8.0
MOST_CONNECTIONS_A_SECOND = 6.0


@dataclass
class StrangeServer:
    """Accepts connections and treats each in its own way, then closes it."""

    behaviour: Behaviour
    listener: socket.socket = field(default_factory=lambda: socket.create_server((LOOPBACK, 0)))
    accepted: list[float] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        """Until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.accepted.append(time.monotonic())
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    self.behaviour(connection)


@contextmanager
def strange(behaviour: Behaviour) -> Iterator[StrangeServer]:
    """A strange server for the length of a block."""
    server = StrangeServer(behaviour)
    thread = threading.Thread(target=server.serve, name="strange", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        thread.join(20)


def closes_at_once(connection: socket.socket) -> None:
    """Not a word."""


def talks_http(connection: socket.socket) -> None:
    """Something that is no ZooKeeper at all."""
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def answers_with_noise(connection: socket.socket) -> None:
    """A short frame that is no answer to a handshake."""
    connection.recv(4096)
    connection.sendall(struct.pack(">i", 5) + b"\xff\xfe\xfd\xfc\xfb")


def shakes_hands_and_hangs_up(connection: socket.socket) -> None:
    """A session is granted, and the connection closed: what an overloaded server or a proxy does."""
    connection.recv(4096)
    handshake = struct.pack(">iiqi16s?", 0, 2000, 0x1234, 16, b"p" * 16, False)
    connection.sendall(struct.pack(">i", len(handshake)) + handshake)


@pytest.mark.parametrize("behaviour", [closes_at_once, talks_http, answers_with_noise, shakes_hands_and_hangs_up])
def test_it_tries_at_a_calm_pace_and_says_why_it_is_not_ready(new_scene: NewScene, behaviour: Behaviour) -> None:
    scene = new_scene()
    scene.populate(20)
    with strange(behaviour) as server:
        service = scene.another_service(ZOOKEEPER_HOSTS=f"{LOOPBACK}:{server.port}")
        with service, scene.recorder(service):
            wait_until(lambda: server.accepted, "it connects")
            began = server.accepted[0]
            wait_until(lambda: time.monotonic() - began > WINDOW_SECONDS, "the window is over")
            entry = wait_until(lambda: (entry := service.resource())["error"] and entry, "it says why")

            assert re.search(rf": {LOOPBACK}:{server.port}: \w", entry["error"]), entry["error"]
            assert entry["status"] == "never"
            assert service.get("/health/ready")[0] == 503
            assert service.get("/health")[1]["status"] == "degraded"
            tries = sum(1 for moment in list(server.accepted) if moment < began + WINDOW_SECONDS)
            assert 1 < tries <= WINDOW_SECONDS * MOST_CONNECTIONS_A_SECOND
            assert cpu_seconds(service.pid) < 4.0 + WINDOW_SECONDS / 3
            assert service.terminate() == 0
        assert "Traceback" not in service.stderr


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, its start included."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.fixture
def narrow_scene(
    tmp_path: Path, mongo_server: MongoServer | GivenMongo, mongo_database: Database[dict[str, object]]
) -> Iterator[Scene]:
    """On a ZooKeeper that takes one connection from each address, and the test has it."""
    with (
        ZooKeeperServer(tmp_path / "narrow", extra_config=["maxClientCnxns=1"]) as zookeeper,
        Scene(zookeeper.port, mongo_server.port, mongo_database.name, "/services") as scene,
    ):
        yield scene


def test_it_gets_in_when_the_connection_limit_of_the_server_allows(narrow_scene: Scene) -> None:
    scene = narrow_scene
    scene.populate(50)
    with scene.service, scene.recorder():
        entry = wait_until(lambda: (entry := scene.service.resource())["error"] and entry, "it says why")
        assert scene.zk_proxy.address in entry["error"]
        assert scene.service.get("/health/ready")[0] == 503

        scene.disconnect()
        scene.service.wait_ready()
        assert scene.collection.count_documents({}) == 52
