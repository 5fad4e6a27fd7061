"""Private servers: they answer when started, keep their data, obey, and never outlive their parent."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymongo
import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl
from pymongo.database import Database
from pymongo.errors import PyMongoError

from hybridsync.embedded import MongoServer, ZooKeeperServer, sample_tree
from hybridsync.embedded.ports import LOOPBACK, free_port
from hybridsync.embedded.process import Server
from hybridsync.errors import ConfigurationError, HybridSyncError
from tests.certificates import make_certificates
from tests.eventually import eventually
from tests.servers import SUPER_PASSWORD, connected

SERVERS = [pytest.param(ZooKeeperServer, id="zookeeper"), pytest.param(MongoServer, id="mongodb")]


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits for its parent does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def accepts(server: Server) -> bool:
    try:
        with socket.create_connection((LOOPBACK, server.port), timeout=5):
            return True
    except OSError:
        return False


def mongo_client(server: MongoServer) -> pymongo.MongoClient[dict[str, Any]]:
    return pymongo.MongoClient(server.uri, serverSelectionTimeoutMS=1_000, socketTimeoutMS=1_000)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_stopped_server_leaves_no_process_and_no_listener(kind: type[Server], tmp_path: Path) -> None:
    with kind(tmp_path) as server:
        pid = server.pid
        assert pid is not None
        assert is_alive(pid)
        assert accepts(server)
    assert not server.running
    assert server.pid is None
    assert not is_alive(pid)
    assert not accepts(server)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_paused_server_can_be_stopped(kind: type[Server], tmp_path: Path) -> None:
    with kind(tmp_path) as server:
        pid = server.pid
        server.pause()
        server.stop()
        assert pid is not None
        assert not is_alive(pid)


@pytest.mark.parametrize("kind", SERVERS)
def test_starting_and_stopping_twice_changes_nothing(kind: type[Server], tmp_path: Path) -> None:
    with kind(tmp_path) as server:
        pid = server.pid
        server.start()
        assert server.pid == pid
        server.stop()
        server.stop()
        server.kill()
        with pytest.raises(HybridSyncError, match="is not running"):
            server.pause()


@pytest.mark.parametrize("kind", SERVERS)
def test_data_of_a_running_server_is_not_deleted(kind: type[Server], tmp_path: Path) -> None:
    with kind(tmp_path) as server:
        with pytest.raises(HybridSyncError, match="stop it before"):
            server.wipe()
        assert list(server.data.iterdir())


@pytest.mark.parametrize("kind", SERVERS)
def test_two_servers_never_share_a_directory(kind: type[Server], tmp_path: Path) -> None:
    with kind(tmp_path) as server:
        other = kind(tmp_path)
        with pytest.raises(ConfigurationError, match="is in use by another running"):
            other.start()
        assert not other.running
        assert server.running


@pytest.mark.parametrize("kind", SERVERS)
def test_a_given_port_that_is_taken_is_an_error_with_the_end_of_the_log(kind: type[Server], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        server = kind(tmp_path, taken.getsockname()[1])
        with pytest.raises(HybridSyncError, match=r"exit code .* says: .*Address already in use") as failure:
            server.start()
    assert "\n" not in str(failure.value)
    assert not server.running


@pytest.mark.parametrize("kind", SERVERS)
def test_a_chosen_port_that_was_taken_meanwhile_is_chosen_again(kind: type[Server], tmp_path: Path) -> None:
    server = kind(tmp_path)
    lost = server.port
    with socket.socket() as taken:
        taken.bind((LOOPBACK, lost))
        taken.listen()
        with server:
            assert server.port != lost
            assert accepts(server)


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_server_dies_with_a_parent_that_is_killed(kind: type[Server], tmp_path: Path) -> None:
    program = f"""
        import os, pathlib, signal
        from hybridsync.embedded import {kind.__name__}
        server = {kind.__name__}(pathlib.Path({str(tmp_path)!r}))
        server.start()
        print(server.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    pid = run_and_read_pid(program, -signal.SIGKILL)
    await eventually(lambda: not is_alive(pid), what=f"{kind.name} with process id {pid} ends with its parent")


async def test_a_server_dies_with_a_parent_that_forgot_it(tmp_path: Path) -> None:
    program = f"""
        import pathlib
        from hybridsync.embedded import ZooKeeperServer
        server = ZooKeeperServer(pathlib.Path({str(tmp_path)!r}))
        server.start()
        print(server.pid, flush=True)
    """
    pid = run_and_read_pid(program, 0)
    await eventually(lambda: not is_alive(pid), what=f"ZooKeeper with process id {pid} ends with its parent")


def run_and_read_pid(program: str, expected_exit: int) -> int:
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert ended.returncode == expected_exit, ended.stderr
    return int(ended.stdout)


def test_a_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    server = ZooKeeperServer(tmp_path)
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join(100)
    try:
        assert not starter.is_alive()
        assert "Mode: standalone" in server.ask("srvr")
    finally:
        server.stop()


def test_zookeeper_keeps_its_data_through_restart_and_kill(own_zookeeper: ZooKeeperServer) -> None:
    with connected(own_zookeeper.hosts) as client:
        client.create("/kept", b"through")
    own_zookeeper.restart()
    own_zookeeper.kill()
    assert not own_zookeeper.running
    own_zookeeper.start()
    with connected(own_zookeeper.hosts) as client:
        assert client.get("/kept")[0] == b"through"


def test_zookeeper_has_nothing_left_after_a_wipe(own_zookeeper: ZooKeeperServer) -> None:
    with connected(own_zookeeper.hosts) as client:
        client.create("/gone", b"")
    own_zookeeper.stop()
    own_zookeeper.wipe()
    own_zookeeper.start()
    with connected(own_zookeeper.hosts) as client:
        assert client.exists("/gone") is None


def test_a_paused_zookeeper_accepts_and_stays_silent_until_it_is_resumed(own_zookeeper: ZooKeeperServer) -> None:
    own_zookeeper.pause()
    assert own_zookeeper.running
    assert accepts(own_zookeeper)
    with pytest.raises(TimeoutError):
        own_zookeeper.ask("srvr")
    own_zookeeper.resume()
    assert "Mode: standalone" in own_zookeeper.ask("srvr")


def test_a_session_of_one_second_is_granted_and_so_is_one_of_a_minute(own_zookeeper: ZooKeeperServer) -> None:
    for asked in (1.0, 60.0):
        client = KazooClient(hosts=own_zookeeper.hosts, timeout=asked)
        client.start(timeout=60)
        granted = client._session_timeout / 1000
        client.stop()
        client.close()
        assert granted == asked


def test_the_super_user_reads_what_an_acl_hides(own_zookeeper: ZooKeeperServer) -> None:
    with connected(own_zookeeper.hosts) as client:
        client.create("/hidden", b"secret", acl=[make_digest_acl("somebody", "else", all=True)])
    with connected(own_zookeeper.hosts, auth_data=[("digest", f"super:{SUPER_PASSWORD}")]) as client:
        assert client.get("/hidden")[0] == b"secret"


def test_zookeeper_takes_further_configuration_lines(tmp_path: Path) -> None:
    with ZooKeeperServer(tmp_path, extra_config=["maxSessionTimeout=7000"], force_sync=True) as server:
        assert "maxSessionTimeout=7000" in server.ask("conf")


@pytest.mark.parametrize("client_auth", ["none", "need"])
def test_zookeeper_speaks_tls_beside_its_plain_port(client_auth: str, tmp_path: Path) -> None:
    files = make_certificates(tmp_path / "tls", "localhost")
    with ZooKeeperServer(tmp_path / "zookeeper", tls=files.for_server(client_auth)) as server:
        secure = {"use_ssl": True, "ca": str(files.ca), "verify_certs": True, "check_hostname": True}
        with_certificate = {"certfile": str(files.client_certificate), "keyfile": str(files.client_key)}
        options = secure if client_auth == "none" else secure | with_certificate
        with connected(f"localhost:{server.tls_port}", **options) as client:
            client.create("/written", b"with TLS")
        with connected(server.hosts) as client:
            assert client.get("/written")[0] == b"with TLS"


def test_the_sample_tree_loads_in_the_order_in_which_it_is_given(zk: KazooClient, zk_root: str) -> None:
    tree = sample_tree()
    zk.create(zk_root)
    pending = [zk.create_async(f"{zk_root}{path}", data) for path, data in tree]
    for created in pending:
        created.get(timeout=60)
    path, data = tree[-1]
    assert zk.get(f"{zk_root}{path}")[0] == data


def test_mongodb_keeps_its_data_through_restart_and_kill(own_mongodb: MongoServer) -> None:
    journaled = pymongo.WriteConcern(w="majority", j=True)
    with mongo_client(own_mongodb) as client:
        client["d"].get_collection("c", write_concern=journaled).insert_one({"_id": "kept"})
    own_mongodb.restart()
    own_mongodb.kill()
    assert not own_mongodb.running
    own_mongodb.start()
    with mongo_client(own_mongodb) as client:
        assert client["d"]["c"].count_documents({"_id": "kept"}) == 1


def test_mongodb_data_can_be_used_on_another_port(tmp_path: Path) -> None:
    first = MongoServer(tmp_path)
    with first, mongo_client(first) as client:
        client["d"]["c"].insert_one({"_id": "kept"})
    second = MongoServer(tmp_path, free_port())
    assert second.port != first.port
    with second, mongo_client(second) as client:
        assert client["d"]["c"].count_documents({}) == 1


def test_mongodb_has_nothing_left_after_a_wipe(own_mongodb: MongoServer) -> None:
    with mongo_client(own_mongodb) as client:
        client["d"]["c"].insert_one({"_id": "gone"})
    own_mongodb.stop()
    own_mongodb.wipe()
    own_mongodb.start()
    with mongo_client(own_mongodb) as client:
        assert client["d"]["c"].count_documents({}) == 0
        client["d"]["c"].insert_one({"_id": "new"})


def test_a_paused_mongodb_accepts_and_stays_silent_until_it_is_resumed(own_mongodb: MongoServer) -> None:
    with mongo_client(own_mongodb) as client:
        client.admin.command("ping")
        own_mongodb.pause()
        assert own_mongodb.running
        with pytest.raises(PyMongoError):
            client.admin.command("ping")
        own_mongodb.resume()
    with mongo_client(own_mongodb) as client:
        assert client.admin.command("ping")["ok"] == 1


def test_mongodb_offers_change_streams_and_transactions(mongo_database: Database[dict[str, Any]]) -> None:
    collection = mongo_database["c"]
    collection.insert_one({"_id": 0})
    with collection.watch(max_await_time_ms=100) as changes:
        client = mongo_database.client
        with client.start_session() as session, session.start_transaction():
            collection.insert_one({"_id": 1}, session=session)
        deadline = time.monotonic() + 60
        change = None
        while change is None and time.monotonic() < deadline:
            change = changes.try_next()
    assert change is not None
    assert change["documentKey"] == {"_id": 1}


def test_a_test_has_a_path_and_a_database_of_its_own(
    zk: KazooClient, zk_root: str, mongo_database: Database[dict[str, Any]], mongo_uri: str
) -> None:
    assert re.fullmatch("/t-[0-9a-f]{8}", zk_root)
    assert zk.exists(zk_root) is None
    assert mongo_database.list_collection_names() == []
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(mongo_uri)
    with client:
        assert client.get_default_database().name == mongo_database.name


def test_a_proxy_carries_a_zookeeper_session(
    own_zookeeper: ZooKeeperServer, proxy_factory: Callable[[str, int], Any]
) -> None:
    proxy = proxy_factory(LOOPBACK, own_zookeeper.port)
    with connected(proxy.address) as client:
        client.create("/through", b"the proxy")
        assert client.get("/through")[0] == b"the proxy"
    assert proxy.connections == 1
