"""The demo's two servers, where they keep their data, and the settings that point at them."""

from __future__ import annotations

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hybridsync.embedded import MongoServer, ZooKeeperServer, find_mongod, find_zookeeper, sample_tree
from hybridsync.embedded.ports import free_port
from hybridsync.errors import ConfigurationError
from hybridsync.settings import Settings, load_settings
from hybridsync.zookeeper.loader import create_many

HOME = Path(".hybridsync")
DATABASE = "hybridsync"
_ADDRESSES = "demo.json"
_KEPT = ("HYBRIDSYNC_HTTP_", "HYBRIDSYNC_LOG_")
"""Of the caller's own variables the demo obeys these; the others may point at servers that matter."""


class DemoServers:
    """A ZooKeeper and a MongoDB for one demo in this working directory."""

    def __init__(self) -> None:
        # before anything is started: a missing server is one line that says what to install
        find_zookeeper()
        find_mongod()
        self.zookeeper = ZooKeeperServer(HOME / "zookeeper")
        self.mongodb = MongoServer(HOME / "mongodb")
        self._announced = False

    @property
    def mongodb_uri(self) -> str:
        """The database of the mirrors."""
        return self.mongodb.uri_for(DATABASE)

    def start(self) -> int:
        """Starts both, loads the sample tree and tells how many znodes are new. Blocks for some seconds."""
        with ThreadPoolExecutor(2) as pool:
            for started in [pool.submit(server.start) for server in (self.zookeeper, self.mongodb)]:
                started.result()
        addresses = {"zookeeper": self.zookeeper.hosts, "mongodb": self.mongodb_uri}
        (HOME / _ADDRESSES).write_text(json.dumps(addresses), encoding="utf-8")
        self._announced = True
        return create_many(self.zookeeper.hosts, sample_tree())

    def stop(self) -> None:
        """Stops both in good order. Blocks for some seconds."""
        if self._announced:  # a demo that could not start here must not touch the one that runs
            (HOME / _ADDRESSES).unlink(missing_ok=True)
        with ThreadPoolExecutor(2) as pool:
            for server in (self.zookeeper, self.mongodb):
                pool.submit(server.stop)

    def settings(self) -> Settings:
        """The service's settings: one resource for each branch of the sample tree."""
        branches = sorted({path.split("/")[1] for path, _ in sample_tree()})
        environ = {name: value for name, value in os.environ.items() if name.upper().startswith(_KEPT)}
        environ.setdefault("HYBRIDSYNC_HTTP_PORT", str(_http_port()))
        environ |= {
            "HYBRIDSYNC_ZOOKEEPER_HOSTS": self.zookeeper.hosts,
            "HYBRIDSYNC_MONGODB_URI": self.mongodb_uri,
            "HYBRIDSYNC_RESOURCES": json.dumps(
                {name: {"source": {"type": "zookeeper", "path": f"/{name}"}} for name in branches}
            ),
        }
        return load_settings(environ, require_resources=True).settings


def addresses() -> tuple[str, str]:
    """ZooKeeper's hosts and MongoDB's URI of the demo that runs in this directory."""
    try:
        known = json.loads((HOME / _ADDRESSES).read_text(encoding="utf-8"))
        return str(known["zookeeper"]), str(known["mongodb"])
    except (OSError, ValueError, KeyError):
        raise ConfigurationError("no demo runs in this directory: start one with 'hybridsync demo'") from None


def _http_port(wanted: int = 3000) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
    return wanted
