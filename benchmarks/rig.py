"""The servers of one run and what every benchmark does with them: trees, mirrors, one full sync.

Every contender gets a database of its own, dropped afterwards, and starts after a checkpoint of
MongoDB, so that none pays for what another one left behind.
"""

from __future__ import annotations

import compileall
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pymongo
from pymongo.collection import Collection
from pymongo.database import Database

from benchmarks import truth
from benchmarks.multiread import Znode
from benchmarks.tree import Tree, load
from hybridsync.embedded import MongoServer, ZooKeeperServer

ROOT = Path(__file__).resolve().parents[1]
COLLECTION = "mirror"
"""The resource, and with it the collection."""

HEAP_MB = 4096
"""Of ZooKeeper."""

CACHE_GB = 2
OPLOG_MB = 2048
"""Of MongoDB."""

_COMMAND_SECONDS = 1800.0

_JVM = (
    "-XX:TieredStopAtLevel=4",  # what a server in production has
    "-Dzookeeper.snapCount=100000000",  # no snapshot in the middle of a measurement
)


@dataclass(frozen=True, slots=True)
class Synced:
    """One full sync in a process of its own. `seconds`: of the sync itself; `process_seconds`: all of it."""

    seconds: float
    process_seconds: float
    result: Mapping[str, Any]


class _RoomyMongo(MongoServer):
    """The private server, with memory as a server in production has it: a million documents must fit."""

    def _command(self) -> list[str]:
        command = list(super()._command())
        for option, setting in (("--wiredTigerCacheSizeGB", str(CACHE_GB)), ("--oplogSize", str(OPLOG_MB))):
            command[command.index(option) + 1] = setting
        return command


class Rig:
    """Private servers with the trees that were asked for so far. Use it in a `with` block."""

    def __init__(self) -> None:
        self.load_before = os.getloadavg()[0]
        self._directory = tempfile.TemporaryDirectory(prefix="hybridsync-bench-")
        base = Path(self._directory.name)
        self.directory = base
        self.zookeeper = ZooKeeperServer(base / "zookeeper", heap_mb=HEAP_MB, jvm_options=_JVM)
        self.mongodb = _RoomyMongo(base / "mongodb")
        self._truths: dict[Tree, dict[str, Znode]] = {}
        self._databases = 0

    def __enter__(self) -> Self:
        compileall.compile_dir(ROOT / "hybridsync", quiet=2)  # as where it is installed, whatever the environment says
        try:
            self.zookeeper.start()
            self.mongodb.start()
        except BaseException:
            self._stop()
            raise
        self.client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(self.mongodb.uri)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self._stop()

    def _stop(self) -> None:
        self.mongodb.stop()
        self.zookeeper.stop()
        self._directory.cleanup()

    @property
    def hosts(self) -> str:
        """Where ZooKeeper listens."""
        return self.zookeeper.hosts

    def tree(self, size: int) -> Tree:
        """A tree of that size, loaded when it is asked for first."""
        tree = Tree(size)
        if tree not in self._truths:
            began = time.monotonic()
            load(self.hosts, tree)
            self.read_again(tree)
            say(f"loaded {tree.znodes:,} znodes in {time.monotonic() - began:.1f} s")
        return tree

    def read_again(self, tree: Tree) -> None:
        """Says that the tree was changed: what its mirror is compared with is read again."""
        self._truths[tree] = truth.tree_in(self.hosts, tree)
        gc.freeze()  # a million long-lived objects: not to be looked at again and again

    @contextmanager
    def database(self) -> Iterator[Database[dict[str, Any]]]:
        """A database that nobody has used before, dropped at the end."""
        self._databases += 1
        name = f"bench{self._databases}"
        try:
            self.settle()
            yield self.client[name]
        finally:
            self.client.drop_database(name)

    def settle(self) -> None:
        """Has MongoDB write its checkpoint now and not in the middle of a measurement."""
        self.client.admin.command("fsync")

    def check(self, tree: Tree, mirror: Collection[dict[str, Any]]) -> None:
        """Raises `NotEqual` unless the mirror is equal to the tree."""
        truth.check(self._truths[tree], mirror)

    def settings(self, tree: Tree, database: str, **more: str) -> dict[str, str]:
        """Variables, without the prefix, that mirror `tree` into `database`."""
        resources = {COLLECTION: {"source": {"type": "zookeeper", "path": tree.root}}}
        return {
            "ZOOKEEPER_HOSTS": self.hosts,
            "MONGODB_URI": self.mongodb.uri_for(database),
            "RESOURCES": json.dumps(resources),
            **more,
        }

    def sync(self, tree: Tree, database: str) -> Synced:
        """`hybridsync sync` in a process of its own. The clock of the sync starts once ZooKeeper is connected."""
        began = time.monotonic()
        output = run_process(["-m", "hybridsync", "sync", "--json"], environ(self.settings(tree, database)))
        elapsed = time.monotonic() - began
        result = json.loads(output)["results"][COLLECTION]
        if "error" in result or "warnings" in result or result["read"] != tree.znodes:
            raise RuntimeError(f"the full sync did not do its work: {result}")
        return Synced(result["durationSeconds"], elapsed, result)


def environ(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a hybridsync process with exactly these settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HYBRIDSYNC_")}
    return kept | {"PYTHONPATH": str(ROOT)} | {f"HYBRIDSYNC_{name}": value for name, value in settings.items()}


def run_process(arguments: Sequence[str], env: Mapping[str, str]) -> str:
    """Runs this Python with `arguments` and returns what it printed. Raises `RuntimeError` with its complaint."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=env,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(arguments)} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}"
        )
    return done.stdout


def say(text: str) -> None:
    """One line about how far it is, on stderr: stdout is for results."""
    print(text, file=sys.stderr, flush=True)
