"""Names are resolved side by side: one that is no good, or slow, holds up no other, and is remembered."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from hybridsync.zookeeper import names
from hybridsync.zookeeper.names import Resolver


class NameService:
    """Stands in for the system's; a name in `slow` gets no answer before `answer_now` is set."""

    def __init__(self) -> None:
        self.addresses = {"good": "192.0.2.1", "slow": "192.0.2.2"}
        self.slow: set[str] = set()
        self.answer_now = threading.Event()
        self.asked: list[str] = []

    def getaddrinfo(self, host: str, port: int, *_: Any) -> list[Any]:
        self.asked.append(host)
        if host in self.slow:
            self.answer_now.wait(120)
        if host not in self.addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.addresses[host], port))]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameService]:
    made = NameService()
    monkeypatch.setattr("socket.getaddrinfo", made.getaddrinfo)
    monkeypatch.setattr(names, "RESOLVE_SECONDS", 0.2)
    yield made
    made.answer_now.set()


def resolve(resolver: Resolver, *hosts: str) -> tuple[list[str], dict[str, str]]:
    """The addresses found, and what failed."""
    failed: dict[str, str] = {}
    found = resolver.addresses([(host, 2181) for host in hosts], failed.__setitem__)
    return [one.ip for one in found], failed


def test_a_name_service_that_does_not_answer_for_one_name_holds_up_no_other(service: NameService) -> None:
    service.slow = {"slow"}
    resolver = Resolver()
    for _ in range(3):
        found, failed = resolve(resolver, "slow", "good")
        assert found == ["192.0.2.1"]
        assert failed == {"slow:2181": "the name service does not answer"}
    assert service.asked.count("slow") == 1, "the same question is still open"
    service.answer_now.set()
    service.slow = set()
    while failed:
        found, failed = resolve(resolver, "slow", "good")
    assert found == ["192.0.2.2", "192.0.2.1"]


def test_an_address_that_was_known_is_used_while_its_name_cannot_be_resolved(service: NameService) -> None:
    resolver = Resolver()
    assert resolve(resolver, "good") == (["192.0.2.1"], {})
    del service.addresses["good"]
    found, failed = resolve(resolver, "good")
    assert found == ["192.0.2.1"]
    assert failed["good:2181"].endswith("(Temporary failure in name resolution): the address it had before is used")
    service.addresses["good"] = "192.0.2.9"
    assert resolve(resolver, "good") == (["192.0.2.9"], {})


def test_names_that_cannot_be_names_and_addresses_are_told_apart() -> None:
    found, failed = resolve(Resolver(), "127.0.0.1", "::1", "a..b", "x" * 64)
    assert found == ["127.0.0.1", "::1"]
    assert set(failed) == {"a..b:2181", f"{'x' * 64}:2181"}
    assert all("cannot be a host name" in why for why in failed.values())
