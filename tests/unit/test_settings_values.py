"""What each setting may be, and the line that says so when it is not."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest

from hybridsync.errors import ConfigurationError
from hybridsync.resource_kinds import ZooKeeperSource
from hybridsync.settings import NOT_SET, Settings, load_settings, masked

SECRET = "hunter2hunter2"


def settings(**variables: str) -> Settings:
    return load_settings({f"HYBRIDSYNC_{name}": value for name, value in variables.items()}).settings


def problems(**variables: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        settings(**variables)
    return caught.value.problems


def tree(**variables: str) -> ZooKeeperSource:
    source = settings(**variables).resources["r"].source
    assert isinstance(source, ZooKeeperSource)
    return source


def resource(**source: object) -> str:
    return json.dumps({"r": {"source": {"type": "zookeeper", "path": "/x"} | source}})


def test_everything_wrong_is_said_at_once() -> None:
    lines = problems(HTTP_PORT="x", HTTP_PROT="1", LOG_LEVEL="loud", RESOURCES="{", ZOOKEEPER_HOSTS="::1")
    assert [line.split(":")[0] for line in lines] == [
        "HYBRIDSYNC_HTTP_PROT",
        "HYBRIDSYNC_RESOURCES",
        "HYBRIDSYNC_ZOOKEEPER_HOSTS",
        "HYBRIDSYNC_HTTP_PORT",
        "HYBRIDSYNC_LOG_LEVEL",
    ]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("PERIODIC_SYNC_INTERVAL_HOURS", ["0", "0.0005", "8760"], ["-1", "8761"]),
        ("DATA_STALE_THRESHOLD_SECONDS", ["0", "0.5", "315360000"], ["-0.1", "1e9"]),
        ("SYNC_TIMEOUT_SECONDS", ["0.5", "604800"], ["0", "-1", "604801"]),
        ("CONFIRM_INTERVAL_SECONDS", ["0.01", "3600"], ["0", "3601"]),
        ("READY_MAX_AGE_SECONDS", ["0", "1", "30"], ["-1", "0.5"]),
        ("SWEEP_LIMIT_PERCENT", ["0", "12.5", "100"], ["-1", "100.1"]),
        ("ZOOKEEPER_SESSION_TIMEOUT_SECONDS", ["0.1", "3600"], ["0", "3601"]),
        ("INFORMER_MAX_RECONNECTS", ["0", "1000"], ["-1", "1.5", "1001"]),
        ("HTTP_PORT", ["0", "65535"], ["-1", "65536", "1.5", "9" * 5000]),
    ],
)
def test_numbers_have_bounds(name: str, good: list[str], bad: list[str]) -> None:
    for value in good:
        assert getattr(settings(**{name: value}), name.lower()) == float(value)
    for value in [*bad, "nan", "inf", "-inf", "1e999", "many"]:
        [line] = problems(**{name: value})
        assert line.startswith(f"HYBRIDSYNC_{name}: '{value[:100]}")
        assert "number" in line.split("; allowed: ")[1]


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


def test_tls_files_must_exist_and_go_together(tmp_path: Path) -> None:
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    for file in (ca, cert, key):
        file.write_text("")
    files = {"ZOOKEEPER_TLS_CA": str(ca), "ZOOKEEPER_TLS_CERT": str(cert), "ZOOKEEPER_TLS_KEY": str(key)}
    assert settings(**files).zookeeper_tls_key == key
    assert settings(ZOOKEEPER_TLS_CA=str(ca)).zookeeper_tls_cert is None
    assert "needs ZOOKEEPER_TLS_CA" in problems(**files | {"ZOOKEEPER_TLS_CA": ""})[0]
    assert problems(**files | {"ZOOKEEPER_TLS_KEY": ""}) == [
        "HYBRIDSYNC_ZOOKEEPER_TLS_KEY: '' is not allowed (it is missing, but ZOOKEEPER_TLS_CERT is set: "
        "the two go together); allowed: a readable file, PEM"
    ]
    assert "ZOOKEEPER_TLS_CERT is missing" in problems(ZOOKEEPER_TLS_KEY=str(key))[0]
    for absent in (tmp_path, tmp_path / "absent", "x\x00", "x" * 5000):
        assert "no such readable file" in problems(ZOOKEEPER_TLS_CA=str(absent))[0]


@pytest.mark.parametrize("path", ["/", "/services", "/a b/.hidden/$x/x.y", "/é/...", "/[x]"])
def test_paths_a_source_may_have(path: str) -> None:
    assert tree(RESOURCES=resource(path=path)).path == path


@pytest.mark.parametrize(
    "path", ["", "x", "/x/", "//", "/a//b", "/./a", "/a/..", "/a\x00", "/\ud800", "/a\x1f", "/\ufff0", 5, None, ["/x"]]
)
def test_paths_no_source_may_have(path: object) -> None:
    [line] = problems(RESOURCES=resource(path=path))
    assert line.startswith("r.source.path in HYBRIDSYNC_RESOURCES: ")
    assert "; allowed: an absolute znode path such as /services" in line
    assert line.isprintable()


@pytest.mark.parametrize(
    ("exclude", "kept"),
    [
        (["/x/tmp/**"], ("/x/tmp/**",)),
        ("/x/tmp/**", ("/x/tmp/**",)),
        ('["/x/a", "/x/b"]', ("/x/a", "/x/b")),
        ("", ()),
        ([], ()),
        (["/*/y", "/**/y"], ("/*/y", "/**/y")),
        (["/x/**"], ("/x/**",)),
    ],
)
def test_what_may_be_excluded(exclude: object, kept: tuple[str, ...]) -> None:
    assert tree(RESOURCES=resource(exclude=exclude)).exclude == kept


@pytest.mark.parametrize(
    ("exclude", "why"),
    [
        (["tmp/**"], "not an absolute path"),
        (["/x/[z-a]"], "bad [set]"),
        (["/y/**"], "matches nothing"),
        (["/x"], "leaves out the source's path itself"),
        (["/"], "not an absolute path"),
        (["/**"], "leaves out the source's path itself"),
        (["/*"], "leaves out the source's path itself"),
        ("[1", "not a JSON list"),
        ("[1]", "not a list of texts"),
        ([1], "not a list of texts"),
        ({"a": 1}, "not a list of texts"),
        (7, "not a list of texts"),
    ],
)
def test_what_may_not_be_excluded(exclude: object, why: str) -> None:
    [line] = problems(RESOURCES=resource(exclude=exclude))
    assert line.startswith("r.source.exclude in HYBRIDSYNC_RESOURCES: ")
    assert why in line


@pytest.mark.parametrize(
    ("collection", "why"),
    [
        ("sync_states", "sync states"),
        ("sync_lanes", "lanes of the writers"),
        ("system.x", "MongoDB's own"),
        ("a$b", "does not allow"),
        ("a\x00b", "does not allow"),
        (".a", "does not allow"),
        ("a..b", "does not allow"),
        ("é" * 100, "190 bytes"),
    ],
)
def test_collections_no_mirror_may_have(collection: str, why: str) -> None:
    text = json.dumps({"r": {"source": {"type": "zookeeper", "path": "/x"}, "sink": {"collection": collection}}})
    [line] = problems(RESOURCES=text)
    assert line.startswith("r.sink.collection in HYBRIDSYNC_RESOURCES: ")
    assert why in line


def test_two_resources_may_not_write_one_collection() -> None:
    source = {"type": "zookeeper", "path": "/x"}
    text = json.dumps({"a": {"source": source}, "b": {"source": source, "sink": {"collection": "a"}}})
    [line] = problems(RESOURCES=text)
    assert line.startswith("b.sink.collection in HYBRIDSYNC_RESOURCES: 'a' is not allowed (resource a writes it too)")


def test_a_resource_named_like_the_states_needs_another_collection() -> None:
    text = json.dumps({"sync_states": {"source": {"type": "zookeeper", "path": "/x"}}})
    assert problems(RESOURCES=text)[0].startswith("sync_states.sink.collection in HYBRIDSYNC_RESOURCES: ")
    assert settings(RESOURCES=text, RESOURCES__SYNC_STATES__SINK__COLLECTION="other").resources


@pytest.mark.parametrize("name", ["", "Big", "1a", "a.b", "a b", "x" * 64, "a\n", "-a", "é"])
def test_names_no_resource_may_have(name: str) -> None:
    text = json.dumps({name: {"source": {"type": "zookeeper", "path": "/x"}}})
    [line] = problems(RESOURCES=text)
    assert line.endswith("is not a resource name; allowed: a lower-case letter, then up to 62 of a-z, 0-9, _ and -")


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (
            {"RESOURCES": '{"r": {"source": {"type": "kafka"}}}'},
            "r.source.type in HYBRIDSYNC_RESOURCES: 'kafka' is not allowed; "
            "allowed: zookeeper or mongodb or kubernetes",
        ),
        (
            {"RESOURCES": '{"r": {"source": {"path": "/x"}}}'},
            "r.source.type in HYBRIDSYNC_RESOURCES: missing; allowed: zookeeper or mongodb or kubernetes",
        ),
        (
            {"RESOURCES": '{"r": {}}'},
            "r.source in HYBRIDSYNC_RESOURCES: missing; "
            "allowed: a table with type = zookeeper or mongodb or kubernetes and its options",
        ),
        (
            {"RESOURCES": '{"r": 5}'},
            "r in HYBRIDSYNC_RESOURCES: 5 is not allowed; allowed: a table with source and sink",
        ),
        ({"RESOURCES": "[]"}, "HYBRIDSYNC_RESOURCES: not a JSON object; allowed: a JSON object"),
        (
            {"RESOURCES": '{"r": {}, "r": {}}'},
            "HYBRIDSYNC_RESOURCES: not JSON (a key appears twice in one object); allowed: a JSON object",
        ),
        ({"RESOURCES": '{"r":' + "[" * 100_000}, "HYBRIDSYNC_RESOURCES: nested too deeply; allowed: a JSON object"),
        (
            {"RESOURCES": resource(password=SECRET)},
            "r.source.password in HYBRIDSYNC_RESOURCES: unknown; the nearest known one is path; "
            "allowed: exclude, path, type",
        ),
        (
            {"RESOURCES": resource(), "RESOURCES__R__SORCE__PATH": "/x"},
            "HYBRIDSYNC_RESOURCES__R__SORCE__PATH: unknown; the nearest known one is "
            "HYBRIDSYNC_RESOURCES__R__SOURCE__PATH; allowed: fields, schema, sink, source",
        ),
        (
            {"RESOURCES__R__SOURCE__PATH__X": "1"},
            "HYBRIDSYNC_RESOURCES__R__SOURCE__PATH__X: unknown variable; the nearest known one is "
            "HYBRIDSYNC_RESOURCES__NAME__SOURCE__PATH",
        ),
        (
            {"RESOURCES__R__SOURCE": '{"type": "zookeeper", "path": "x"}'},
            "path in HYBRIDSYNC_RESOURCES__R__SOURCE: 'x' is not allowed (it does not start with /); allowed: "
            "an absolute znode path such as /services, without //, . or .. parts and without a / at the end",
        ),
        ({"LOG_LEVEL": "a\ud800"}, "HYBRIDSYNC_LOG_LEVEL: the value is not UTF-8 text"),
    ],
)
def test_the_line_for_each_kind_of_mistake(variables: dict[str, str], line: str) -> None:
    assert problems(**variables) == [line]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("x = 1\n[resources]\n", "x in {file}: unknown; allowed: [resources.NAME] tables only"),
        ("resources = 5\n", "resources in {file}: not a table; allowed: [resources.NAME] tables"),
        ("[resources.a]\nsource = {\n", "{file}: not TOML: "),
        (
            "[resources.a]\nsource = {type = 'zookeeper', path = '/a', paht = 1}\n",
            "a.source.paht in {file}: unknown; the nearest known one is path; allowed: exclude, path, type",
        ),
        ("a = " + "[" * 100_000, "{file}: nested too deeply"),
        (f"a = {'1' * 5000}", "{file}: not TOML: "),
    ],
)
def test_a_bad_resources_file(content: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "resources.toml"
    file.write_text(content)
    [found] = problems(RESOURCES_FILE=str(file))
    assert found.startswith(line.format(file=file))


def test_a_syntax_error_in_toml_has_its_line_number(tmp_path: Path) -> None:
    file = tmp_path / "resources.toml"
    file.write_text("[resources.a]\n\nsource = nope\n")
    [found] = problems(RESOURCES_FILE=str(file))
    assert "line 3" in found


@pytest.mark.parametrize("path", [".", "absent.toml", "x\x00y", "x" * 5000])
def test_a_resources_file_that_cannot_be_read(path: str) -> None:
    [line] = problems(RESOURCES_FILE=path)
    assert line.startswith("HYBRIDSYNC_RESOURCES_FILE: ")
    assert "cannot be read" in line


def test_secrets_are_masked_in_what_config_shows() -> None:
    shown = masked(
        settings(
            MONGODB_URI=f"mongodb://me:{SECRET}@h/x?tls=true&tlsCertificateKeyFilePassword={SECRET}",
            ZOOKEEPER_AUTH=f"digest:me:{SECRET}",
            CONTROL_TOKEN=SECRET,
        )
    )
    assert shown["mongodb_uri"] == "mongodb://me:***@h/x?tls=true&tlsCertificateKeyFilePassword=***"
    assert shown["zookeeper_auth"] == shown["control_token"] == "***"
    assert SECRET not in str(shown)


def test_a_password_that_strayed_into_another_variable_is_masked() -> None:
    lines = problems(HTTP_HOST=f"mongodb://me:{SECRET}@h", ZOOKEEPER_HOSTS=f"digest:me:{SECRET}")
    lines += problems(ZOOKEEPER_HOSTS=f"h1:2181,me:{SECRET}@h2:2181", HTTP_HOST=f"me:{SECRET}@h")
    assert len(lines) == 4
    assert "host 2 has an @: credentials belong into ZOOKEEPER_AUTH" in lines[2]
    assert SECRET not in "".join(lines)


def test_the_settings_class_itself_shows_no_secret() -> None:
    values: dict[str, Any] = {"mongodb_uri": f"mongodb://me:{SECRET}@h", "control_token": SECRET}
    assert SECRET not in repr(Settings(**values))
    with pytest.raises(ValueError, match="2 validation errors") as caught:
        Settings.model_validate({"mongodb_uri": f"mongodb://me:{SECRET}@h:0", "control_token": f"{SECRET} "})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "globs"),
    [
        ("", ()),
        ("/a/b", ("/a/b",)),
        (" /a/** , default/web-* ,", ("/a/**", "default/web-*")),
        ('["/a,b", "/c"]', ("/a,b", "/c")),
        ("[]", ()),
    ],
)
def test_trace_keys_are_globs_with_commas_between_them_or_a_json_list(value: str, globs: tuple[str, ...]) -> None:
    loaded = settings(TRACE_KEYS=value)
    assert loaded.trace_keys == globs
    assert masked(loaded)["trace_keys"] == (json.dumps(list(globs)) if globs else NOT_SET)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[", "it is not a JSON list"),
        ("[1]", "it is not a list of texts"),
        ("/a//b", "a glob has an empty part, a slash at its end, or a bad [set]"),
        ("/a/", "a glob has an empty part, a slash at its end, or a bad [set]"),
        ("/a/[z-a]", "a glob has an empty part, a slash at its end, or a bad [set]"),
    ],
)
def test_trace_keys_that_cannot_be_meant_are_one_line(value: str, reason: str) -> None:
    [line] = problems(TRACE_KEYS=value)
    assert line.startswith(f"HYBRIDSYNC_TRACE_KEYS: {value!r} is not allowed ({reason}); allowed: globs of keys")
