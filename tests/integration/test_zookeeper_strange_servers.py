"""Servers that are too old, speak nonsense, refuse credentials, or are not who they say they are."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from hybridsync.dirty import DirtySet
from hybridsync.embedded import ZooKeeperServer
from hybridsync.embedded.zookeeper import TlsFiles
from hybridsync.errors import ConfigurationError, ListingFailed, SourceDisconnected, SourceError, SourceUnsupported
from hybridsync.model import Listing
from hybridsync.sources.zookeeper import ZooKeeperSource
from hybridsync.zookeeper.settings import SessionSettings
from tests.servers import GivenZooKeeper

Server = ZooKeeperServer | GivenZooKeeper
Answer = Callable[[int, int, bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def fake_server(answer: Answer) -> AsyncIterator[str]:
    """Accepts sessions and pings; everything else is `answer(xid, opcode, body, writer)`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            length = int.from_bytes(await reader.readexactly(4), "big")
            await reader.readexactly(length)
            hello = struct.pack("!iiqi", 0, 4000, 77, 16) + b"p" * 16 + b"\0"
            writer.write(struct.pack("!i", len(hello)) + hello)
            while True:
                length = int.from_bytes(await reader.readexactly(4), "big")
                xid, opcode = struct.unpack("!ii", (message := await reader.readexactly(length))[:8])
                if opcode == 11:
                    reply(writer, -2)
                elif opcode == -11:
                    reply(writer, xid)
                else:
                    await answer(xid, opcode, message[8:], writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def reply(writer: asyncio.StreamWriter, xid: int, body: bytes = b"", error: int = 0) -> None:
    header = struct.pack("!iqi", xid, 5, error)
    writer.write(struct.pack("!i", len(header) + len(body)) + header + body)


STAT = struct.pack("!qqqqiiiqiiq", *range(1, 9), 0, 0, 11)
END = struct.pack("!iBi", -1, 1, -1)
ROOT = struct.pack("!iBii", 4, 0, 0, 0) + STAT + END


async def test_a_server_older_than_3_6_is_named_as_such() -> None:
    """What `UnimplementedRequestProcessor` does: the error, then the connection is closed."""

    async def answer(xid: int, opcode: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        reply(writer, xid, error=-6)
        writer.close()

    async with fake_server(answer) as hosts:
        source = ZooKeeperSource(SessionSettings(hosts=hosts), path="/a")
        try:
            for _ in range(2):
                with pytest.raises(SourceUnsupported, match=rf"{hosts} is older than 3\.6"):
                    await source.connect()
        finally:
            await source.close()


async def test_a_server_without_recursive_watches_is_named_as_such() -> None:
    async def answer(xid: int, opcode: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        reply(writer, xid, ROOT) if opcode == 22 else reply(writer, xid, error=-6)

    async with fake_server(answer) as hosts:
        source = ZooKeeperSource(SessionSettings(hosts=hosts), path="/a")
        try:
            await source.connect()
            with pytest.raises(SourceUnsupported, match="AddWatch"):
                async with source.watch(DirtySet()):
                    pass
        finally:
            await source.close()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", 0),
        (END, 0),
        (ROOT[:-1], 0),
        (ROOT + b"\0", 0),
        (struct.pack("!iBii", 4, 0, 0, 2**31 - 1) + STAT + END, 0),
        (struct.pack("!iBii", -1, 0, -5, -5) + END, 0),
        (b"", -5),
        (b"", -112),
        (b"", -999_999),
    ],
    ids=["nothing", "no results", "cut", "too long", "huge length", "odd error", "marshalling", "expired", "unknown"],
)
async def test_an_answer_that_makes_no_sense_fails_the_listing(body: bytes, error: int) -> None:
    connected = False

    async def answer(xid: int, opcode: int, sent: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        if opcode == 22 and not connected:
            connected = True
            reply(writer, xid, ROOT)
        elif opcode == 22:
            reply(writer, xid, body, error)
        else:
            reply(writer, xid, struct.pack("!i", 2) + b"/a")

    async with fake_server(answer) as hosts:
        source = ZooKeeperSource(SessionSettings(hosts=hosts), path="/a")
        try:
            await source.connect()
            with pytest.raises(SourceError) as failed:
                async for _ in source.list(Listing()):
                    pass
            if error in (0, -5):
                assert isinstance(failed.value, ListingFailed)
            assert "\n" not in str(failed.value)
        finally:
            await source.close()


@pytest.mark.parametrize("event", [b"", struct.pack("!iii", 3, 3, 9) + b"/a", struct.pack("!iii", 7, 3, 2) + b"/a"])
async def test_an_event_that_makes_no_sense_is_a_gap(event: bytes) -> None:
    """It could have been any change, or the end of the watch."""

    async def answer(xid: int, opcode: int, sent: bytes, writer: asyncio.StreamWriter) -> None:
        if opcode == 22:
            reply(writer, xid, ROOT)
        else:
            reply(writer, xid, struct.pack("!i", 0))
            reply(writer, -1, event)

    async with fake_server(answer) as hosts:
        source = ZooKeeperSource(SessionSettings(hosts=hosts), path="/a")
        try:
            await source.connect()
            async with source.watch(DirtySet()) as watch:
                await asyncio.wait([watch.lost], timeout=30)
                assert isinstance(watch.lost.exception(), SourceDisconnected)
        finally:
            await source.close()


async def test_an_endless_answer_is_not_waited_for() -> None:
    async def answer(xid: int, opcode: int, sent: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(struct.pack("!i", 2**31 - 1) + b"\0" * 100)

    async with fake_server(answer) as hosts:
        source = ZooKeeperSource(SessionSettings(hosts=hosts), path="/a")
        source._session.deadline_seconds = 1.0
        try:
            with pytest.raises(SourceDisconnected):
                await source.connect()
        finally:
            await source.close()


async def test_noise_on_the_port_does_not_end_the_attempts() -> None:
    async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(noise, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        source = ZooKeeperSource(SessionSettings(hosts=f"127.0.0.1:{port}"), path="/a")
        source._session.deadline_seconds = 1.0
        try:
            for _ in range(2):
                with pytest.raises(SourceDisconnected, match=f"127.0.0.1:{port} within 1 s: "):
                    await source.connect()
        finally:
            await source.close()


async def test_refused_credentials_are_reported_without_showing_them() -> None:
    async def answer(xid: int, opcode: int, sent: bytes, writer: asyncio.StreamWriter) -> None:
        reply(writer, xid, error=-115)

    async with fake_server(answer) as hosts:
        source = ZooKeeperSource(SessionSettings(hosts=hosts, auth="digest:me:hunter22"), path="/a")
        source._session.deadline_seconds = 2.0
        try:
            with pytest.raises(SourceDisconnected, match="refused the credentials") as refused:
                await source.connect()
            assert "hunter22" not in str(refused.value)
        finally:
            await source.close()


async def test_credentials_never_reach_the_log(
    zookeeper_server: Server, zk_root: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.NOTSET)
    settings = SessionSettings(hosts=zookeeper_server.hosts, auth="digest:me:hunter22")
    source = ZooKeeperSource(settings, path=zk_root)
    await source.connect()
    await source.close()
    written = capsys.readouterr()
    seen = caplog.text + written.out + written.err + repr(settings) + source.description
    assert "hunter22" not in seen
    assert "ZooKeeper" in seen


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[ZooKeeperServer]:
    folder = tmp_path_factory.mktemp("tls")
    server_pem = folder / "server.pem"
    issued = authority.issue_cert("localhost")
    _write_pkcs8(issued, server_pem)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    files = TlsFiles(key_and_certificate=server_pem, ca=folder / "ca.pem", client_auth="want")
    with ZooKeeperServer(folder / "server", tls=files) as server:
        yield server


def _write_pkcs8(issued: trustme.LeafCert, file: Path) -> None:
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + chain)


async def test_tls_with_the_right_name(tls_server: ZooKeeperServer, authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    client = authority.issue_cert("client")
    client.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    settings = SessionSettings(
        hosts=f"localhost:{tls_server.tls_port}", tls_ca=str(tmp_path / "ca.pem"), tls_cert=str(tmp_path / "client.pem")
    )
    source = ZooKeeperSource(settings, path="/")
    try:
        await source.connect()
        async with source.watch(DirtySet()) as watch:
            for _ in range(50):
                await asyncio.gather(*(watch.probe() for _ in range(20)))
            count = sum([len(batch.records) async for batch in source.list(Listing())])
        assert count >= 2
    finally:
        await source.close()


@pytest.mark.parametrize("case", ["wrong name", "unknown authority"])
async def test_tls_with_somebody_else(
    tls_server: ZooKeeperServer, authority: trustme.CA, tmp_path: Path, case: str
) -> None:
    trusted = authority if case == "wrong name" else trustme.CA()
    trusted.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    host = "127.0.0.1" if case == "wrong name" else "localhost"
    settings = SessionSettings(hosts=f"{host}:{tls_server.tls_port}", tls_ca=str(tmp_path / "ca.pem"))
    source = ZooKeeperSource(settings, path="/")
    source._session.deadline_seconds = 2.0
    try:
        with pytest.raises(SourceDisconnected, match="certificate verify failed"):
            await source.connect()
    finally:
        await source.close()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (SessionSettings(hosts=""), "host:port"),
        (SessionSettings(hosts="a:b"), "host:port"),
        (SessionSettings(hosts="a:70000"), "host:port"),
        (SessionSettings(hosts="a,,b"), "host:port"),
        (SessionSettings(hosts="a/x/../y"), "chroot"),
        (SessionSettings(hosts="h1:2181/app,h2:2181/app"), "a chroot may stand once, at the end"),
        (SessionSettings(hosts="h1:2181,h2:2181/app /x"), "white space"),
        (SessionSettings(hosts="h1:2181 h2:2181"), "host:port"),
        (SessionSettings(hosts="a", auth="digest:me:hunter22\n"), "line end"),
        (SessionSettings(hosts="a", auth=" digest:me:hunter22"), "white space"),
        (SessionSettings(hosts="a", auth="\n"), "white space"),
        (SessionSettings(hosts="a", auth="digest:nobody"), "digest:user:password"),
        (SessionSettings(hosts="a", auth="sasl:hunter22:x"), "digest:user:password"),
        (SessionSettings(hosts="a", tls_ca="/nowhere/ca.pem"), "/nowhere/ca.pem"),
        (SessionSettings(hosts="a", tls_key="/nowhere/key.pem"), "certificate"),
        (SessionSettings(hosts="a", tls_ca=__file__), "PEM"),
        (SessionSettings(hosts="a", tls_cert=__file__), "PEM"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_in_one_line(settings: SessionSettings, told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        ZooKeeperSource(settings, path="/a")
    (problem,) = refused.value.problems
    assert told in problem
    assert "\n" not in problem
    assert "hunter22" not in problem
