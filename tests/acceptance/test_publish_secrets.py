"""Marked passwords in documents, znodes and access lists; whatever comes out anywhere is searched for the marks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kazoo.exceptions import NoAuthError
from kazoo.security import make_digest_acl

from tests.acceptance.channels import Publishing, channel, invalid_of, published
from tests.acceptance.command import hybridsync
from tests.acceptance.place import Document, Place
from tests.acceptance.test_secrets_stay_secret import MARK, NOBODY, ROUTES, clean
from tests.service import Service, wait_until

SECRET = f"{MARK}-pass word/é"


@pytest.fixture
def channels(place: Place) -> Publishing:
    return Publishing(place)


def secret_channel(key: str, **changes: Any) -> Document:
    return channel(key, **({"password": SECRET} | changes))


def broken() -> dict[str, Document]:
    """Documents that are not published, by what they are called; the password is wherever it can be."""
    found = {
        "number": secret_channel("number", port=-1),
        "elsewhere": secret_channel("elsewhere", port=SECRET, default_encoding=[SECRET]),
        "list": secret_channel("list", password=[SECRET]),
        "object": secret_channel("object", password={SECRET: SECRET}),
        "switch": secret_channel("switch", is_enabled=SECRET),
        "nan": secret_channel("nan", rate_limit=float("nan")),
        "_id 7": secret_channel("", _id=7),
    }
    twice = [secret_channel("twice", port=number) for number in (1, 2)]
    return found | {"twice": twice[0], "once more": twice[1]}


def pages(service: Service) -> list[str]:
    return [str(service.get(path)[1]) for path in ROUTES]


def test_passwords_in_documents_are_in_no_log_no_page_and_no_state(channels: Publishing) -> None:
    documents = broken()
    channels.collection.insert_many([*documents.values(), secret_channel("good")])
    # one that ZooKeeper refuses for its length, one for its access list
    channels.collection.insert_many([secret_channel("long", path=SECRET * 100_000), secret_channel("protected")])
    channels.zk.create(f"{channels.root}/good", SECRET.encode(), makepath=True)
    nobody = [make_digest_acl("nobody", SECRET, all=True)]
    channels.zk.create(f"{channels.root}/protected", SECRET.encode(), acl=nobody)

    with Service(channels.settings(LOG_LEVEL="debug", TRACE_KEYS="*")) as service:
        wait_until(lambda: set(documents) - {"once more"} == set(invalid_of(service)), "every broken one is named")
        wait_until(lambda: channels.bytes_of("good") != SECRET.encode(), "the good one is published")
        channels.collection.update_one({"channel_id": "good"}, {"$set": {"password": f"{SECRET}-2"}})
        channels.collection.insert_one(secret_channel("late", rate_limit=SECRET))
        expected = published(secret_channel("good", password=f"{SECRET}-2"))
        wait_until(lambda: json.loads(channels.bytes_of("good")) == expected, "the new password is published")
        wait_until(lambda: "late" in invalid_of(service), "the late one is named")
        wait_until(lambda: "its znode may not be read" in service.stderr, "the protected one is named")
        wait_until(lambda: "does not fit into a znode" in service.stderr, "the long one is named")
        clean(*pages(service))
        assert service.terminate() == 0
        clean(service.stderr)
    clean(str(list(channels.place.database["sync_states"].find())))


def test_passwords_in_documents_are_in_the_output_of_no_command(channels: Publishing) -> None:
    channels.collection.insert_many([*broken().values(), secret_channel("good"), secret_channel("missing")])
    channels.zk.create(f"{channels.root}/good", SECRET.encode(), makepath=True)
    channels.zk.create(f"{channels.root}/extra", SECRET.encode())
    settings = channels.settings(LOG_LEVEL="debug", TRACE_KEYS="*")

    for command in (("verify", "--json"), ("sync",), ("verify", "--repair"), ("config",)):
        ended = hybridsync(*command, settings=settings)
        assert ended.returncode == (1 if command == ("verify", "--json") else 0), (command, ended.stderr)
        clean(ended.stdout, ended.stderr)

    away = hybridsync("sync", settings=settings | {"ZOOKEEPER_HOSTS": NOBODY, "SYNC_TIMEOUT_SECONDS": "1"})
    assert away.returncode == 1
    clean(away.stdout, away.stderr)


def test_the_password_of_an_access_list_is_shown_nowhere(channels: Publishing) -> None:
    channels.collection.insert_one(channel("one"))
    sink = {"type": "zookeeper", "path": channels.root, "acl": f"digest:gateway:{SECRET}"}
    settings = channels.settings(resource={"sink": sink}, LOG_LEVEL="debug")

    with Service(settings) as service:
        service.wait_ready()
        service.wait_in_sync()
        clean(*pages(service))
        assert service.terminate() == 0
        clean(service.stderr)
    with pytest.raises(NoAuthError):
        channels.bytes_of("one")
    channels.zk.add_auth("digest", f"gateway:{SECRET}")
    assert channels.values() == {"one": published(channel("one"))}
    config = hybridsync("config", settings=settings)
    assert config.returncode == 0
    clean(config.stdout, config.stderr)
