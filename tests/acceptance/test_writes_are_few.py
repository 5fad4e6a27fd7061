"""How much is written: MongoDB's own profiler counts what an unchanged and a changed resync do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.place import Document, Place
from tests.service import Service, wait_until

RECORDS = 1_000
WRITES = ("insert", "update", "remove")


@pytest.fixture
def profiled(place: Place) -> Iterator[Place]:
    """A mirror of a thousand znodes whose database records every operation from now on."""
    place.grow({"": b""} | {f"/{number}": b'{"n": 1}' for number in range(RECORDS - 1)})
    with Service(place.settings()) as service:
        service.wait_in_sync()
        service.terminate()
    place.database.command("profile", 2)
    yield place
    place.database.command("profile", 0)


def writes(place: Place) -> list[Document]:
    """Every write to the mirror since the profiler runs."""
    wanted = {"ns": f"{place.database.name}.services", "op": {"$in": WRITES}}
    return list(place.database["system.profile"].find(wanted))


def test_an_unchanged_tree_costs_no_write_to_the_mirror(profiled: Place) -> None:
    before = list(profiled.mirror.find().sort("_id"))
    with Service(profiled.settings()) as service:
        service.wait_in_sync()
        for _ in range(2):
            status, answer = service.post("/health/sync/trigger", {"wait": True})
            result = answer["results"]["services"]
            assert status == 200
            assert (result["read"], result["unchanged"]) == (RECORDS, RECORDS)
            assert (result["inserted"], result["updated"], result["deleted"]) == (0, 0, 0)
        service.wait_in_sync()

    assert writes(profiled) == []
    assert list(profiled.mirror.find().sort("_id")) == before


def test_one_change_in_a_thousand_costs_one_write(profiled: Place) -> None:
    profiled.set("/500", b"changed while nobody looked")
    with Service(profiled.settings()) as service:
        service.wait_in_sync()
        result = service.resource()["lastResult"]
        assert (result["updated"], result["unchanged"]) == (1, RECORDS - 1)
        assert profiled.document("/500")["value"] == "changed while nobody looked"

        assert [write["op"] for write in writes(profiled)] == ["update"]

        profiled.set("/501", b"changed under the watch")
        wait_until(lambda: profiled.document("/501")["value"] == "changed under the watch", "it arrives")
        assert [write["op"] for write in writes(profiled)] == ["update", "update"]


def test_a_hundred_changes_of_one_znode_are_not_a_hundred_writes_when_nobody_can_follow(profiled: Place) -> None:
    with Service(profiled.settings()) as service:
        service.wait_in_sync()
        pending = [profiled.zk.set_async(f"{profiled.root}/7", b"%d" % number) for number in range(500)]
        for one in pending:
            one.get(timeout=30)
        service.wait_in_sync()

        assert profiled.document("/7")["value"] == "499"
        assert 1 <= len(writes(profiled)) < 500
