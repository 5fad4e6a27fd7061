"""TRACE_KEYS and LOG_LEVEL=debug on the real service: the steps of one change, and only where they were asked for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.place import Place
from tests.service import Service, wait_until

STEPS = ["event seen", "read", "compared", "written", "acknowledged"]


def traces(service: Service, path: str) -> list[dict[str, Any]]:
    return [entry for entry in service.logged("trace") if entry["key"] == path]


@pytest.mark.parametrize("level", ["error", "info"])
def test_a_named_key_is_traced_at_any_log_level_and_others_are_not(place: Place, level: str) -> None:
    place.grow({"": b"", "/traced": b"", "/other": b""})
    settings = place.settings(TRACE_KEYS=f"{place.root}/traced/*, /nothing/**")
    # `error` hides the line that tells the port
    with Service({**settings, "LOG_LEVEL": "info"}) as service:
        service.wait_in_sync()
    if level == "error":
        settings |= {"LOG_LEVEL": "error", "HTTP_PORT": service.url.rpartition(":")[2]}
        service = _QuietService(settings, service.url)
    else:
        service = Service(settings)
    with service:
        service.wait_in_sync()
        path = f"{place.root}/traced/x"
        place.create("/traced/x", b"1")
        wait_until(lambda: len(traces(service, path)) == len(STEPS), "every step of the creation is told")
        created = place.zk.exists(path).creation_transaction_id
        place.create("/other/y", b"1")
        place.zk.delete(path)
        wait_until(lambda: len(traces(service, path)) == 2 * len(STEPS), "and of the removal")
        wait_until(lambda: place.held("/other/y"), "the other key arrives as well")
        service.wait_in_sync()

    lines = traces(service, path)
    assert [line["step"] for line in lines] == STEPS * 2
    assert {line["zxid"] for line in lines[1:5]} == {created}
    assert all(line["zxid"] > created for line in lines[6:])
    assert all(line["ms"] >= 0 and line["resource"] == "services" for line in lines)
    assert (lines[4]["result"], lines[9]["result"]) == ("stored", "removed")
    assert {line["key"] for line in service.logged("trace")} == {path}


class _QuietService(Service):
    """A service that logs too little to tell its port, so it is known beforehand."""

    def __init__(self, settings: dict[str, str], url: str) -> None:
        super().__init__(settings)
        self._known = url

    def _logged_url(self) -> str | None:
        assert self._process is not None
        assert self._process.poll() is None, self.stderr
        self.url = self._known
        try:
            return self._known if self.get("/health/live")[0] == 200 else None
        except OSError:
            return None


def test_at_debug_every_change_is_traced(place: Place) -> None:
    place.grow({"": b"", "/a": b""})
    with Service(place.settings(LOG_LEVEL="debug")) as service:
        service.wait_in_sync()
        place.set("/a", b"1")
        wait_until(lambda: len(traces(service, f"{place.root}/a")) >= len(STEPS), "every step is told")

    assert [line["step"] for line in traces(service, f"{place.root}/a")] == STEPS
    assert {line["level"] for line in service.logged("trace")} == {"debug"}


def test_without_being_asked_nothing_is_traced(place: Place) -> None:
    place.grow({"": b""})
    with Service(place.settings()) as service:
        service.wait_in_sync()
        place.create("/a", b"1")
        wait_until(lambda: place.held("/a"), "the change arrives")
        service.wait_in_sync()

    assert service.logged("trace") == []
