"""`hybridsync.publisher`: an application that publishes documents itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kazoo.client import KazooClient

import hybridsync
from hybridsync.embedded import ZooKeeperServer
from hybridsync.errors import ConfigurationError
from hybridsync.sources.publish_rules import Invalid
from tests.acceptance.channels import channel, published
from tests.service import ROOT


def settings(hosts: str, path: str) -> hybridsync.Settings:
    channels: dict[str, Any] = {
        "source": {"type": "mongodb", "collection": "channels", "key": "channel_id", "when": "is_enabled"},
        "sink": {"type": "zookeeper", "path": path},
        "schema": str(ROOT / "config/schemas/channel.schema.json"),
        "fields": {"account": "upstream_account"},
    }
    mirror = {"source": {"type": "zookeeper", "path": "/elsewhere"}}
    environ = {
        "HYBRIDSYNC_ZOOKEEPER_HOSTS": hosts,
        "HYBRIDSYNC_RESOURCES": json.dumps({"channels": channels, "mirror": mirror}),
    }
    return hybridsync.load_settings(environ).settings


async def test_each_call_says_what_it_did(zookeeper_server: ZooKeeperServer, zk: KazooClient, zk_root: str) -> None:
    async with hybridsync.publisher(settings(zookeeper_server.hosts, zk_root), "channels") as publisher:
        assert await publisher.publish(channel("one")) == "created"
        assert json.loads(zk.get(f"{zk_root}/one")[0]) == published(channel("one"))
        assert await publisher.publish(channel("one", remark="not published")) == "unchanged"
        assert await publisher.publish(channel("one", port=9)) == "updated"

        assert publisher.validate(channel("one")) == []
        assert publisher.validate(channel("one", port=0)) == ["port: must be above 0"]
        with pytest.raises(Invalid, match="port: must be above 0") as caught:
            await publisher.publish(channel("one", port=0))
        assert caught.value.problems == ["port: must be above 0"]
        assert json.loads(zk.get(f"{zk_root}/one")[0])["port"] == 9

        assert await publisher.publish(channel("one", enabled=False)) == "withdrawn"
        assert zk.exists(f"{zk_root}/one") is None
        assert await publisher.withdraw("one") == "unchanged"
        await publisher.publish(channel("two"))
        assert await publisher.withdraw("two") == "deleted"


async def test_a_resource_that_does_not_publish_is_refused(zookeeper_server: ZooKeeperServer, zk_root: str) -> None:
    both = settings(zookeeper_server.hosts, zk_root)
    for name, reason in (
        ("nobody", "unknown resource 'nobody'; known: channels, mirror"),
        ("mirror", "publishes nothing"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            async with hybridsync.publisher(both, name):
                pass
