"""Marked secrets go in by every way there is; whatever comes out anywhere is searched for the marks."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from hybridsync.embedded import ZooKeeperServer
from tests.acceptance.command import hybridsync
from tests.acceptance.place import Place
from tests.certificates import make_certificates
from tests.proxy import TcpProxy
from tests.service import Service, wait_until

MARK = "zq7marked"
MONGODB_PASSWORD = f"{MARK}-mongo/p@ss:w%rd é"
ZOOKEEPER_PASSWORD = f"{MARK}-zoo:keeper pass"
TOKEN = f"{MARK}-control-token"
ROUTES = ["/health", "/health/live", "/health/startup", "/health/ready", "/health/sync", "/metrics", "/openapi.json"]
NOBODY = "127.0.0.1:1"
COMMANDS = [("config",), ("plan",), ("plan", "--json"), ("sync",), ("sync", "--json"), ("verify",), ("status",)]


def clean(*texts: str) -> None:
    """Fails when a mark is in one of the texts, also percent-encoded, in base64 or in hexadecimal."""
    needles = [MARK, MARK.encode().hex()]
    # three ways in which the bytes may fall on base64's groups of three; the ends depend on what is beside it
    needles += [base64.b64encode(b"\0" * shift + MARK.encode()).decode()[4:-4].lower() for shift in range(3)]
    for text in texts:
        for needle in needles:
            at = text.lower().find(needle)
            assert at < 0, f"a secret is in: …{text[max(0, at - 300) : at + 100]}…"


def with_password(uri: str, **options: str) -> str:
    """The URI with a user and the marked password, and further options."""
    parts = urlsplit(uri)
    query = "&".join(filter(None, [parts.query, *(f"{name}={value}" for name, value in options.items())]))
    netloc = f"someone:{quote(MONGODB_PASSWORD, safe='')}@{parts.netloc}"
    return parts._replace(netloc=netloc, query=query).geturl()


def everything_secret(place: Place, **more: str) -> dict[str, str]:
    secret = {
        "MONGODB_URI": with_password(place.mongodb),
        "ZOOKEEPER_AUTH": f"digest:someone:{ZOOKEEPER_PASSWORD}",
        "CONTROL_TOKEN": TOKEN,
        "LOG_LEVEL": "debug",
    }
    return place.settings(**(secret | more))


def pages(service: Service) -> list[str]:
    """Every page, its headers included; the trigger with the right, a wrong and no token."""
    address = urlsplit(service.url)
    asked: list[tuple[str, str, dict[str, str], bytes]]
    asked = [("GET", prefix + path, {}, b"") for prefix in ("", "/api/v1") for path in ROUTES]
    asked += [("GET", "/metrics", {"Accept": "application/openmetrics-text"}, b"")]
    for given in (f"Bearer {TOKEN}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", f"Bearer\x01{TOKEN}"):
        for body in (b"{}", b'{"wait": true}', f'{{"{TOKEN}": '.encode(), f'{{"resources": ["{MARK}"]}}'.encode()):
            asked.append(("POST", "/health/sync/trigger", {"Authorization": given}, body))
    found = []
    for method, path, headers, body in asked:
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        try:
            connection.putrequest(method, path)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            text = response.read().decode()
            # what a caller misspelt is shown to that caller
            found += [str(response.headers), "" if MARK.encode() in body and response.status < 405 else text]
        finally:
            connection.close()
    return found


@pytest.fixture
def refused(place: Place) -> Place:
    """MongoDB knows nobody of that name; a part of the tree is for somebody else."""
    place.grow({"": b"", "/a": b"1"})
    return place


def all_of(runs: Iterable[tuple[tuple[str, ...], dict[str, str]]]) -> list[subprocess.CompletedProcess[str]]:
    """Commands, each with settings of its own, some at a time: most of the time they wait."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda run: hybridsync(*run[0], settings=run[1]), runs))


def test_a_service_whose_logins_are_refused_shows_no_secret(refused: Place) -> None:
    with Service(everything_secret(refused)) as service:
        wait_until(lambda: "uthentication" in service.stderr, "the login is refused")
        clean(*pages(service))
        assert service.terminate() == 0
        clean(service.stderr)


def test_commands_whose_logins_are_refused_show_no_secret(refused: Place) -> None:
    settings = everything_secret(refused, SYNC_TIMEOUT_SECONDS="5", HTTP_PORT="1", LOG_FORMAT="console")

    for command, ended in zip(COMMANDS, all_of((command, settings) for command in COMMANDS), strict=True):
        assert ended.returncode in ((0,) if command == ("config",) else (0, 1)), (command, ended.stderr)
        clean(ended.stdout, ended.stderr)


def test_servers_that_are_away_or_come_and_go_bring_no_secret_out(
    refused: Place, proxy_factory: Callable[[str, int], TcpProxy]
) -> None:
    mongodb = urlsplit(refused.mongodb)
    proxy = proxy_factory(str(mongodb.hostname), int(mongodb.port or 0))
    uri = with_password(mongodb._replace(netloc=proxy.address).geturl())
    with Service(everything_secret(refused, MONGODB_URI=uri, ZOOKEEPER_HOSTS=NOBODY)) as service:
        wait_until(lambda: "uthentication" in service.stderr, "the login is refused")
        proxy.cut()
        clean(*pages(service))
        assert service.terminate() == 0
        clean(service.stderr)


def test_a_service_that_works_shows_no_secret_and_stores_none(place: Place) -> None:
    place.grow({"": b"", "/a": b"1"})
    settings = everything_secret(place, MONGODB_URI=place.mongodb)
    with Service(settings) as service:
        service.wait_in_sync()
        clean(*pages(service))
        status = hybridsync("status", "--url", service.url, settings=settings)
        assert status.returncode == 0
        clean(status.stdout, status.stderr)
        assert service.terminate() == 0
        clean(service.stderr)
    clean(*(str(list(collection.find())) for collection in (place.mirror, place.database["sync_states"])))


def mongodb_with(**options: str) -> dict[str, str]:
    """An address where nobody listens: what matters is what is said before, and about, the attempt."""
    return {"MONGODB_URI": with_password(f"mongodb://{NOBODY}/x", serverSelectionTimeoutMS="200", **options)}


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A client's certificate and key for MongoDB."""
    directory = tmp_path_factory.mktemp("tls")
    made = make_certificates(directory, "localhost")
    both = directory / "both.pem"
    both.write_bytes(made.client_key.read_bytes() + made.client_certificate.read_bytes())
    return quote(str(both), safe="")


@pytest.mark.timeout(240)
def test_secrets_in_the_options_of_the_uri_are_not_shown(refused: Place, key_file: str) -> None:
    options = [
        {"tls": "true", "tlsCertificateKeyFilePassword": MARK, "tlsCertificateKeyFile": key_file},
        {"tls": "true", "tlsCAFile": "%2Fnowhere%2Fca.pem"},
        {"authMechanism": "MONGODB-AWS", "authMechanismProperties": f"AWS_SESSION_TOKEN:{MARK}"},
    ]
    settings = [refused.settings(**mongodb_with(**given), LOG_LEVEL="debug") for given in options]

    for ended in all_of(((command,), each) for command in ("config", "plan", "sync") for each in settings):
        clean(ended.stdout, ended.stderr)


BROKEN: list[dict[str, str]] = [
    {"MONGODB_URI": f"mongodb://u:{MARK}@h:99999/x"},
    {"MONGODB_URI": f"mongodb://u:{MARK}/@h/x"},
    {"MONGODB_URI": f"mongodb://u:{MARK}%zz@h/x"},
    {"MONGODB_URI": f"http://u:{MARK}@h/x"},
    {"MONGODB_URL": f"mongodb://u:{MARK}@h/x"},
    {"ZOOKEEPER_AUTH": MARK},
    {"ZOOKEEPER_AUTH": f"digest:{MARK}"},
    {"ZOOKEEPER_AUTH": f"sasl:u:{MARK}"},
    {"CONTROL_TOKEN": f"{MARK} blank"},
    {"CONTROL_TOKEN": f"{MARK}\nline"},
    {"CONTROL_TOKENS": MARK},
    {"MONGODB_URI_FILE": f"mongodb://u:{MARK}@h/x"},
    {"ZOOKEEPER_AUTH_FILE": f"digest:u:{MARK}"},
    {"CONTROL_TOKEN_FILE": TOKEN},
]


def test_a_mistake_in_a_secret_is_explained_without_it() -> None:
    resources = json.dumps({"services": {"source": {"type": "zookeeper", "path": "/x"}}})

    for ended in all_of((("run",), {"RESOURCES": resources, **broken}) for broken in BROKEN):
        assert ended.returncode == 2, ended.stderr
        assert len(ended.stderr.splitlines()) == 1
        clean(ended.stdout, ended.stderr)


@pytest.fixture(scope="module")
def tls_zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a ZooKeeper that speaks TLS, and a CA that did not sign its certificate."""
    directory = tmp_path_factory.mktemp("tls-zookeeper")
    right = make_certificates(directory / "right", "localhost")
    wrong = make_certificates(directory / "wrong", "localhost")
    with ZooKeeperServer(directory / "data", tls=right.for_server()) as server:
        yield f"localhost:{server.tls_port}", str(wrong.ca)


@pytest.mark.parametrize("files", ["wrong CA", "no PEM", "other key"])
def test_errors_of_tls_show_no_secret(
    refused: Place, tls_zookeeper: tuple[str, str], tmp_path: Path, files: str
) -> None:
    hosts, ca = tls_zookeeper
    given = {"ZOOKEEPER_HOSTS": hosts, "ZOOKEEPER_TLS_CA": ca, "SYNC_TIMEOUT_SECONDS": "3"}
    if files == "no PEM":
        (tmp_path / "no.pem").write_text(MARK)
        given["ZOOKEEPER_TLS_CA"] = str(tmp_path / "no.pem")
    if files == "other key":
        one, other = (make_certificates(tmp_path / name, "localhost") for name in ("one", "other"))
        shutil.copy(one.client_certificate, tmp_path / "cert.pem")
        given |= {"ZOOKEEPER_TLS_CERT": str(tmp_path / "cert.pem"), "ZOOKEEPER_TLS_KEY": str(other.client_key)}
    ended = hybridsync("sync", settings=everything_secret(refused, MONGODB_URI=refused.mongodb, **given))

    assert ended.returncode in (1, 2)
    assert "Traceback" not in ended.stderr
    clean(ended.stdout, ended.stderr)


def test_a_password_in_the_address_of_the_service_is_not_repeated() -> None:
    urls = [f"http://u:{MARK}@{NOBODY}", f"http://u:{MARK}@h:port", f"u:{MARK}@{NOBODY}", f"http://{MARK}@{NOBODY}"]

    for ended in all_of((("status", "--url", url), {}) for url in urls):
        assert ended.returncode == 1
        clean(ended.stdout, ended.stderr)


def test_the_search_would_find_them() -> None:
    for text in (TOKEN, TOKEN.upper(), base64.b64encode(f"a:{MARK}".encode()).decode(), MARK.encode().hex()):
        with pytest.raises(AssertionError):
            clean("before", f"xx {text} yy")
