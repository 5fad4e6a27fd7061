"""Secrets of a resource that stand in files: `sink.acl_file` beside `sink.acl`, by every way a resource is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hybridsync.errors import ConfigurationError
from hybridsync.resource_kinds import SECRET_FILE_ALLOWED, ZooKeeperSink
from hybridsync.settings import LoadedSettings, load_settings, masked

MARK = "hunter2hunter2"
ACL = f"digest:them:{MARK}"
ALLOWED = SECRET_FILE_ALLOWED


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(environ: dict[str, str]) -> list[str]:
    """The lines the user gets; no secret may be in one."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ)
    assert MARK not in str(caught.value.problems)
    return caught.value.problems


def variable(name: str) -> str:
    return f"HYBRIDSYNC_{name.upper()}"


def file(content: str, name: str) -> str:
    Path(name).write_text(content)
    return name


def publishing(**sink: object) -> dict[str, object]:
    return {
        "source": {"type": "mongodb", "collection": "c", "key": "_id"},
        "sink": {"type": "zookeeper", "path": "/p", **sink},
    }


def acl_of(loaded: LoadedSettings) -> str:
    sink = loaded.settings.resources["r"].sink
    assert isinstance(sink, ZooKeeperSink)
    return sink.acl.get_secret_value()


def test_an_access_list_comes_from_a_file_by_every_way_a_resource_is_written() -> None:
    file(f"{ACL}\n", "acl")
    Path("r.toml").write_text(
        '[resources.r]\nsource = {type = "mongodb", collection = "c", key = "_id"}\n'
        'sink = {type = "zookeeper", path = "/p", acl_file = "acl"}\n'
    )
    ways: list[tuple[dict[str, str], str]] = [
        ({"RESOURCES_FILE": "r.toml"}, "r.sink.acl_file in r.toml"),
        ({"RESOURCES": json.dumps({"r": publishing(acl_file="acl")})}, "r.sink.acl_file in HYBRIDSYNC_RESOURCES"),
        (
            {"RESOURCES": json.dumps({"r": publishing()}), "RESOURCES__R__SINK__ACL_FILE": "acl"},
            "HYBRIDSYNC_RESOURCES__R__SINK__ACL_FILE",
        ),
    ]
    for variables, origin in ways:
        loaded = load_settings({variable(name): value for name, value in variables.items()})
        assert acl_of(loaded) == ACL
        assert loaded.origins["resources.r.sink.acl"] == origin
        assert loaded.origins["resources.r.sink.path"] != origin
        assert masked(loaded.settings)["resources.r.sink.acl"] == "digest:***"


def test_of_an_access_list_and_its_file_the_nearer_place_wins() -> None:
    file(ACL, "acl")
    toml = '[resources.r]\nsource = {{type = "mongodb", collection = "c", key = "_id"}}\n'
    toml += 'sink = {{type = "zookeeper", path = "/p", {}}}\n'
    nested = "HYBRIDSYNC_RESOURCES__R__SINK__"
    for below, above, expected in [
        ('acl_file = "acl"', {f"{nested}ACL": "open"}, "open"),
        ('acl = "open"', {f"{nested}ACL_FILE": "acl"}, ACL),
        ('acl_file = "absent"', {f"{nested}ACL_FILE": "acl"}, ACL),
        ('acl = "open"', {"HYBRIDSYNC_RESOURCES": '{"r": {"sink": {"acl_file": "acl"}}}'}, ACL),
        (
            'acl = "open"',
            {"HYBRIDSYNC_RESOURCES": '{"r": {"sink": {"acl": "open"}}}', f"{nested}ACL_FILE": "acl"},
            ACL,
        ),
    ]:
        Path("r.toml").write_text(toml.format(below))
        assert acl_of(load_settings({"HYBRIDSYNC_RESOURCES_FILE": "r.toml"} | above)) == expected


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (
            {"RESOURCES": json.dumps({"r": publishing(acl="open", acl_file="acl")})},
            "r.sink.acl in HYBRIDSYNC_RESOURCES: set, and r.sink.acl_file in HYBRIDSYNC_RESOURCES too; "
            "allowed: one of them",
        ),
        (
            {
                "RESOURCES": json.dumps({"r": publishing()}),
                "RESOURCES__R__SINK__ACL": "open",
                "RESOURCES__R__SINK__ACL_FILE": "acl",
            },
            "HYBRIDSYNC_RESOURCES__R__SINK__ACL: set, and HYBRIDSYNC_RESOURCES__R__SINK__ACL_FILE too; "
            "allowed: one of them",
        ),
        (
            {"RESOURCES": json.dumps({"r": publishing(acl_file="absent")})},
            "r.sink.acl_file in HYBRIDSYNC_RESOURCES: 'absent': cannot be read: No such file or directory; "
            f"allowed: {ALLOWED}",
        ),
        (
            {"RESOURCES": json.dumps({"r": publishing(acl_file="")})},
            f"r.sink.acl_file in HYBRIDSYNC_RESOURCES: '': cannot be read: No such file or directory; "
            f"allowed: {ALLOWED}",
        ),
        (
            {"RESOURCES": json.dumps({"r": publishing(acl_file=["acl"])})},
            f"r.sink.acl_file in HYBRIDSYNC_RESOURCES: a list: not the name of a file; allowed: {ALLOWED}",
        ),
        (
            {"RESOURCES": json.dumps({"r": publishing(acl_file="spoiled")})},
            "r.sink.acl_file in HYBRIDSYNC_RESOURCES: 'spoiled': not allowed (it begins or ends with white space, "
            "such as a line end); allowed: open, creator or digest:user:password",
        ),
        (
            {"RESOURCES": json.dumps({"r": publishing(acl=f"{ACL}\n")})},
            "r.sink.acl in HYBRIDSYNC_RESOURCES: '***' is not allowed (it begins or ends with white space, "
            "such as a line end); allowed: open, creator or digest:user:password",
        ),
        (
            {"RESOURCES": '{"r": {"source": {"type": "zookeeper", "path": "/x"}, "sink": {"acl_file": "acl"}}}'},
            "r.sink.acl_file in HYBRIDSYNC_RESOURCES: unknown; the nearest known one is collection; "
            "allowed: collection, type",
        ),
        (
            {
                "RESOURCES": '{"r": {"source": {"type": "zookeeper", "path": "/x"}}}',
                "RESOURCES__R__SINK__TYPE": "mongodb",
                "RESOURCES__R__SINK__ACL_FILE": "acl",
            },
            "HYBRIDSYNC_RESOURCES__R__SINK__ACL_FILE: unknown; the nearest known one is "
            "HYBRIDSYNC_RESOURCES__R__SINK__COLLECTION; allowed: collection, type",
        ),
        (
            {"RESOURCES": json.dumps({"r": publishing(type="redis", acl_file="acl")})},
            "r.sink.type in HYBRIDSYNC_RESOURCES: 'redis' is not allowed; allowed: mongodb or zookeeper",
        ),
        (
            {"RESOURCES": json.dumps({"r": publishing()}), "RESOURCES__R__SINK__ACLFILE": "acl"},
            "HYBRIDSYNC_RESOURCES__R__SINK__ACLFILE: unknown; the nearest known one is "
            "HYBRIDSYNC_RESOURCES__R__SINK__ACL_FILE; allowed: acl, acl_file, path, type",
        ),
    ],
)
def test_a_mistake_with_the_file_of_an_access_list_is_one_line(variables: dict[str, str], line: str) -> None:
    file(ACL, "acl")
    file(f"{ACL} \n", "spoiled")

    assert problems({variable(name): value for name, value in variables.items()}) == [line]


def test_a_neighbour_that_is_missing_is_named_without_the_file() -> None:
    file(ACL, "acl")
    nested = "HYBRIDSYNC_RESOURCES__R__"
    environ = {f"{nested}SOURCE": json.dumps(publishing()["source"]), f"{nested}SINK__TYPE": "zookeeper"}

    [line] = problems(environ | {f"{nested}SINK__ACL_FILE": "acl"})

    assert line.startswith(f"{nested}SINK__PATH: missing; ")
