"""Why there is no connection: told at once, with address, reason and variable; one bad server stops no other."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from hybridsync.dirty import DirtySet
from hybridsync.embedded import ZooKeeperServer
from hybridsync.embedded.ports import LOOPBACK, free_port
from hybridsync.errors import SinkError, SourceDisconnected, SourceError
from hybridsync.sinks.zookeeper import ZooKeeperSink
from hybridsync.sources.zookeeper import ZooKeeperSource
from hybridsync.zookeeper import connection_thread, handler
from hybridsync.zookeeper.settings import SessionSettings
from tests.certificates import Certificates, make_certificates
from tests.eventually import eventually
from tests.proxy import TcpProxy
from tests.servers import GivenZooKeeper

Server = ZooKeeperServer | GivenZooKeeper
Proxies = Callable[[str, int], TcpProxy]

TOLD = "ZooKeeper server cannot be used"
VARIABLE = "HYBRIDSYNC_ZOOKEEPER_HOSTS"
BAD_NAMES = {
    "x" * 64 + ".example.org": "cannot be a host name",
    "a..b": "cannot be a host name",
    "no-such-host.invalid": "cannot be resolved",
}


async def connected_at_last(source: ZooKeeperSource) -> None:
    """Connects however often it takes; an error that names SASL is for the test."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await source.connect()
            except SourceError as error:
                if "SASL" in str(error):
                    raise


@contextmanager
def listening_and_silent() -> Iterator[str]:
    """Takes connections, and says nothing."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield f"{LOOPBACK}:{server.getsockname()[1]}"


@contextmanager
def listening_and_hanging_up() -> Iterator[str]:
    """Takes connections and closes them, as a server without a quorum does."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"{LOOPBACK}:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


async def test_a_refused_connection_is_in_trouble_within_a_second_and_told_once() -> None:
    address = f"{LOOPBACK}:{free_port()}"
    source = ZooKeeperSource(SessionSettings(hosts=address), path="/a")
    sink = ZooKeeperSink(SessionSettings(hosts=address), path="/a")
    with structlog.testing.capture_logs() as logs:
        connecting = [asyncio.create_task(source.connect()), asyncio.create_task(sink.prepare())]
        try:
            for one in (source, sink):
                await eventually(lambda: one.trouble is not None)  # noqa: B023
                assert one.trouble is not None
                for part in (address, "Connection refused", VARIABLE):
                    assert part in one.trouble
                assert "\n" not in one.trouble
            assert not connecting[0].done(), "it was told before anybody gave up"
            with pytest.raises(SourceDisconnected, match=f"{address}: Connection refused"):
                await connecting[0]
        finally:
            connecting[1].cancel()
            await asyncio.gather(*connecting, return_exceptions=True)
            await source.close()
            await sink.close()
    told = [entry for entry in logs if entry["event"] == TOLD]
    assert [entry["reason"] for entry in told] == ["Connection refused"] * 2, "one of each session"


@pytest.mark.parametrize(("host", "why"), BAD_NAMES.items())
async def test_a_bad_host_name_beside_a_good_one_is_named_and_does_no_harm(
    zookeeper_server: Server, zk_root: str, host: str, why: str
) -> None:
    for hosts in (f"{host}:2181,{zookeeper_server.hosts}", f"{zookeeper_server.hosts},{host}:2181"):
        source = ZooKeeperSource(SessionSettings(hosts=hosts), path=zk_root)
        with structlog.testing.capture_logs() as logs:
            try:
                await source.connect()
                async with source.watch(DirtySet()) as watch:
                    await watch.probe()
                assert source.trouble is None
            finally:
                await source.close()
        told = [entry for entry in logs if entry["event"] == TOLD]
        assert [entry["address"] for entry in told] == [f"{host}:2181"]
        assert why in told[0]["reason"]


async def test_only_bad_host_names_are_all_named() -> None:
    source = ZooKeeperSource(SessionSettings(hosts=",".join(BAD_NAMES)), path="/a")
    source._session.deadline_seconds = 3.0
    try:
        with pytest.raises(SourceDisconnected) as refused:
            await source.connect()
        for host, why in BAD_NAMES.items():
            assert host in str(refused.value)
            assert why in str(refused.value)
        assert source.trouble is not None
        assert VARIABLE in source.trouble
    finally:
        await source.close()


@pytest.mark.parametrize("silent", [listening_and_silent, listening_and_hanging_up])
async def test_a_dead_server_beside_a_live_one_is_passed_by(
    zookeeper_server: Server, zk_root: str, silent: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_thread, "HANDSHAKE_SECONDS", 0.5)
    with silent() as dead:  # type: ignore[attr-defined]
        for _ in range(4):
            source = ZooKeeperSource(SessionSettings(hosts=f"{dead},{zookeeper_server.hosts}"), path=zk_root)
            try:
                await source.connect()
            finally:
                await source.close()


async def test_servers_that_take_the_connection_and_say_nothing_are_named_with_that() -> None:
    with listening_and_silent() as silent, listening_and_hanging_up() as without_quorum:
        source = ZooKeeperSource(SessionSettings(hosts=f"{silent},{without_quorum}"), path="/a")
        try:
            connecting = asyncio.create_task(source.connect())
            for told in (
                f"{silent}: it took the connection and gave no answer within",
                f"{without_quorum}: it closed the connection in the middle of the handshake",
            ):
                await eventually(lambda: told in (source.trouble or ""))  # noqa: B023
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
        finally:
            await source.close()


@pytest.mark.parametrize("away", ["refusing", "silent"])
async def test_a_server_that_was_away_for_long_is_back_at_once(
    zookeeper_server: Server, zk_root: str, proxy_factory: Proxies, away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it was asked in vain: the wait between two rounds has come to the most it can be."""
    proxy = proxy_factory(LOOPBACK, zookeeper_server.port)
    source = ZooKeeperSource(SessionSettings(hosts=proxy.address, timeout_seconds=60.0), path=zk_root)
    try:
        failures = 0
        note = source._session._trouble.note

        def counting(address: str, reason: str) -> None:
            nonlocal failures
            failures += 1
            note(address, reason)

        monkeypatch.setattr(source._session._trouble, "note", counting)
        await source.connect()
        proxy.refuse() if away == "refusing" else proxy.stall()
        source._session.drop_connection(source._session.epoch)
        assert connection_thread.MAX_RETRY_SECONDS * 1.4 + handler.HANDSHAKE_SECONDS < 5
        await eventually(lambda: failures >= (8 if away == "refusing" else 2))
        proxy.accept_again() if away == "refusing" else proxy.resume()
        await connected_at_last(source)
    finally:
        await source.close()


async def test_one_live_server_among_two_that_drop_packets_is_found_in_the_first_round(
    zookeeper_server: Server, zk_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses of TEST-NET, where nobody answers: each alone would cost its whole deadline."""
    monkeypatch.setattr("random.shuffle", lambda addresses: None)
    hosts = f"192.0.2.1:2181,192.0.2.2:2181,{zookeeper_server.hosts}"
    source = ZooKeeperSource(SessionSettings(hosts=hosts), path=zk_root)
    with structlog.testing.capture_logs() as logs:
        try:
            await source.connect()
        finally:
            await source.close()
    assert not [entry for entry in logs if entry["event"] == TOLD and "no answer" in entry["reason"]]


@pytest.fixture
def sasl_server(tmp_path: Path) -> Iterator[ZooKeeperServer]:
    provider = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
    options = ["-Dzookeeper.sessionRequireClientSASLAuth=true"]
    with ZooKeeperServer(tmp_path / "sasl", jvm_options=options, extra_config=[provider]) as server:
        yield server


@pytest.mark.parametrize("auth", [None, "digest:me:hunter22"])
async def test_a_server_that_wants_sasl_says_so(sasl_server: ZooKeeperServer, auth: str | None) -> None:
    source = ZooKeeperSource(SessionSettings(hosts=sasl_server.hosts, auth=auth), path="/a")
    sink = ZooKeeperSink(SessionSettings(hosts=sasl_server.hosts, auth=auth), path="/a")
    source._session.deadline_seconds = sink._session.deadline_seconds = 5.0
    try:
        with pytest.raises(SourceError, match="SASL"):
            await connected_at_last(source)
        with pytest.raises(SinkError, match="SASL"):
            await sink.prepare()
        for one in (source, sink):
            await eventually(lambda: "SASL" in (one.trouble or ""))  # noqa: B023
    finally:
        await source.close()
        await sink.close()


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path / "certificates", "localhost")


async def test_a_certificate_authority_that_is_replaced_in_place_is_taken_up(
    tmp_path: Path, certificates: Certificates
) -> None:
    other = make_certificates(tmp_path / "other", "localhost")
    used = tmp_path / "ca.pem"
    used.write_bytes(other.ca.read_bytes())
    with ZooKeeperServer(tmp_path / "server", tls=certificates.for_server()) as server:
        hosts = f"localhost:{server.tls_port}"
        source = ZooKeeperSource(SessionSettings(hosts=hosts, tls_ca=str(used)), path="/")
        try:
            connecting = asyncio.create_task(source.connect())
            await eventually(lambda: "TLS: certificate verify failed" in (source.trouble or ""))
            used.write_bytes(b"-----BEGIN CERTIFICATE-----\nbroken in between")
            await asyncio.gather(connecting, return_exceptions=True)
            used.write_bytes(certificates.ca.read_bytes())
            await source.connect()
        finally:
            await source.close()


async def test_a_client_certificate_that_is_replaced_in_place_is_taken_up(
    tmp_path: Path, certificates: Certificates
) -> None:
    other = make_certificates(tmp_path / "other", "localhost")
    certificate, key = tmp_path / "client.pem", tmp_path / "key.pem"
    certificate.write_bytes(other.client_certificate.read_bytes())
    key.write_bytes(other.client_key.read_bytes())
    with ZooKeeperServer(tmp_path / "server", tls=certificates.for_server("need")) as server:
        settings = SessionSettings(
            hosts=f"localhost:{server.tls_port}",
            tls_ca=str(certificates.ca),
            tls_cert=str(certificate),
            tls_key=str(key),
        )
        source = ZooKeeperSource(settings, path="/")
        with structlog.testing.capture_logs() as logs:
            try:
                connecting = asyncio.create_task(source.connect())
                await eventually(lambda: source.trouble is not None)
                certificate.write_bytes(certificates.client_certificate.read_bytes())  # its key is not there yet
                await eventually(
                    lambda: any("cannot be used" in one["event"] and "TLS files" in one["event"] for one in logs)
                )
                key.write_bytes(certificates.client_key.read_bytes())
                await asyncio.gather(connecting, return_exceptions=True)
                await source.connect()
            finally:
                await source.close()
