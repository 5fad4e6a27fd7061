"""Writes of objects that arrive long after they were given up: no guard can tell, only their order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hybridsync.embedded import MongoServer
from hybridsync.errors import SinkUnavailable
from hybridsync.model import Change, Put, Remove
from tests.eventually import eventually
from tests.kube_records import kube_object, object_mirror
from tests.mirror_records import whole_index
from tests.proxy import TcpProxy

OLD, NEW = kube_object("web", version="1"), kube_object("web", uid="uid-2", version="2")


@pytest.mark.parametrize("stuck", [Remove("prod/web"), Put(OLD)], ids=["a removal", "an older state"])
async def test_what_was_stuck_on_its_way_does_not_undo_what_came_after_it(
    own_mongodb: MongoServer, proxy_factory: Callable[[str, int], TcpProxy], stuck: Change
) -> None:
    host, port = own_mongodb.address.split(":")
    proxy = proxy_factory(host, int(port))
    uri = f"mongodb://{proxy.address}/test?directConnection=true"
    async with object_mirror(uri, operation_seconds=1.0, retry_seconds=3.0) as sink:
        await sink.apply([Put(OLD)])
        proxy.stall("to_server")
        with pytest.raises(SinkUnavailable):
            await sink.apply([stuck])
        proxy.resume()

        async def applied() -> bool:
            try:
                await sink.apply([Put(NEW)])
            except SinkUnavailable:
                return False
            return True

        await eventually(applied)
        assert await whole_index(sink) == {"prod/web": NEW.version}
