"""The addresses and credentials that settings may have, and the line that says so when they may not."""

from __future__ import annotations

import socket
from typing import NoReturn

import pytest

from hybridsync.errors import ConfigurationError
from hybridsync.settings import Settings, load_settings

SECRET = "hunter2hunter2"


def settings(**variables: str) -> Settings:
    return load_settings({f"HYBRIDSYNC_{name}": value for name, value in variables.items()}).settings


def problems(**variables: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        settings(**variables)
    return caught.value.problems


@pytest.mark.parametrize(
    ("uri", "database"),
    [
        ("mongodb://h", "hybridsync"),
        ("mongodb://h/", "hybridsync"),
        ("mongodb://h/app", "app"),
        ("mongodb://h/caf%C3%A9", "café"),
        (f"mongodb://h/{'x' * 63}", "x" * 63),
        ("mongodb://h/a:b*", "a:b*"),
        ("mongodb://[::1]:27017/x", "x"),
        ("mongodb://a,b:1/x?replicaSet=rs0&w=majority", "x"),
        ("mongodb://u:p%40@h/x?authSource=admin", "x"),
        ("mongodb://%2Ftmp%2Fmongodb-27017.sock/x", "x"),
        ("mongodb+srv://u:p@cluster.example.net/x?retryWrites=true&srvMaxHosts=2", "x"),
        ("mongodb+srv://cluster.example.net", "hybridsync"),
    ],
)
def test_a_mongodb_uri_is_checked_without_asking_a_name_server(
    uri: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("no network at configuration time")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert settings(MONGODB_URI=uri).mongodb_database == database


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        (f"mongo://u:{SECRET}@h", "it starts with neither"),
        (SECRET, "it starts with neither"),
        (f"mongodb://u:{SECRET}@", "it is not of that form"),
        (f"mongodb://u:@{SECRET}/", "it is not of that form"),
        (f"mongodb://u:p@{SECRET}@h", "it is not of that form"),
        (f"mongodb://u:p/{SECRET}@h", "it is not of that form"),
        (f"mongodb://u:p?{SECRET}@h", "it is not of that form"),
        (f"mongodb://u:%zz{SECRET}@h", "PyMongo does not accept"),
        (f"mongodb://u:{SECRET}@h\n", "it begins or ends with white space"),
        (f" mongodb://u:{SECRET}@h", "it begins or ends with white space"),
        (f"mongodb://u:{SECRET}@h:0", "a port is not"),
        (f"mongodb://u:{SECRET}@h:70000", "a port is not"),
        (f"mongodb://u:{SECRET}@h/a.b", "the database in the path has a dot"),
        *(
            (f"mongodb://u:{SECRET}@h/{name}{options}", "a character that MongoDB refuses there")
            for name in ("a%24b", "a$b", "a\\b", "a%5Cb", "a%5cb", "a%2Fb", "a%20b", "a+b", "a%22b", 'a"b', "a%00b")
            for options in ("", "?tls=true")
        ),
        (f"mongodb+srv://u:{SECRET}@c.example.net/a%5Cb", "a character that MongoDB refuses there"),
        *((f"mongodb://u:{SECRET}@h/{name}", "has a dot") for name in (".", "a%2Eb", ".a", "a.", "%2e")),
        (f"mongodb://u:{SECRET}@h/Admin", "authSource=admin"),
        (f"mongodb://u:{SECRET}@h/loc%61l", "authSource=local"),
        (f"mongodb://u:{SECRET}@h/{'%C3%A9' * 32}", "1 to 63 bytes"),
        (f"mongodb://u:{SECRET}@h/admin", "authSource=admin"),
        (f"mongodb://u:{SECRET}@h/{'x' * 64}", "1 to 63 bytes"),
        (f"mongodb://u:{SECRET}@h/?retryWritess=true", "option retryWritess"),
        (f"mongodb://h/?authMechanismProperties={SECRET}", "option authMechanismProperties"),
        (f"mongodb://u:{SECRET}@h/?tls=true&tlsCAFile=%2Fnowhere", "option tlsCAFile names a file that cannot be read"),
        (f"mongodb+srv://u:{SECRET}@c.example.net:27017", "exactly one host name"),
        (f"mongodb+srv://u:{SECRET}@127.0.0.1", "exactly one host name"),
        (f"mongodb+srv://u:{SECRET}@c.example.net/?directConnection=true", "directConnection"),
    ],
)
def test_a_bad_mongodb_uri_is_explained_without_its_password(uri: str, why: str) -> None:
    [line] = problems(MONGODB_URI=uri)
    assert why in line
    assert SECRET not in line


@pytest.mark.parametrize(
    ("hosts", "kept", "chroot"),
    [
        ("a", "a", ""),
        ("a:1,b:2/app/x", "a:1,b:2/app/x", "/app/x"),
        ("a:1 , b:2", "a:1,b:2", ""),
        ("a/", "a", ""),
        ("[::1]:2181,[fe80::1]/c", "[::1]:2181,[fe80::1]/c", "/c"),
        ("zk_1.my-net.", "zk_1.my-net.", ""),
    ],
)
def test_zookeeper_hosts_with_chroot(hosts: str, kept: str, chroot: str) -> None:
    loaded = settings(ZOOKEEPER_HOSTS=hosts)
    assert (loaded.zookeeper_hosts, loaded.zookeeper_chroot) == (kept, chroot)


@pytest.mark.parametrize(
    ("hosts", "why"),
    [
        ("", "host 1 is empty"),
        ("a,,b", "host 2 is empty"),
        ("a:0", "port"),
        ("a:65536", "port"),
        ("a:", "port"),
        ("[::1]:x", "port"),
        ("[::1", "brackets"),
        ("[nope]:1", "not an IPv6 address"),
        ("::1", "needs brackets"),
        ("a b", "neither"),
        ("a/b/", "the chroot ends with /"),
        ("a//b", "the chroot has an empty part"),
        ("a/b/../c", "the chroot has a part that is . or .."),
        ("h1:2181/app,h2:2181/app", "the chroot may stand once, after the last host"),
        ("h1/app,h2", "the chroot may stand once, after the last host"),
        ("h1:2181/,h2:2181/", "the chroot may stand once, after the last host"),
        ("h1:2181,", "host 2 is empty"),
        ("h1:2181,/app", "host 2 is empty"),
        (",h1:2181", "host 1 is empty"),
        ("h1:2181 h2:2181", "host 1 is several: between hosts belongs a comma"),
        ("h1:2181;h2:2181/app", "host 1 is several: between hosts belongs a comma"),
        ("h1;h2;h3", "host 1 is several: between hosts belongs a comma"),
        ("zk://h1:2181/app", "without a scheme"),
        ("h1:2181,zookeeper://h2:2181", "without a scheme"),
        ("h1:2181//app", "the chroot has an empty part"),
        ("h1:2181//", "the chroot"),
        ("h1:2181/app ", "the chroot has white space at an end of a part"),
        ("h1:2181/ app", "the chroot has white space at an end of a part"),
        ("h1:2181/a /b", "the chroot has white space at an end of a part"),
        ("h1:2181/ ", "the chroot has white space at an end of a part"),
    ],
)
def test_bad_zookeeper_hosts(hosts: str, why: str) -> None:
    [line] = problems(ZOOKEEPER_HOSTS=hosts)
    assert line.startswith(f"HYBRIDSYNC_ZOOKEEPER_HOSTS: '{hosts}' is not allowed (")
    assert why in line


@pytest.mark.parametrize("auth", ["digest:u", "digest::p", "digest:u:", "u:p", f"sasl:u:{SECRET}", "digest"])
def test_zookeeper_credentials_have_one_form_and_are_never_shown(auth: str) -> None:
    [line] = problems(ZOOKEEPER_AUTH=auth)
    assert (
        line
        == "HYBRIDSYNC_ZOOKEEPER_AUTH: '***' is not allowed (it is not of that form); allowed: digest:USER:PASSWORD"
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\t", "\N{NO-BREAK SPACE}"])
def test_white_space_at_an_end_of_credentials_is_no_part_of_a_password(end: str) -> None:
    for auth in (f"digest:u:{SECRET}{end}", f"{end}digest:u:{SECRET}"):
        [line] = problems(ZOOKEEPER_AUTH=auth)
        assert line == (
            "HYBRIDSYNC_ZOOKEEPER_AUTH: '***' is not allowed (it begins or ends with white space, such as a line end); "
            "allowed: digest:USER:PASSWORD"
        )
    inside = settings(ZOOKEEPER_AUTH=f"digest:u:two{end}words").zookeeper_auth
    assert inside is not None


def test_a_password_may_have_colons() -> None:
    auth = settings(ZOOKEEPER_AUTH="digest:u:a:b").zookeeper_auth
    assert auth is not None
    assert auth.get_secret_value() == "digest:u:a:b"


@pytest.mark.parametrize("token", [f"{SECRET}\n", f"{SECRET} x", f"{SECRET}é"])
def test_a_token_that_no_header_can_carry(token: str) -> None:
    [line] = problems(CONTROL_TOKEN=token)
    assert line.startswith("HYBRIDSYNC_CONTROL_TOKEN: '***' is not allowed")
    assert SECRET not in line


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1", "localhost", "a-b.example"])
def test_hosts_to_listen_on(host: str) -> None:
    assert settings(HTTP_HOST=host).http_host == host


@pytest.mark.parametrize("host", ["", "http://x", "a b", "[::1]", "x:80", "-x"])
def test_bad_hosts_to_listen_on(host: str) -> None:
    [line] = problems(HTTP_HOST=host)
    assert "; allowed: an address" in line
