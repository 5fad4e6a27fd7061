"""What a ZooKeeper of a test's own has counted itself: requests of each session, and transactions."""

from __future__ import annotations

import re
from contextlib import suppress

from kazoo.client import KazooClient

from hybridsync.embedded import ZooKeeperServer
from tests.service import wait_until

_SESSION = re.compile(r"sid=0x([0-9a-f]+).*?lcxid=0x([0-9a-f]+)")
_ZXID = re.compile(r"Zxid: 0x([0-9a-f]+)")


def requests_sent(server: ZooKeeperServer, *, but: KazooClient) -> int:
    """How many requests came in on the connections that are open, those of `but` and all pings left out.

    `lcxid` of the command `cons` is the number of the last request on a connection, counted from 1.
    """
    mine = int(but.client_id[0])
    found = [(int(session, 16), int(last, 16)) for session, last in _SESSION.findall(_asked(server, "cons"))]
    assert mine in dict(found), "the server does not tell the session that is to be left out"
    return sum(last for session, last in found if session != mine)


def transactions(server: ZooKeeperServer) -> int:
    """The zxid: every write moves it on by one, and so does every begin and end of a session."""
    found = _ZXID.search(_asked(server, "srvr"))
    assert found is not None
    return int(found[1], 16)


def _asked(server: ZooKeeperServer, word: str) -> str:
    """The answer to a four-letter word; a busy machine may need several tries."""

    def answer() -> str | None:
        with suppress(OSError):
            return server.ask(word)
        return None

    return wait_until(answer, f"ZooKeeper answers {word}")
