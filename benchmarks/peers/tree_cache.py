"""What a user writes by hand: kazoo's `TreeCache`, whose events feed `bulk_write`.

A listener queues what the cache tells; one thread writes it, 1,000 unordered upserts at a time. The first
load is over when the cache says `INITIALIZED` and everything before it is acknowledged.
"""

from __future__ import annotations

import queue

from kazoo.recipe.cache import TreeCache, TreeEvent

from benchmarks.peers.contender import Clock, Documents, arguments, empty_mirror
from benchmarks.peers.document import Write, replace
from benchmarks.tree import connected

BATCH = 1000


def main() -> None:
    """Mirrors the tree once."""
    options = arguments().parse_args()
    mirror = empty_mirror(options)
    client = connected(options.hosts)
    events: queue.SimpleQueue[TreeEvent] = queue.SimpleQueue()
    cache = TreeCache(client, options.root)
    cache.listen(events.put)
    try:
        clock = Clock()
        cache.start()
        clock.report(_write(events, options.root, mirror))
    finally:
        cache.close()
        client.stop()
        client.close()


def _write(events: queue.SimpleQueue[TreeEvent], root: str, mirror: Documents) -> int:
    count = 0
    writes: list[Write] = []
    while True:
        event = events.get()
        if event.event_type in (TreeEvent.NODE_ADDED, TreeEvent.NODE_UPDATED):
            node = event.event_data
            writes.append(replace(node.path, node.data, node.stat, root))
            count += 1
        over = event.event_type == TreeEvent.INITIALIZED
        if writes and (over or len(writes) >= BATCH):
            mirror.bulk_write(writes, ordered=False)
            writes = []
        if over:
            return count


if __name__ == "__main__":
    main()
