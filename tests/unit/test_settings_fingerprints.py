"""The fingerprint of a configuration is kept in `sync_states` and in the field: it may not change between versions.

Another fingerprint means `config_changed`: a full sync before ready, for every mirror there is.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hybridsync.settings import config_fingerprint, load_settings

RESOURCES: dict[str, dict[str, object]] = {
    "tree": {"source": {"type": "zookeeper", "path": "/services"}},
    "tree-excluded": {
        "source": {"type": "zookeeper", "path": "/app", "exclude": ["/app/tmp/**", "/app/*/lock"]},
        "sink": {"collection": "app"},
    },
    "channels": {
        "source": {
            "type": "mongodb",
            "collection": "channels_in",
            "key": "channel",
            "when": "on",
            "poll_seconds": 5,
        },
        "sink": {"type": "zookeeper", "path": "/channels", "acl": "digest:u:p"},
    },
    "fielded": {
        "source": {"type": "mongodb", "collection": "users_in", "key": "id"},
        "sink": {"type": "zookeeper", "path": "/users"},
        "fields": {"name": "userName"},
    },
    "schemed": {
        "source": {"type": "mongodb", "collection": "chan2", "key": "id"},
        "sink": {"type": "zookeeper", "path": "/chan2"},
        "schema": "schema.json",
    },
    "deployments": {"source": {"type": "kubernetes", "api": "apps/v1", "plural": "deployments"}},
    "pods": {
        "source": {
            "type": "kubernetes",
            "api": "v1",
            "plural": "pods",
            "namespaces": ["prod", "dev"],
            "label_selector": "app=web",
            "field_selector": "status.phase=Running",
            "drop": ["status"],
            "managed_fields": True,
        },
        "sink": {"collection": "pods_of_prod"},
    },
}
WITHOUT_CHROOT = {
    "tree": "8099ba7e4e327d61",
    "tree-excluded": "eec9e61a697a535f",
    "channels": "ac9be4ade5fc800e",
    "fielded": "75f6f5f3a0597132",
    "schemed": "6d1969e88b3ad17b",
    "deployments": "ee6f5b13a30f5ccf",
    "pods": "359562f0acb69364",
}
BELOW_APP = {
    "tree": "19f686f2460b0f1a",
    "tree-excluded": "6a50ccddca7f3b4d",
    "channels": "e17204b590522dfc",
    "fielded": "91b62080ff3cd672",
    "schemed": "9a1fbc616be33632",
    "deployments": "9cc1ff5ca627afeb",
    "pods": "30a6cc4acdc93301",
}


@pytest.mark.parametrize(
    ("hosts", "expected"), [("h1:2181,h2:2181", WITHOUT_CHROOT), ("h1:2181,h2:2181/app", BELOW_APP)]
)
def test_a_configuration_keeps_the_fingerprint_that_earlier_versions_gave_it(
    hosts: str, expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("schema.json").write_text('{"type":"object","properties":{"a":{"type":"string"}}}')
    environ = {"HYBRIDSYNC_RESOURCES": json.dumps(RESOURCES), "HYBRIDSYNC_ZOOKEEPER_HOSTS": hosts}

    settings = load_settings(environ).settings

    assert {name: config_fingerprint(name, one, settings) for name, one in settings.resources.items()} == expected
