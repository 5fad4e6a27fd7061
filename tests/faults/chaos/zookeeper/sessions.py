"""The sessions of a ZooKeeper with their passwords, which a second client needs to take one over.

ZooKeeper makes the password from the session id with Java's generator of random numbers and a constant
(`generatePasswd` and `superSecret` in its ZooKeeperServer.java), so it can be made again here.
"""

from __future__ import annotations

import re

from hybridsync.embedded import ZooKeeperServer

_SECRET = 0xB3415C00
_PASSWORD_BYTES = 16
_MULTIPLIER, _INCREMENT, _BITS = 0x5DEECE66D, 0xB, 48
"""Of java.util.Random."""


def sessions(server: ZooKeeperServer) -> list[tuple[int, bytes]]:
    """Every session with an open connection, as kazoo's `client_id`; none when the server does not answer."""
    try:
        connections = server.ask("cons")
    except OSError:
        return []
    numbers = [int(number, 16) for number in re.findall(r"sid=(0x[0-9a-f]+)", connections)]
    return [(number, _java_random_bytes(number ^ _SECRET)) for number in numbers if number]


def _java_random_bytes(seed: int) -> bytes:
    mask = (1 << _BITS) - 1
    state = (seed ^ _MULTIPLIER) & mask
    made = b""
    while len(made) < _PASSWORD_BYTES:
        state = (state * _MULTIPLIER + _INCREMENT) & mask
        made += (state >> 16).to_bytes(4, "little")
    return made
