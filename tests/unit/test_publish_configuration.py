"""Resources of both directions: what they may be, what they must not do to each other, and how that is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hybridsync.errors import ConfigurationError
from hybridsync.settings import Settings, config_fingerprint, load_settings, masked
from hybridsync.wiring import secrets_of
from tests.service import ROOT

SCHEMA = "config/schemas/channel.schema.json"
ISSUE = """
[resources.channels]
source = { type = "mongodb", collection = "channels", key = "channel_id", when = "is_enabled" }
sink   = { type = "zookeeper", path = "/pigeon/channels" }
schema = "config/schemas/channel.schema.json"
fields = { account = "upstream_account" }      # name in the znode = name in the document
"""


def publishing(**changes: Any) -> dict[str, Any]:
    """A resource that publishes; `None` takes a key away."""
    resource = {
        "source": {"type": "mongodb", "collection": "channels", "key": "channel_id"},
        "sink": {"type": "zookeeper", "path": "/pigeon/channels"},
    } | changes
    return {key: value for key, value in resource.items() if value is not None}


def mirror(path: str, collection: str, *exclude: str) -> dict[str, Any]:
    """A resource that mirrors."""
    source = {"type": "zookeeper", "path": path, "exclude": list(exclude)}
    return {"source": source, "sink": {"type": "mongodb", "collection": collection}}


def loaded(**resources: Any) -> Settings:
    return load_settings({"HYBRIDSYNC_RESOURCES": json.dumps(resources)}).settings


def problems(**resources: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        loaded(**resources)
    return caught.value.problems


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_resource_of_the_page_loads_as_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "resources.toml"
    file.write_text(ISSUE)
    settings = load_settings({"HYBRIDSYNC_RESOURCES_FILE": str(file)}).settings
    rules = settings.resources["channels"].publish_rules()
    assert (rules.key, rules.when, rules.fields) == ("channel_id", "is_enabled", {"account": "upstream_account"})
    assert rules.projection() is not None
    shown = masked(settings)
    assert shown["resources.channels.schema"] == SCHEMA
    assert shown["resources.channels.fields.account"] == "upstream_account"
    assert ISSUE.strip() in (ROOT / "docs/mongodb-to-zookeeper.md").read_text()


def test_nested_variables_say_the_same() -> None:
    start = "HYBRIDSYNC_RESOURCES__CHANNELS__"
    nested = load_settings(
        {
            f"{start}SOURCE__TYPE": "mongodb",
            f"{start}SOURCE__COLLECTION": "channels",
            f"{start}SOURCE__KEY": "channel_id",
            f"{start}SOURCE__POLL_SECONDS": "2.5",
            f"{start}SINK__TYPE": "zookeeper",
            f"{start}SINK__PATH": "/pigeon/channels",
            f"{start}SCHEMA": SCHEMA,
            f"{start}FIELDS__ACCOUNT": "upstream_account",
        }
    ).settings.resources
    source = {"type": "mongodb", "collection": "channels", "key": "channel_id", "poll_seconds": 2.5}
    whole = publishing(source=source, schema=SCHEMA, fields={"account": "upstream_account"})
    assert nested == loaded(channels=whole).resources


SOURCE = {"type": "mongodb", "collection": "channels", "key": "channel_id"}


@pytest.mark.parametrize(
    ("resource", "line"),
    [
        (
            publishing(sink=None),
            "r.sink.type in HYBRIDSYNC_RESOURCES: 'mongodb' is not allowed (a source of type mongodb does not go "
            "there; a resource is zookeeper → mongodb or mongodb → zookeeper or kubernetes → mongodb); "
            "allowed: mongodb or zookeeper",
        ),
        (
            {"source": {"type": "zookeeper", "path": "/a"}, "sink": {"type": "zookeeper", "path": "/b"}},
            "r.sink.type in HYBRIDSYNC_RESOURCES: 'zookeeper' is not allowed (a source of type zookeeper does not go",
        ),
        (publishing(source={"type": "mongodb", "collection": "c"}), "r.source.key in HYBRIDSYNC_RESOURCES: missing"),
        (publishing(source={"type": "mongodb", "key": "k"}), "r.source.collection in HYBRIDSYNC_RESOURCES: missing"),
        (publishing(source={**SOURCE, "key": "a.b"}), "r.source.key in HYBRIDSYNC_RESOURCES: 'a.b' is not allowed"),
        (publishing(source={**SOURCE, "when": "$on"}), "r.source.when in HYBRIDSYNC_RESOURCES: '$on' is not allowed"),
        (publishing(source={**SOURCE, "when": "channel_id"}), "(that field is the key)"),
        (publishing(source={**SOURCE, "poll_seconds": 0}), "allowed: a number of seconds from 0.1 to 86400"),
        (publishing(source={**SOURCE, "collection": "sync_states"}), "that is where the sync states are kept"),
        (publishing(sink={"type": "zookeeper"}), "r.sink.path in HYBRIDSYNC_RESOURCES: missing"),
        (publishing(sink={"type": "zookeeper", "path": "a"}), "(it does not start with /)"),
        (publishing(sink={"type": "zookeeper", "path": "/a", "collection": "c"}), "r.sink.collection"),
        (publishing(schema="nowhere.json"), "'nowhere.json' is not allowed (it cannot be read: No such file"),
        (publishing(schema="README.md"), "'README.md' is not allowed (it is not JSON); allowed: a readable file"),
        (publishing(schema=5), "r.schema in HYBRIDSYNC_RESOURCES: 5 is not allowed (it is not the name of a file)"),
        (publishing(fields={"a": 5}), "r.fields.a in HYBRIDSYNC_RESOURCES: 5 is not allowed"),
        (publishing(fields={"a": "b.c"}), "r.fields.a in HYBRIDSYNC_RESOURCES: 'b.c' is not allowed"),
        (publishing(schema=SCHEMA, fields={"user": "u"}), "('user' is no property of the schema; its properties: chan"),
        (mirror("/a", "c") | {"schema": SCHEMA}, "it is for documents that are published"),
        (publishing(shema=SCHEMA), "r.shema in HYBRIDSYNC_RESOURCES: unknown; the nearest known one is schema"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_is_allowed(resource: dict[str, Any], line: str) -> None:
    [said] = problems(r=resource)
    assert line in said
    assert "allowed: " in said


def test_a_password_in_an_access_list_is_never_shown() -> None:
    secret = "hunter2hunter2"
    sink = {"type": "zookeeper", "path": "/a", "acl": f"digest:me:{secret}"}
    settings = loaded(r=publishing(sink=sink))
    assert masked(settings)["resources.r.sink.acl"] == "digest:***"
    assert secret in secrets_of(settings)
    assert secret not in repr(settings)
    for wrong in (f"digest:{secret}", f"digets:me:{secret}", secret):
        [said] = problems(r=publishing(sink={**sink, "acl": wrong}))
        assert secret not in said
        assert "allowed: open, creator or digest:user:password" in said


def test_what_only_its_creator_may_touch_needs_a_creator() -> None:
    only = publishing(sink={"type": "zookeeper", "path": "/a", "acl": "creator"})
    environ = {"HYBRIDSYNC_RESOURCES": json.dumps({"x": only})}
    assert load_settings(environ | {"HYBRIDSYNC_ZOOKEEPER_AUTH": "digest:u:p"}).settings.resources
    assert problems(x=only) == [
        "x.sink.acl in HYBRIDSYNC_RESOURCES: '***' is not allowed (it needs the credentials of a creator: "
        "set HYBRIDSYNC_ZOOKEEPER_AUTH); allowed: open, creator or digest:user:password"
    ]
    with pytest.raises(ConfigurationError) as refused:
        load_settings(environ | {"HYBRIDSYNC_ZOOKEEPER_AUTH": "sasl:u"})
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(("path", "reason"), [("/a", "resource x writes it too"), ("/a/b", "inside"), ("/", "inside")])
def test_two_resources_do_not_publish_at_one_path_nor_inside_each_other(path: str, reason: str) -> None:
    one = publishing(sink={"type": "zookeeper", "path": "/a"})
    other = publishing(sink={"type": "zookeeper", "path": path})
    [said] = problems(x=one, y=other)
    assert said.startswith(f"y.sink.path in HYBRIDSYNC_RESOURCES: '{path}' is not allowed (resource x ")
    assert reason in said
    assert loaded(x=one, y=publishing(sink={"type": "zookeeper", "path": "/ab"}))


@pytest.mark.parametrize("tree", ["/pigeon/channels", "/pigeon", "/", "/pigeon/channels/one"])
def test_a_loop_through_two_resources_is_refused(tree: str) -> None:
    [said] = problems(publish=publishing(), copy=mirror(tree, "channels"))
    assert "publish.sink.path" in said
    assert "what publish writes is read by copy → publish: a loop" in said


def test_a_loop_through_four_resources_is_refused() -> None:
    second = publishing(
        source={"type": "mongodb", "collection": "middle", "key": "_id"}, sink={"type": "zookeeper", "path": "/b"}
    )
    [said] = problems(a=publishing(), b=mirror("/pigeon", "middle"), c=second, d=mirror("/b", "channels"))
    assert "a loop" in said


def test_what_does_not_come_back_is_no_loop() -> None:
    assert loaded(publish=publishing(), copy=mirror("/pigeon/channels", "another"))
    assert loaded(publish=publishing(), copy=mirror("/pigeon", "channels", "/pigeon/channels"))
    assert loaded(publish=publishing(), copy=mirror("/pigeon", "channels", "/pigeon/channels/**"))
    assert loaded(publish=publishing(), copy=mirror("/pigeon/other", "channels"))


def test_a_schema_is_found_beside_the_configuration_and_in_what_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = loaded(r=publishing(schema=SCHEMA)).resources["r"].publish_rules()
    assert shipped.schema is not None
    assert "account" in shipped.schema.names

    own = tmp_path / "etc" / "config" / "schemas" / "channel.schema.json"
    own.parent.mkdir(parents=True)
    own.write_text('{"properties": {"mine": true}}')
    environ = {
        "HYBRIDSYNC_RESOURCES": json.dumps({"r": publishing(schema=SCHEMA)}),
        "HYBRIDSYNC_CONFIG_DIR": str(tmp_path / "etc" / "config"),
    }
    beside = load_settings(environ).settings.resources["r"].publish_rules()
    assert beside.schema is not None
    assert beside.schema.names == ("mine",)


def test_the_fingerprint_follows_what_decides_the_published_bytes() -> None:
    def fingerprint(resource: dict[str, Any]) -> str:
        settings = loaded(r=resource)
        return config_fingerprint("r", settings.resources["r"], settings)

    plain = fingerprint(publishing())
    assert fingerprint(publishing(source={**SOURCE, "poll_seconds": 5})) == plain
    others = [
        publishing(source={**SOURCE, "when": "on"}),
        publishing(sink={"type": "zookeeper", "path": "/b"}),
        publishing(schema=SCHEMA),
        publishing(fields={"a": "b"}),
    ]
    assert len({plain, *map(fingerprint, others)}) == 5
