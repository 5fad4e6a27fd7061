"""The rules of publishing, each on real servers through the real service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.acceptance.channels import Publishing, channel, invalid_of, published
from tests.acceptance.place import Place
from tests.service import Service, wait_until

SECRET = "hunter2hunter2"


@pytest.fixture
def channels(place: Place) -> Publishing:
    return Publishing(place)


@pytest.fixture
def service(channels: Publishing) -> Iterator[Service]:
    """A service that publishes an empty collection."""
    channels.collection.create_index("channel_id")
    with Service(channels.settings()) as running:
        running.wait_ready()
        running.wait_in_sync()
        yield running


def test_a_channel_lives_from_its_creation_to_its_deletion(channels: Publishing, service: Service) -> None:
    collection, document = channels.collection, channel("one", enabled=False)
    collection.insert_one(document)
    service.wait_in_sync()
    assert channels.names() == set()

    collection.update_one({"channel_id": "one"}, {"$set": {"is_enabled": True}})
    channels.until({"one": published(document)})
    assert channels.bytes_of("one") == json.dumps(published(document), sort_keys=True, separators=(",", ":")).encode()

    collection.update_one({"channel_id": "one"}, {"$set": {"port": 9090}})
    channels.until({"one": published(document) | {"port": 9090}})

    collection.update_one({"channel_id": "one"}, {"$set": {"is_enabled": False}})
    channels.until({})
    collection.delete_one({"channel_id": "one"})
    service.wait_in_sync()
    assert channels.names() == set()
    assert service.logged("watch lost") == []


def test_an_edit_that_leaves_the_published_bytes_equal_writes_nothing(channels: Publishing, service: Service) -> None:
    document = channel("one")
    channels.collection.insert_one(document)
    channels.until({"one": published(document)})
    before = channels.traces()

    channels.collection.update_one({"channel_id": "one"}, {"$set": {"remark": "another", "port": 8080.0}})
    channels.collection.replace_one({"channel_id": "one"}, channel("one", remark="once more"))
    service.wait_in_sync()

    assert channels.traces() == before


def test_an_enabled_document_that_is_deleted_takes_its_znode_with_it_and_a_warning_says_so(
    channels: Publishing, service: Service
) -> None:
    channels.collection.insert_many([channel("one"), channel("two")])
    channels.until({key: published(channel(key)) for key in ("one", "two")})

    channels.collection.delete_one({"channel_id": "one"})

    channels.until({"two": published(channel("two"))})
    message = "documents were deleted that were not switched off before: what is published for them goes too"
    [warning] = wait_until(lambda: service.logged(message), "the warning is there")
    assert (warning["level"], warning["count"], warning["keys"]) == ("warning", 1, ["one"])


def test_an_invalid_change_keeps_the_last_good_znode_and_holds_up_no_other(
    channels: Publishing, service: Service
) -> None:
    channels.collection.insert_one(channel("one"))
    channels.until({"one": published(channel("one"))})

    channels.collection.update_one({"channel_id": "one"}, {"$set": {"port": 70000, "password": "  "}})
    channels.collection.insert_many([channel("two", rate_limit=True), channel("three")])

    channels.until({key: published(channel(key)) for key in ("one", "three")})
    wait_until(lambda: set(invalid_of(service)) == {"one", "two"}, "both are named")
    found = invalid_of(service)
    assert "port: must be at most 65535" in found["one"]
    assert "password: must match" in found["one"]
    assert found["two"] == "rate_limit: must be of type integer"
    told = {entry["key"]: entry["problem"] for entry in service.logged("a document is not published")}
    assert told == found

    status, _ = service.post("/health/sync/trigger", {"wait": True}, seconds=60)
    assert status == 200
    assert channels.names() == {"one", "three"}, "a full sync sweeps no invalid document"
    assert "hybridsync_invalid_records" in service.get("/metrics")[1]

    channels.collection.update_one({"channel_id": "one"}, {"$set": {"port": 1, "password": SECRET}})
    channels.until({"one": published(channel("one", port=1)), "three": published(channel("three"))})
    wait_until(lambda: set(invalid_of(service)) == {"two"}, "the corrected one is no longer named")
    channels.collection.delete_one({"channel_id": "two"})
    wait_until(lambda: not invalid_of(service), "the deleted one is no longer named")
    assert SECRET not in service.stderr
    assert "70000" not in service.stderr


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        *[({field: " \t"}, f"{field}: must match \\S") for field in ("path", "password")],
        ({"upstream_account": ""}, "account (upstream_account in the document): must match \\S"),
        ({"path": 5}, "path: must be of type string"),
        *[({field: 0}, f"{field}: must be above 0") for field in ("port", "rate_limit", "max_connection")],
        *[({field: True}, f"{field}: must be of type integer") for field in ("port", "default_encoding")],
        ({"max_connection": 1.5}, "max_connection: must be of type integer"),
        ({"port": "8080"}, "port: must be of type integer"),
        ({"port": 65536}, "port: must be at most 65535"),
        ({"default_encoding": -1}, "default_encoding: must be at least 0"),
        ({"default_encoding": None}, "default_encoding: must be of type integer"),
        ({"rate_limit": float("nan")}, "rate_limit: JSON has no number that is infinite or not a number"),
        ({"is_enabled": "false"}, "is_enabled: must be true or false"),
    ],
)
def test_a_document_that_breaks_a_rule_of_the_channel_schema_is_named_with_field_and_rule(
    shared: tuple[Publishing, Service], change: dict[str, object], problem: str
) -> None:
    channels, service = shared
    key = f"k{abs(hash(str(change)))}"
    channels.collection.insert_one(channel(key) | change)

    wait_until(lambda: invalid_of(service).get(key) == problem, f"{key} is named: {problem}")

    assert key not in channels.names()
    channels.collection.delete_one({"channel_id": key})
    wait_until(lambda: key not in invalid_of(service), f"{key} is no longer named")


def test_a_missing_field_is_named(shared: tuple[Publishing, Service]) -> None:
    channels, service = shared
    document = channel("bare")
    del document["default_encoding"]
    channels.collection.insert_one(document)
    wait_until(lambda: invalid_of(service).get("bare") == "default_encoding: is missing", "it is named")
    channels.collection.delete_one({"channel_id": "bare"})


@pytest.fixture(scope="module")
def shared(shared_place: Place) -> Iterator[tuple[Publishing, Service]]:
    """A service that the tests of single rules share."""
    channels = Publishing(shared_place)
    with Service(channels.settings()) as running:
        running.wait_ready()
        yield channels, running


def test_documents_without_a_usable_key_are_named_by_their_id(channels: Publishing, service: Service) -> None:
    bad = [channel("x", channel_id=value, _id=number) for number, value in enumerate(["", "  ", 5, None])]
    channels.collection.insert_many(bad)
    wait_until(lambda: set(invalid_of(service)) == {f"_id {number}" for number in range(4)}, "all four are named")
    assert set(invalid_of(service).values()) == {"channel_id: the key must be a text that is not blank"}

    channels.collection.update_one({"_id": 0}, {"$set": {"channel_id": "found"}})
    channels.collection.update_one({"_id": 1}, {"$set": {"is_enabled": False}})
    channels.collection.delete_one({"_id": 2})
    wait_until(lambda: set(invalid_of(service)) == {"_id 3"}, "one is left")
    channels.until({"found": published(channel("found"))})


def test_two_enabled_documents_with_one_key_are_a_conflict_until_one_of_them_gives_way(
    channels: Publishing, service: Service
) -> None:
    channels.collection.insert_one(channel("one", _id=1))
    channels.until({"one": published(channel("one"))})

    channels.collection.insert_one(channel("one", _id=2, port=9))
    wait_until(lambda: "one" in invalid_of(service), "the conflict is named")
    assert invalid_of(service)["one"] == "2 documents have this key: _id 1, _id 2"
    status, _ = service.post("/health/sync/trigger", {"wait": True}, seconds=60)
    assert (status, channels.values()) == (200, {"one": published(channel("one"))})

    channels.collection.update_one({"_id": 1}, {"$set": {"is_enabled": False}})
    channels.until({"one": published(channel("one", port=9))})
    wait_until(lambda: not invalid_of(service), "there is no conflict any more")


def test_a_document_that_gets_another_key_moves(channels: Publishing, service: Service) -> None:
    channels.collection.insert_one(channel("old"))
    channels.until({"old": published(channel("old"))})
    channels.collection.update_one({}, {"$set": {"channel_id": "new/1"}})
    channels.until({"new%2F1": published(channel("new/1"))})


def test_closing_500_channels_at_once_deletes_500_znodes_and_deleting_the_documents_then_sends_nothing(
    channels: Publishing, service: Service
) -> None:
    channels.collection.insert_many([channel(f"c{number}") for number in range(500)])
    wait_until(lambda: len(channels.names()) == 500, "all are published")

    channels.collection.update_many({}, {"$set": {"is_enabled": False}})
    wait_until(lambda: not channels.names(), "all are gone")
    service.wait_in_sync()

    before = channels.zk.exists(channels.root)
    counts = service.resource()["informer"]["lastEventTime"]
    channels.collection.delete_many({})
    service.wait_in_sync()
    after = channels.zk.exists(channels.root)
    assert before is not None
    assert after is not None
    assert (after.pzxid, after.cversion) == (before.pzxid, before.cversion)
    assert service.resource()["informer"]["lastEventTime"] == counts, "no key was marked"


def test_a_document_that_is_switched_off_may_change_and_go_without_a_request(
    channels: Publishing, service: Service
) -> None:
    before = service.resource()["informer"]["lastEventTime"]
    channels.collection.insert_one(channel("one", enabled=False))
    channels.collection.update_one({}, {"$set": {"port": 0, "channel_id": "two"}})
    channels.collection.replace_one({}, channel("three", enabled=False))
    assert len(list(channels.collection.find())) == 1
    channels.collection.delete_one({})
    service.wait_in_sync()
    assert service.resource()["informer"]["lastEventTime"] == before, "no key was marked, so nothing was asked"
    assert channels.names() == set()
    assert invalid_of(service) == {}


def test_a_burst_of_edits_costs_few_writes(channels: Publishing, service: Service) -> None:
    channels.collection.insert_one(channel("one"))
    channels.until({"one": published(channel("one"))})
    channels.collection.database.client.admin.command("ping")
    with channels.collection.database.client.start_session() as session, session.start_transaction():
        for number in range(10):
            channels.collection.update_one({}, {"$set": {"rate_limit": 100 + number}}, session=session)
    channels.until({"one": published(channel("one", rate_limit=109))})
    stat = channels.zk.exists(f"{channels.root}/one")
    assert stat is not None
    assert stat.version == 1


def test_without_a_schema_every_field_but_the_id_and_the_switch_is_published(place: Place) -> None:
    channels = Publishing(place)
    channels.collection.insert_one(
        {
            "channel_id": "one",
            "is_enabled": 1,
            "upstream_account": "a",
            "seen": datetime(2026, 11, 20, 21, tzinfo=UTC),
            "nested": {"list": [1.0, None, "ü"]},
        }
    )
    with Service(channels.settings(resource={"schema": None})) as service:
        service.wait_ready()
        channels.until(
            {
                "one": {
                    "channel_id": "one",
                    "account": "a",
                    "seen": "2026-11-20T21:00:00.000Z",
                    "nested": {"list": [1, None, "ü"]},
                }
            }
        )
