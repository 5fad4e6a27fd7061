"""What a careful user writes: pipelined `get_async` and `get_children_async`, feeding `bulk_write`.

A sliding window of requests on one side, unordered upserts of 1,000 documents by one writer thread on the
other, so that reading and writing overlap.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from kazoo.client import KazooClient

from benchmarks.peers.contender import Clock, Documents, arguments, empty_mirror
from benchmarks.peers.document import Write, replace
from benchmarks.tree import connected

WINDOW = 1000
BATCH = 1000
WRITES_UNDER_WAY = 4
_SECONDS = 60.0


def main() -> None:
    """Mirrors the tree once."""
    options = arguments().parse_args()
    mirror = empty_mirror(options)
    client = connected(options.hosts)
    try:
        clock = Clock()
        clock.report(_mirror(client, options.root, mirror))
    finally:
        client.stop()
        client.close()


def _mirror(client: KazooClient, root: str, mirror: Documents) -> int:
    count = 0
    writes: list[Write] = []
    written: deque[Future[Any]] = deque()
    to_read = deque([root])
    under_way: deque[tuple[str, Any, Any]] = deque()
    with ThreadPoolExecutor(1) as writer:
        while to_read or under_way:
            while to_read and len(under_way) < WINDOW:
                path = to_read.popleft()
                under_way.append((path, client.get_async(path), None))
            path, data, names = under_way.popleft()
            if names is not None:
                to_read.extend(f"{path}/{name}" for name in names.get(timeout=_SECONDS))
                continue
            value, stat = data.get(timeout=_SECONDS)
            writes.append(replace(path, value, stat, root))
            count += 1
            if stat.numChildren:
                under_way.append((path, None, client.get_children_async(path)))
            if len(writes) >= BATCH:
                if len(written) >= WRITES_UNDER_WAY:
                    written.popleft().result()
                written.append(writer.submit(mirror.bulk_write, writes, ordered=False))
                writes = []
        if writes:
            written.append(writer.submit(mirror.bulk_write, writes, ordered=False))
        for each in written:
            each.result()
    return count


if __name__ == "__main__":
    main()
