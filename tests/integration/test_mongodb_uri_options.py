"""Whatever options a MongoDB URI has, they make no write late, no answer unreadable and no claim false."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pymongo
import pytest
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from pymongo.database import Database
from pymongo.errors import OperationFailure
from pymongo.uri_parser import split_options

from hybridsync.errors import ConfigurationError, SinkError
from hybridsync.model import ANY, Applied, Put, Remove
from hybridsync.mongodb import MongoDB, Session
from hybridsync.mongodb_options import PLAIN, client_options
from hybridsync.mongodb_sessions import id_of
from hybridsync.sinks.lane_registry import TRANSACTION_TOO_OLD
from hybridsync.sinks.mongodb import MongoMirror
from hybridsync.sinks.state_store import MongoStateStore
from hybridsync.sinks.write_lanes import WriteLanes
from hybridsync.sinks.znode_codec import ZnodeCodec
from hybridsync.state import SyncState, SyncStatus
from tests.eventually import eventually
from tests.mirror_records import whole_index, znode

Stored = Database[dict[str, Any]]

ODD = [
    "uuidRepresentation=standard",
    "uuidRepresentation=pythonLegacy",
    "uuidRepresentation=javaLegacy",
    "uuidRepresentation=csharpLegacy",
    "tz_aware=false",
    "unicode_decode_error_handler=ignore",
    "datetime_conversion=DATETIME",
    "datetime_conversion=DATETIME_MS",
    "w=1",
    "w=3",
    "w=unheardOf",
    "w=1&journal=false",
    "fsync=true",
    "wtimeoutMS=1",
    "readConcernLevel=local",
    "readConcernLevel=available",
    "readConcernLevel=snapshot",
    "readConcernLevel=linearizable",
    "readPreference=secondary",
    "readPreference=secondaryPreferred&maxStalenessSeconds=90",
    "readPreference=nearest&readPreferenceTags=dc:elsewhere",
    "retryWrites=false",
    "retryReads=false",
    "timeoutMS=1",
    "timeoutMS=0",
    "socketTimeoutMS=1",
    "socketTimeoutMS=0",
    "connectTimeoutMS=1",
    "connectTimeoutMS=0",
    "serverSelectionTimeoutMS=0",
    "serverSelectionTimeoutMS=3600000",
    "waitQueueTimeoutMS=1",
    "waitQueueMultiple=1",
    "maxPoolSize=1",
    "maxPoolSize=0",
    "minPoolSize=3",
    "maxIdleTimeMS=1",
    "maxConnecting=1",
    "heartbeatFrequencyMS=600000",
    "serverMonitoringMode=poll",
    "localThresholdMS=0",
    "compressors=zlib&zlibCompressionLevel=9",
    "appname=another",
    "connect=false",
    "connect=true",
    "maxAdaptiveRetries=0",
]


@asynccontextmanager
async def client(uri: str) -> AsyncIterator[MongoDB]:
    mongodb = MongoDB(uri)
    try:
        yield mongodb
    finally:
        await mongodb.close()


@pytest.mark.parametrize("option", ODD)
async def test_everything_works_as_without_it(mongo_uri: str, option: str) -> None:
    async with client(f"{mongo_uri}&{option}") as mongodb:
        await mongodb.ping()
        assert mongodb.trouble is None
        sink = MongoMirror(mongodb, "mirror", ZnodeCodec("/a"))
        await sink.prepare()
        records = [znode(f"/a/{number}") for number in range(50)]
        assert await sink.apply([Put(record) for record in records]) == Applied(inserted=50)
        assert await sink.apply([Put(znode("/a/0", b"new", mzxid=200), ANY)]) == Applied(updated=1)
        assert await sink.apply([Remove("/a/1", as_of=500)]) == Applied(deleted=1)
        assert len(await whole_index(sink)) == 49
        assert await sink.differing(records[2:]) == []
        assert list(await sink.held(["/a/2"])) == ["/a/2"]
        assert await sink.identity() is not None
        store = MongoStateStore(mongodb)
        state = SyncState(resource_type="x", status=SyncStatus.COMPLETED, confirmed_at=datetime(2026, 1, 1, tzinfo=UTC))
        await store.save(state)
        assert await store.load("x") == state
        assert mongodb.collection("x").write_concern.document == {"w": "majority", "j": True}
        assert mongodb.collection("x").read_concern.document == {"level": "majority"}
        assert mongodb.collection("x").codec_options == PLAIN


@pytest.mark.parametrize("option", ODD)
async def test_what_a_dead_instance_had_on_its_way_is_fenced(
    mongo_uri: str, mongo_database: Stored, option: str
) -> None:
    used: list[Session] = []
    async with client(f"{mongo_uri}&{option}") as dead, client(f"{mongo_uri}&{option}") as successor:
        collection = dead.collection("mirror")
        lanes = WriteLanes(dead, collection)

        async def write(session: Session) -> None:
            used.append(session)
            await collection.insert_one({"_id": "/a/x"}, session=session)

        await lanes.settle()
        await lanes.write(write)
        mongo_database["mirror"].delete_one({"_id": "/a/x"})
        await MongoMirror(successor, "mirror", ZnodeCodec("/a")).prepare()
        late = {"insert": "mirror", "documents": [{"_id": "/a/x"}], "txnNumber": Int64(1)}
        with pytest.raises(OperationFailure) as refused:
            await collection.database.command(late, session=used[0])
        assert refused.value.code == TRANSACTION_TOO_OLD
        assert isinstance(id_of(used[0]), Binary)
    assert mongo_database["mirror"].count_documents({}) == 0


@pytest.mark.parametrize(
    "option",
    ["timeoutMS=1", "socketTimeoutMS=1", "readConcernLevel=local", "readPreference=secondary", "maxPoolSize=1"],
)
async def test_a_change_stream_can_be_followed_with_it(mongo_uri: str, mongo_database: Stored, option: str) -> None:
    mongo_database.create_collection("source")
    async with client(f"{mongo_uri}&{option}") as mongodb:
        feed = await mongodb.follow("source", [], resume=None, await_seconds=0.2, options=PLAIN)
        assert await feed.next() is None
        mongo_database["source"].insert_one({"_id": 1})
        event = await eventually(feed.next)
        assert event["documentKey"] == {"_id": 1}
        await feed.close()


async def test_with_a_tiny_pool_a_sign_of_life_does_not_wait_for_long_requests(mongo_uri: str) -> None:
    async with client(f"{mongo_uri}&maxPoolSize=1") as mongodb:
        await mongodb.ping()
        held = mongodb.collection("held")
        await held.insert_one({})
        long = asyncio.create_task(mongodb.run(lambda: held.find_one({"$where": "sleep(4000) || true"})))
        await asyncio.sleep(0)
        for _ in range(3):
            await mongodb.ping()
        assert not long.done()
        await long


async def test_what_cannot_be_decoded_by_others_is_decoded(mongo_uri: str, mongo_database: Stored) -> None:
    async with client(f"{mongo_uri}&datetime_conversion=DATETIME&uuidRepresentation=standard") as mongodb:
        identity = uuid.uuid4()
        stored = {"_id": Binary.from_uuid(identity), "late": DatetimeMS(2**62), "legacy": Binary(b"x" * 16, 3)}
        mongo_database["odd"].insert_one(stored)
        assert await mongodb.collection("odd").find_one() == stored


@pytest.mark.parametrize("option", ["w=0", "w=0&journal=true", "W=0", "x=1", "directConnection=maybe", "driver=mine"])
def test_what_cannot_be_used_is_refused_in_one_line(option: str) -> None:
    for separator in "&;":
        uri = "mongodb://127.0.0.1/db?appname=x" + separator + option.replace("&", separator)
        with pytest.raises(ConfigurationError, match=r"^HYBRIDSYNC_MONGODB_URI: [^\n]+$"):
            MongoDB(uri)


async def test_a_server_that_is_no_load_balancer_is_told_in_one_line(mongo_uri: str) -> None:
    async with client(mongo_uri.replace("directConnection=true", "loadBalanced=true")) as mongodb:
        with pytest.raises(SinkError, match=r"^MongoDB at [^\n]*load balancing mode[^\n]*$"):
            await mongodb.ping()


async def test_the_log_names_the_options_that_are_not_obeyed(
    mongo_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with client(f"{mongo_uri}&w=1&maxPoolSize=1&appname=mine"):
        logged = capsys.readouterr().out
    assert "['maxpoolsize', 'w']" in logged
    async with client(f"{mongo_uri}&w=majority&retryWrites=true&maxPoolSize=50&readPreference=primary"):
        assert capsys.readouterr().out == ""


def test_every_option_of_this_pymongo_was_thought_of() -> None:
    """A new pymongo may have another option that makes a claim false: then this fails, for somebody to look."""
    named = {part.partition("=")[0].lower() for option in ODD for part in option.split("&")}
    of_the_connection = {
        *(
            "tls",
            "ssl",
            "tlsallowinvalidcertificates",
            "tlsallowinvalidhostnames",
            "tlscafile",
            "tlscertificatekeyfile",
        ),
        *("tlscertificatekeyfilepassword", "tlscrlfile", "tlsdisableocspendpointcheck", "tlsinsecure"),
        *("authmechanism", "authmechanismproperties", "authsource", "replicaset", "directconnection", "loadbalanced"),
        *(
            "srvallowedhostssuffix",
            "srvmaxhosts",
            "srvservicename",
            "driver",
            "server_api",
            "enableoverloadretargeting",
        ),
    }
    known = set(pymongo.common.URI_OPTIONS_VALIDATOR_MAP)
    assert known <= named | of_the_connection
    assert client_options({})["w"] == "majority"
    assert split_options("w=1")  # what a URI's options go through
