"""`hybridsync run` in a hurry: what takes minutes in a real cluster takes seconds. All the rest is as it is.

A silent watch is given up sooner, and the present version, which a proof begins with, is asked for more often. No
setting changes either, as no user has a reason to.
"""

from __future__ import annotations

import sys

from hybridsync.cli import main
from hybridsync.sources import kube_stream, kube_watch

SILENCE_SECONDS = 3.0
"""Longer than any time between two bookmarks of the fake server, over the slowest connection."""

ASK_SECONDS = 0.05

if __name__ == "__main__":
    assert "hybridsync.sources.kubernetes" not in sys.modules, "it takes over the first figure"
    kube_stream.SILENCE_SECONDS = SILENCE_SECONDS
    kube_watch.ASK_SECONDS = ASK_SECONDS
    main()
