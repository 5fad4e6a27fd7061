"""From host names to addresses. One name that is no good, or a name service that is slow, holds up no other.

The system asks a name service for as long as it likes (often 10 s for each name), so each name is asked for
in a thread of its own. What was found once is remembered: it is used while the name service does not answer.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

RESOLVE_SECONDS = 3.0
"""How long all names together are waited for while none is resolved."""

OTHERS_SECONDS = 0.5
"""How long the others are waited for once one is."""

Failed = Callable[[str, str], None]
"""Told of what is no good: `host:port` and why, in words."""


class Address(NamedTuple):
    """One address of a server, and the name by which it was given."""

    host: str
    ip: str
    port: int

    @property
    def shown(self) -> str:
        """The name as it was given, for people."""
        return shown(self.host, self.port)


def shown(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Resolver:
    """The addresses of one list of hosts. Used by one thread at a time, which waits."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], list[Address]] = {}
        self._asked: dict[tuple[str, int], _Question] = {}

    def addresses(self, hosts: Sequence[tuple[str, int]], failed: Failed) -> list[Address]:
        """The addresses of all hosts; of a name that cannot be resolved, `failed` is told."""
        open_ones, self._asked = self._asked, {}
        questions = {each: open_ones.get(each) or _Question(*each) for each in hosts}
        self._wait_for(list(questions.values()))
        found: list[Address] = []
        for each, question in questions.items():
            if question.answers:
                self._known[each] = question.answers
                found += question.answers
                continue
            if not question.done.is_set():
                self._asked[each] = question  # the next round waits for the same answer
            old = self._known.get(each, [])
            failed(shown(*each), question.failure + (": the address it had before is used" if old else ""))
            found += old
        return found

    def _wait_for(self, questions: Sequence[_Question]) -> None:
        begin = time.monotonic()
        for question in sorted(questions, key=lambda one: not one.done.is_set()):
            some = any(one.answers for one in questions)
            patience = OTHERS_SECONDS if some else RESOLVE_SECONDS
            question.done.wait(max(0.0, begin + patience - time.monotonic()))


class _Question:
    """One name, asked for in a thread of its own; an address as such is its own answer."""

    def __init__(self, host: str, port: int) -> None:
        self.done = threading.Event()
        self.answers: list[Address] = []
        self.failure = "the name service does not answer"
        self._host = host
        self._port = port
        if _is_address(host):
            self._ask()
        else:
            threading.Thread(target=self._ask, name=f"address of {host}"[:60], daemon=True).start()

    def _ask(self) -> None:
        try:
            answers = socket.getaddrinfo(self._host, self._port, 0, 0, socket.IPPROTO_TCP)
            self.answers = [Address(self._host, str(one[4][0]), int(one[4][1])) for one in answers]
            self.failure = "the host name has no address"
        except ValueError as error:  # the idna codec, or a NUL
            self.failure = f"this cannot be a host name ({_idna(error)})"
        except OSError as error:
            self.failure = f"the host name cannot be resolved ({error.strerror or type(error).__name__})"
        finally:
            self.done.set()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _idna(error: ValueError) -> str:
    cause = str(error.__cause__ or error)
    return cause.partition("UnicodeError: ")[2].rstrip(")") or cause
