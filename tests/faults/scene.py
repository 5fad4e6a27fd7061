"""`Scene`: a tree, a mirror, and a real service process between them, with proxies in both ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import pymongo
from kazoo.client import KazooClient
from pymongo.collection import Collection

from hybridsync.embedded.ports import LOOPBACK
from tests.faults.journal import Churn, Journal
from tests.faults.recorder import Recorder
from tests.mirror_truth import tree_of, wait_until_equal
from tests.proxy import TcpProxy
from tests.servers import connected
from tests.service import Service, moment, settings_for, wait_until

FAST = {"CONFIRM_INTERVAL_SECONDS": "0.1", "ZOOKEEPER_SESSION_TIMEOUT_SECONDS": "2"}
_AT_ONCE = 500
_HASTY = {"serverSelectionTimeoutMS": 1_000, "connectTimeoutMS": 1_000, "socketTimeoutMS": 2_000}


def now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


class Scene:
    """Use as `with`. The service is not started yet; `zk` and the journal reach ZooKeeper without a proxy.

    `more` are settings without the prefix, over those of `FAST`.
    """

    def __init__(self, zookeeper_port: int, mongodb_port: int, database: str, root: str, **more: str) -> None:
        self.root = root
        self.zookeeper_hosts = f"{LOOPBACK}:{zookeeper_port}"
        self._mongodb = f"mongodb://{LOOPBACK}:{mongodb_port}/{database}?directConnection=true"
        self._database = database
        self._exits = ExitStack()
        self._zk_exit = ExitStack()
        self.zk_proxy = TcpProxy(LOOPBACK, zookeeper_port)
        self.mongo_proxy = TcpProxy(LOOPBACK, mongodb_port)
        self._settings = FAST | more
        self.service = self.another_service()
        self._journal: Journal | None = None

    def __enter__(self) -> Self:
        for proxy in (self.zk_proxy, self.mongo_proxy):
            self._exits.enter_context(proxy)
        self._exits.callback(self._zk_exit.close)
        self._exits.callback(lambda: self.service.kill())
        self._patient = self._client()
        self._hasty = self._client(**_HASTY)
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"the service wrote:\n{self.service.stderr[-6000:]}")
        self._exits.close()

    def _client(self, **options: Any) -> pymongo.MongoClient[dict[str, Any]]:
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(self._mongodb, tz_aware=True, **options)
        self._exits.callback(client.close)
        return client

    def another_service(self, **more: str) -> Service:
        """A service on the same tree and mirror, not started; the caller ends it."""
        uri = f"mongodb://{self.mongo_proxy.address}/{self._database}?directConnection=true"
        return Service(settings_for(self.zk_proxy.address, uri, self.root, **{**self._settings, **more}))

    def restart_service(self, **more: str) -> None:
        """Starts a new service in the place of the one that ended, with more settings."""
        assert not self.service.running, "end the service first"
        self.service = self.another_service(**more).start()

    # -- the two sides ----------------------------------------------------------------------------

    def connect(self) -> None:
        """Opens a new session of the test's own."""
        self.disconnect()
        self.zk: KazooClient = self._zk_exit.enter_context(connected(self.zookeeper_hosts))
        if self._journal is None:
            self._journal = Journal(self.zk, self.root)
        self._journal.client = self.zk

    def disconnect(self) -> None:
        """Ends the session of the test."""
        self._zk_exit.close()

    @property
    def journal(self) -> Journal:
        """What the test wrote, in whatever session."""
        assert self._journal is not None, "the scene is not entered"
        return self._journal

    @property
    def collection(self) -> Collection[dict[str, Any]]:
        """The mirror, for reading."""
        return self._patient[self._database]["services"]

    @property
    def states(self) -> Collection[dict[str, Any]]:
        """What is remembered about full syncs."""
        return self._patient[self._database]["sync_states"]

    def populate(self, count: int, value: bytes = b'{"host": "10.0.0.1"}', *, group: str = "group") -> None:
        """Creates the root, where it is missing, and `count` znodes in groups of 100: `group-0/member-0` and so on."""
        self.zk.ensure_path(self.root)
        paths: list[str] = []
        for number in range(count):
            parent = f"{self.root}/{group}-{number // 100}"
            if number % 100 == 0:
                paths.append(parent)
            paths.append(f"{parent}/member-{number}")
        for start in range(0, len(paths), _AT_ONCE):
            transaction = self.zk.transaction()
            for path in paths[start : start + _AT_ONCE]:
                transaction.create(path, value)
            failed = [one for one in transaction.commit() if isinstance(one, Exception)]
            assert not failed, failed[:3]

    def delete_tree(self) -> None:
        """Deletes the root and everything below it, many znodes at once."""
        deepest_first = sorted(tree_of(self.zk, self.root), reverse=True)
        for start in range(0, len(deepest_first), _AT_ONCE):
            transaction = self.zk.transaction()
            for path in deepest_first[start : start + _AT_ONCE]:
                transaction.delete(path)
            failed = [one for one in transaction.commit() if isinstance(one, Exception)]
            assert not failed, failed[:3]

    def churn(self, **options: Any) -> Churn:
        """A writer for the length of a block."""
        return Churn(self.journal, **options)

    def write(self, count: int, *, seed: int = 7) -> None:
        """Some random changes, and returns."""
        churn = Churn(self.journal, seed=seed)
        for _ in range(count):
            churn.write_one()

    def wait_logged(self, message: str, count: int = 1) -> None:
        """Returns when the service has logged this message so often."""
        wait_until(lambda: len(self.service.logged(message)) >= count, f"{message!r} is logged {count} times")

    # -- watching and waiting ---------------------------------------------------------------------

    def recorder(self, service: Service | None = None, *, alone: bool = True) -> Recorder:
        """Records and checks every answer for the length of a block.

        Unless the service is `alone` on its mirror, promises are not held against the contents: what another
        one has on its way may land behind them, until that one sees the change, too.
        """
        journal = self.journal if alone else None
        return Recorder(service or self.service, self._hasty[self._database]["services"], journal)

    @contextmanager
    def running(self, *, alone: bool = True, **churn: Any) -> Iterator[Recorder]:
        """Starts the service, and has a recorder and a writer run for the length of a block.

        At its end everything comes to rest, and mirror and tree are compared.
        """
        self.service.start()
        with self.recorder(alone=alone) as recorder:
            with self.churn(**churn):
                yield recorder
            self.assert_equal_at_rest()

    def wait_for_writes(self, count: int) -> None:
        """Returns when the writer has done so many more."""
        goal = self.journal.writes + count
        wait_until(lambda: self.journal.writes >= goal, f"{count} more writes")

    def wait_confirmed(self, since: datetime | None = None) -> None:
        """Returns when `confirmedAt` is later than a moment, now by default."""
        after = since or now()
        wait_until(lambda: self._is_confirmed(after), f"confirmed after {after}")

    def _is_confirmed(self, since: datetime) -> bool:
        entry = self.service.resource()
        assert entry["confirmedAt"] is not None, entry
        assert entry["gapSince"] is None, entry
        assert moment(entry["confirmedAt"]) > since, entry
        return True

    def wait_readiness(self, status: int) -> None:
        """Returns when `/health/ready` answers with this status."""
        wait_until(lambda: self.service.get("/health/ready")[0] == status, f"/health/ready is {status}")

    def wait_entry(self, what: str, **wanted: Any) -> dict[str, Any]:
        """Returns the entry of `/health/sync` once it has these values; `informer` etc. by `a__b`."""

        def check() -> dict[str, Any]:
            entry = self.service.resource()
            for name, value in wanted.items():
                found: Any = entry
                for part in name.split("__"):
                    found = None if found is None else found[part]
                assert found == value, entry
            return entry

        return wait_until(check, what)

    def assert_equal_at_rest(self) -> None:
        """Waits until the service says that it is in sync now; then it must be so."""
        self.service.wait_in_sync(now())
        wait_until_equal(self.zk, self.root, self.collection, seconds=0.0)
