"""Who may touch what was published: open, the creator alone, or one more user."""

from __future__ import annotations

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.security import ACL, Id, make_digest_acl

from hybridsync.embedded import ZooKeeperServer
from hybridsync.errors import SinkError
from hybridsync.model import Applied, Change, Put, Remove
from tests.publishing import index_of, publishing, record
from tests.servers import GivenZooKeeper, connected

Server = ZooKeeperServer | GivenZooKeeper

WRITER = make_digest_acl("writer", "w-secret", all=True)
GATEWAY = make_digest_acl("gateway", "g-secret", all=True)
ALL_USERS = [("digest", "writer:w-secret"), ("digest", "gateway:g-secret")]


@pytest.mark.parametrize(
    ("acl", "auth", "expected"),
    [
        ("open", None, [ACL(31, Id("world", "anyone"))]),
        ("open", "digest:writer:w-secret", [ACL(31, Id("world", "anyone"))]),
        ("creator", "digest:writer:w-secret", [WRITER]),
        ("digest:gateway:g-secret", None, [GATEWAY]),
        ("digest:gateway:g-secret", "digest:writer:w-secret", [WRITER, GATEWAY]),
        ("digest:writer:w-secret", "digest:writer:w-secret", [WRITER]),
    ],
)
async def test_znodes_get_the_access_list_of_the_resource_and_can_be_changed_by_it(
    zookeeper_server: Server, zk_root: str, acl: str, auth: str | None, expected: list[ACL]
) -> None:
    async with publishing(zookeeper_server.hosts, f"{zk_root}/channels", acl=acl, auth=auth) as sink:
        await sink.apply([Put(record("a")), Put(record("b"))])
        with connected(zookeeper_server.hosts, auth_data=ALL_USERS) as zk:
            for path in (zk_root, f"{zk_root}/channels", f"{zk_root}/channels/a"):
                assert sorted(zk.get_acls(path)[0]) == sorted(expected)
        changes: list[Change] = [Put(record("a", 2)), Remove("b")]
        assert await sink.apply(changes) == Applied(updated=1, deleted=1)
        assert set(await index_of(sink)) == {"a"}


async def test_only_the_user_of_the_access_list_reads_what_was_published(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    auth = "digest:writer:w-secret"
    async with publishing(zookeeper_server.hosts, zk_root, acl="digest:gateway:g-secret", auth=auth) as sink:
        await sink.apply([Put(record("a"))])
    with pytest.raises(NoAuthError):
        zk.get(f"{zk_root}/a")
    with connected(zookeeper_server.hosts, auth_data=[("digest", "gateway:g-secret")]) as gateway:
        assert gateway.get(f"{zk_root}/a")[0] == b'"v"'


async def test_a_path_that_may_not_be_read_is_an_error_that_names_it_and_no_secret(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(zk_root)
    zk.set_acls(zk_root, [make_digest_acl("somebody", "else", all=True)])
    async with publishing(zookeeper_server.hosts, zk_root, auth="digest:writer:w-secret") as sink:
        for attempt in (sink.prepare(), sink.count(), index_of(sink), sink.apply([Put(record("a"))])):
            with pytest.raises(SinkError, match=f"does not permit reading {zk_root}") as refused:
                await attempt
            assert "w-secret" not in str(refused.value)


async def test_a_parent_in_which_the_path_may_not_be_created_is_an_error_that_names_the_path(
    zookeeper_server: Server, zk: KazooClient, zk_root: str
) -> None:
    zk.create(zk_root)
    zk.set_acls(zk_root, [make_digest_acl("somebody", "else", all=True)])
    async with publishing(zookeeper_server.hosts, f"{zk_root}/a/b") as sink:
        with pytest.raises(SinkError, match=f"{zk_root}/a cannot be created: the access list"):
            await sink.prepare()
