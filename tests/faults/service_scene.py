"""`ServiceScene`: a real service process between MongoDB and another server, with a proxy in each of its two ways."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import pymongo
from pymongo.collection import Collection
from pymongo.database import Database

from hybridsync.embedded.ports import LOOPBACK
from tests.faults.allowances import Allowances
from tests.faults.chaos.clock import Clock
from tests.faults.histories import Histories
from tests.faults.recorder import Recorder
from tests.proxy import TcpProxy
from tests.service import Service, moment, wait_until

_HASTY = {"serverSelectionTimeoutMS": 1_000, "connectTimeoutMS": 1_000, "socketTimeoutMS": 2_000}


def now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


class ServiceScene(ABC):
    """Use as `with`. The service is not started yet; the test reaches both sides without a proxy.

    `resource`: the name of the only one, and of its collection. `settings`: without the prefix.

    What may be set before the block is entered: `environ` of the services; `login` and `own_login`, what stands in
    MongoDB's URI before the host for the service and for the test (`user:password@`); `clock`, that of the services,
    and `allowances`, both for the recorders.
    """

    def __init__(
        self, other_port: int, mongodb_port: int, database: str, resource: str, settings: Mapping[str, str]
    ) -> None:
        self.resource = resource
        self.environ: Mapping[str, str] = {}
        self.login = self.own_login = ""
        self.clock: Clock | None = None
        self.allowances = Allowances()
        self._mongodb = f"{LOOPBACK}:{mongodb_port}/{database}?directConnection=true"
        self._database = database
        self._exits = ExitStack()
        self.other_proxy = self._proxy(other_port)
        self.mongo_proxy = TcpProxy(LOOPBACK, mongodb_port)
        self._settings = settings
        self.service = self.another_service()

    def _proxy(self, port: int) -> TcpProxy:
        """The one before the server that is not MongoDB."""
        return TcpProxy(LOOPBACK, port)

    def __enter__(self) -> Self:
        for proxy in (self.other_proxy, self.mongo_proxy):
            self._exits.enter_context(proxy)
        self._exits.callback(lambda: self.service.kill())
        self._patient = self._client()
        self._hasty = self._client(**_HASTY)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"the service wrote:\n{self.service.stderr[-6000:]}")
        self._exits.close()

    def _client(self, **options: Any) -> pymongo.MongoClient[dict[str, Any]]:
        uri = self._mongodb if "://" in self._mongodb else f"mongodb://{self.own_login}{self._mongodb}"
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            uri, tz_aware=True, authSource="admin", **options
        )
        self._exits.callback(client.close)
        return client

    # -- what each source has of its own ----------------------------------------------------------

    @property
    @abstractmethod
    def journal(self) -> Histories[Any]:
        """What the test wrote."""

    @abstractmethod
    def _service(self, mongodb_uri: str, more: Mapping[str, str]) -> Service:
        """A service that reads the source through the proxy; `more` are settings without the prefix."""

    # -- the service ------------------------------------------------------------------------------

    def another_service(self, **more: str) -> Service:
        """A service on the same source and mirror, not started; the caller ends it."""
        uri = f"mongodb://{self.login}{self.mongo_proxy.address}/{self._database}?directConnection=true"
        return self._service(uri, {**self._settings, **more})

    def restart_service(self, **more: str) -> None:
        """Starts a new service in the place of the one that ended, with more settings."""
        assert not self.service.running, "end the service first"
        self.service = self.another_service(**more).start()

    def recorder(self, service: Service | None = None, *, alone: bool = True) -> Recorder:
        """Records and checks every answer for the length of a block.

        Unless the service is `alone` on its mirror, promises are not held against the contents: what another
        one has on its way may land behind them, until that one sees the change, too.
        """
        journal = self.journal if alone else None
        mirror = self._hasty[self._database][self.resource]
        return Recorder(service or self.service, mirror, journal, clock=self.clock, allowances=self.allowances)

    # -- the mirror -------------------------------------------------------------------------------

    @property
    def collection(self) -> Collection[dict[str, Any]]:
        """The mirror, for reading."""
        return self._patient[self._database][self.resource]

    @property
    def database(self) -> Database[dict[str, Any]]:
        """That of the mirror, or of the published collection, and of what is remembered."""
        return self._patient[self._database]

    @property
    def states(self) -> Collection[dict[str, Any]]:
        """What is remembered about full syncs."""
        return self._patient[self._database]["sync_states"]

    # -- waiting ----------------------------------------------------------------------------------

    def wait_logged(self, message: str, count: int = 1) -> None:
        """Returns when the service has logged this message so often."""
        wait_until(lambda: len(self.service.logged(message)) >= count, f"{message!r} is logged {count} times")

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
