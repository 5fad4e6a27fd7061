"""`sync`, `verify`, `--repair` and `plan` for a resource that publishes, and what is refused before any of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.channels import Publishing, channel, published
from tests.acceptance.command import hybridsync
from tests.acceptance.place import Place


@pytest.fixture
def channels(place: Place) -> Publishing:
    """Five channels that are on, one that is off, one that is invalid; nothing is published yet."""
    made = Publishing(place)
    documents = [channel(f"c{number}") for number in range(5)]
    made.collection.insert_many([*documents, channel("off", enabled=False), channel("bad", port=0)])
    return made


FIVE = {f"c{number}": published(channel(f"c{number}")) for number in range(5)}


def json_of(*arguments: str, channels: Publishing, code: int = 0, **settings: Any) -> dict[str, Any]:
    """What the command says about the resource."""
    ended = hybridsync(*arguments, "--json", settings=channels.settings(**settings))
    assert ended.returncode == code, ended.stderr
    found: dict[str, Any] = next(iter(json.loads(ended.stdout).values()))["channels"]
    return found


def test_plan_says_that_a_sync_is_needed_and_creates_nothing(channels: Publishing) -> None:
    planned = json_of("plan", channels=channels)

    assert (planned["action"], planned["reason"]) == ("sync", "no_state")
    assert channels.zk.exists(channels.place.root) is None


def test_sync_publishes_what_is_on_and_writes_nothing_the_second_time(channels: Publishing) -> None:
    first = json_of("sync", "channels", channels=channels)
    before = channels.traces(), channels.zk.exists(channels.root)
    second = json_of("sync", "channels", channels=channels)

    assert channels.values() == FIVE
    assert (first["inserted"], first["updated"], first["deleted"]) == (5, 0, 0)
    assert (second["inserted"], second["updated"], second["deleted"], second["unchanged"]) == (0, 0, 0, 5)
    assert (channels.traces(), channels.zk.exists(channels.root)) == before


def test_one_sync_makes_right_what_an_older_publisher_left_and_touches_nothing_foreign(channels: Publishing) -> None:
    zk, root = channels.zk, channels.root
    zk.create(f"{root}/c0", json.dumps(FIVE["c0"], indent=2).encode(), makepath=True)  # the same, in other bytes
    zk.create(f"{root}/c1", b"no JSON")
    zk.create(f"{root}/off", b"{}")
    zk.create(f"{root}/gone", b"{}")
    good = json.dumps(FIVE["c2"], sort_keys=True, separators=(",", ":")).encode()
    zk.create(f"{root}/c2", good)
    foreign = [f"{root}/%zz", f"{root}/c0/gateway-1", f"{root}/%zz/deeper", f"{channels.place.root}/channels-2"]
    for path in foreign:
        zk.create(path, b"mine")
    untouched = [*foreign, f"{root}/c2"]
    before = [zk.get(path) for path in untouched]

    result = json_of("sync", "channels", channels=channels)

    assert (result["inserted"], result["updated"], result["deleted"], result["unchanged"]) == (2, 2, 2, 1)
    assert {name: channels.bytes_of(name) for name in FIVE} == {
        name: json.dumps(value, sort_keys=True, separators=(",", ":")).encode() for name, value in FIVE.items()
    }
    assert channels.names() == {*FIVE, "%zz"}
    assert [zk.get(path) for path in untouched] == before


def test_verify_counts_what_was_changed_by_hand_and_repair_makes_it_good(channels: Publishing) -> None:
    assert hybridsync("sync", settings=channels.settings()).returncode == 0
    equal = json_of("verify", channels=channels)
    assert (equal["missing"], equal["extra"], equal["different"]) == (0, 0, 0)
    channels.zk.delete(f"{channels.root}/c0")
    channels.zk.set(f"{channels.root}/c1", b'{"password": "tampered-with"}')
    channels.zk.create(f"{channels.root}/off", b"{}")
    channels.zk.create(f"{channels.root}/c2/gateway", b"")
    tampered = channels.traces()

    drift = json_of("verify", "channels", channels=channels, code=1)
    assert (drift["missing"], drift["extra"], drift["different"], drift["repaired"]) == (1, 1, 1, 0)
    assert drift["samples"] == {"missing": ["c0"], "extra": ["off"], "different": ["c1"]}
    assert channels.traces() == tampered, "without --repair nothing is written"

    repaired = json_of("verify", "--repair", channels=channels)
    assert repaired["repaired"] == 3
    assert channels.values() == FIVE
    assert channels.zk.exists(f"{channels.root}/c2/gateway") is not None
    assert json_of("verify", channels=channels)["missing"] == 0


def test_an_invalid_document_keeps_its_znode_through_sync_verify_and_repair(channels: Publishing) -> None:
    assert hybridsync("sync", settings=channels.settings()).returncode == 0
    channels.collection.update_one({"channel_id": "c0"}, {"$set": {"rate_limit": -1}})
    before = channels.traces()

    for command in (("sync",), ("verify",), ("verify", "--repair")):
        ended = hybridsync(*command, settings=channels.settings())
        assert ended.returncode == 0, (command, ended.stdout, ended.stderr)

    assert channels.traces() == before
    assert channels.values() == FIVE


@pytest.mark.parametrize("command", [("sync",), ("verify", "--repair")])
def test_a_collection_that_is_suddenly_empty_deletes_nothing_until_that_is_allowed(
    channels: Publishing, command: tuple[str, ...]
) -> None:
    channels.collection.insert_many([channel(f"d{number}") for number in range(100)])
    assert hybridsync("sync", settings=channels.settings()).returncode == 0
    before = channels.traces()
    assert len(before) == 105
    channels.collection.delete_many({})

    refused = json_of(*command, channels=channels, code=1)
    assert "SWEEP_LIMIT_PERCENT" in refused["error"]
    assert channels.traces() == before

    json_of(*command, channels=channels, SWEEP_LIMIT_PERCENT="100")
    assert channels.names() == set()


@pytest.mark.parametrize("command", ["run", "sync"])
def test_a_loop_is_refused_in_one_line_and_nothing_is_touched(channels: Publishing, command: str) -> None:
    settings = channels.settings()
    back = {
        "source": {"type": "zookeeper", "path": channels.place.root},
        "sink": {"type": "mongodb", "collection": "channels"},
    }
    settings["RESOURCES"] = json.dumps(json.loads(settings["RESOURCES"]) | {"back": back})

    ended = hybridsync(command, settings=settings)

    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert "what channels writes is read by back → channels: a loop" in line
    assert channels.zk.exists(channels.place.root) is None
    assert channels.place.database.list_collection_names() == ["channels"]
