"""What each setting may be, and the line that says so when it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
