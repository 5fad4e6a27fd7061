"""The floor of reading: a plain multiRead walk of the whole tree that throws everything away."""

from __future__ import annotations

from benchmarks.multiread import read_tree
from benchmarks.peers.contender import Clock, arguments
from benchmarks.tree import connected


def main() -> None:
    """Reads the tree once."""
    options = arguments().parse_args()
    client = connected(options.hosts)
    try:
        clock = Clock()
        clock.report(read_tree(client, options.root, lambda path, znode: None))
    finally:
        client.stop()
        client.close()


if __name__ == "__main__":
    main()
