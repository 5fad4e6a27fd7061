"""A private standalone ZooKeeper, from Debian's package `zookeeper` or from `ZOOKEEPER_HOME`."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hybridsync.embedded.ports import LOOPBACK, free_port
from hybridsync.embedded.process import Server
from hybridsync.errors import ConfigurationError

_DEBIAN_JARS = Path("/usr/share/java")
_DEBIAN_EXTRAS = ("slf4j-simple.jar", "netty-codec.jar", "netty-resolver.jar", "netty-transport-native-unix-common.jar")
"""Not on the class path that Debian's zookeeper.jar names: a logger that writes, and what TLS needs."""

_ASK_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """What a server needs to offer TLS, as PEM files (names end in `.pem`).

    `key_and_certificate` holds an unencrypted PKCS #8 key and the certificate chain; `ca` the
    authorities that client certificates are checked against. `client_auth`: `none`, `want` or `need`.
    """

    key_and_certificate: Path
    ca: Path
    client_auth: str = "none"


def find_zookeeper() -> str:
    """The class path of the installed ZooKeeper. Raises `ConfigurationError` when there is none.

    `ZOOKEEPER_HOME` (an unpacked release of Apache ZooKeeper, jars in `lib/`) goes before Debian's.
    """
    home = os.environ.get("ZOOKEEPER_HOME")
    if home:
        if not list(Path(home, "lib").glob("zookeeper-*.jar")):
            raise ConfigurationError(f"ZOOKEEPER_HOME={home}: there is no lib/zookeeper-*.jar in it")
        return f"{home}/lib/*"
    jar = _DEBIAN_JARS / "zookeeper.jar"
    if not jar.exists():
        raise ConfigurationError(
            "no ZooKeeper server here: install the Debian package zookeeper, or unpack a release and set ZOOKEEPER_HOME"
        )
    return ":".join([str(jar), *(str(_DEBIAN_JARS / name) for name in _DEBIAN_EXTRAS)])


def _find_java() -> str:
    java_home = os.environ.get("JAVA_HOME")
    if java_home and Path(java_home, "bin", "java").exists():
        return str(Path(java_home, "bin", "java"))
    java = shutil.which("java")
    if java is None:
        raise ConfigurationError("no java on PATH: ZooKeeper needs it, install the Debian package default-jre-headless")
    return java


class ZooKeeperServer(Server):
    """A private standalone ZooKeeper on the loopback interface.

    `tick_time_ms`: sessions last between 2 ticks and 60 s. `force_sync`: write through to the disk
    on every change (off: a private server need not survive a power cut). `super_password`: the user
    `super` may then read and delete whatever ACLs hide. `extra_config`: further lines for the
    configuration file. `tls`: also listen with TLS, on `tls_port`. `jvm_options` go last and win.
    """

    name = "ZooKeeper"

    def __init__(
        self,
        directory: Path,
        port: int = 0,
        *,
        tick_time_ms: int = 500,
        heap_mb: int = 512,
        force_sync: bool = False,
        super_password: str | None = None,
        extra_config: Sequence[str] = (),
        tls: TlsFiles | None = None,
        jvm_options: Sequence[str] = (),
    ) -> None:
        super().__init__(directory, port)
        self.tls_port = free_port() if tls else None
        self._tls = tls
        self._tick_time_ms = tick_time_ms
        self._heap_mb = heap_mb
        self._force_sync = force_sync
        self._super_password = super_password
        self._extra_config = tuple(extra_config)
        self._jvm_options = tuple(jvm_options)

    @property
    def hosts(self) -> str:
        """What a client connects to."""
        return self.address

    def ask(self, word: str) -> str:
        """The answer to one of the four-letter words; raises `OSError` when there is none within 2 s.

        https://zookeeper.apache.org/doc/r3.8.0/zookeeperAdmin.html#sc_4lw
        """
        with socket.create_connection((LOOPBACK, self.port), timeout=_ASK_SECONDS) as connection:
            connection.sendall(word.encode("ascii"))
            answer = b""
            while chunk := connection.recv(65_536):
                answer += chunk
        return answer.decode("utf-8", "replace")

    def _answers(self) -> bool:
        try:
            # `ruok` is answered before the data is loaded; only a serving server reports its mode.
            return "Mode: " in self.ask("srvr")
        except OSError:
            return False

    def _is_telling(self, line: str) -> bool:
        return bool(line.strip()) and not line.startswith("\tat ")

    def _command(self) -> list[str]:
        configuration = self.directory / "zoo.cfg"
        configuration.write_text("\n".join(self._configuration()) + "\n", encoding="utf-8")
        return [
            _find_java(),
            "-Xms64m",
            f"-Xmx{self._heap_mb}m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",  # starts faster and leaves the second core to the tests
            f"-Dzookeeper.forceSync={'yes' if self._force_sync else 'no'}",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *self._super_option(),
            *self._jvm_options,
            "-cp",
            find_zookeeper(),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            str(configuration),
        ]

    def _configuration(self) -> list[str]:
        lines = [
            f"dataDir={self.data}",
            f"clientPort={self.port}",
            f"clientPortAddress={LOOPBACK}",
            f"tickTime={self._tick_time_ms}",
            f"minSessionTimeout={2 * self._tick_time_ms}",
            "maxSessionTimeout=60000",
            "maxClientCnxns=0",
            "admin.enableServer=false",
            "4lw.commands.whitelist=ruok,srvr,mntr,cons,dump,wchs,wchp,conf",
        ]
        if self._tls is not None:
            lines += [
                f"secureClientPort={self.tls_port}",
                f"secureClientPortAddress={LOOPBACK}",
                "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
                f"ssl.keyStore.location={self._tls.key_and_certificate}",
                f"ssl.trustStore.location={self._tls.ca}",
                f"ssl.clientAuth={self._tls.client_auth}",
            ]
        return [*lines, *self._extra_config]

    def _super_option(self) -> list[str]:
        if self._super_password is None:
            return []
        digest = hashlib.sha1(f"super:{self._super_password}".encode(), usedforsecurity=False).digest()
        encoded = base64.b64encode(digest).decode()
        return [f"-Dzookeeper.DigestAuthenticationProvider.superDigest=super:{encoded}"]
