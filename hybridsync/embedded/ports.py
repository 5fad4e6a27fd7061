"""Choosing a loopback port that stays free while its server is down."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"

_LOWEST, _HIGHEST = 15_000, 32_000
"""Below the range from which Linux takes the ports of outgoing connections (32768-60999).

Inside that range a client that keeps dialling a stopped server sooner or later is given the very port
it dials, connects to itself, and the server cannot bind its port again.
"""


def free_port() -> int:
    """A loopback port nobody listens on. Another process may still take it before it is used.

    Raises `OSError` when no free one is found.
    """
    chooser = random.SystemRandom()
    for _ in range(200):
        port = chooser.randrange(_LOWEST, _HIGHEST)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port between {_LOWEST} and {_HIGHEST} on {LOOPBACK}")
