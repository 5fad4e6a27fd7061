"""Which znodes below a path are ours: those with the name of a key. Also the walk's filters. No I/O."""

from __future__ import annotations

import structlog

from hybridsync.errors import ConfigurationError
from hybridsync.sinks.znode_name import RESERVED, decode, encode, is_legal
from hybridsync.znode import prefix_below

FOREIGN_NAMED = 5
"""So many foreign znodes are named in the log."""

_log = structlog.get_logger("hybridsync")


class Names:
    """Keys and the paths of their znodes, directly below `path`; as a filter it leaves those and `path`.

    `at_root`: whether `path` is the server's root. What else a listing finds is told once.
    """

    def __init__(self, path: str, *, at_root: bool) -> None:
        self._path = path
        self._prefix = prefix_below(path)
        self._at_root = at_root
        self._foreign: set[str] = set()
        self._told: set[str] = {RESERVED} if at_root else set()

    def path_of(self, key: str) -> str:
        """The path of the znode of a key."""
        return self._prefix + encode(key, at_root=self._at_root)

    def key_of(self, path: str) -> str | None:
        """The key whose znode this is; `None` for `path` itself and for what is none of ours."""
        return None if path == self._path else decode(path[len(self._prefix) :], at_root=self._at_root)

    def count(self, names: list[str]) -> int:
        """How many of the znodes with these names, directly below the path, are ours."""
        return sum(decode(name, at_root=self._at_root) is not None for name in names)

    def __bool__(self) -> bool:
        """Yes: what is not encoded is left alone."""
        return True

    def excluded(self, path: str) -> bool:
        """See `walk.Filter`."""
        if path == self._path or self.key_of(path) is not None:
            return False
        self._foreign.add(path[len(self._prefix) :])
        return True

    def nothing_below(self, path: str) -> bool:
        """See `walk.Filter`."""
        return path != self._path

    def listing_begins(self) -> None:
        """Forgets what the last listing found foreign."""
        self._foreign.clear()

    def listing_ended(self) -> None:
        """Tells of foreign znodes that were not told of yet."""
        new = sorted(self._foreign - self._told)
        if new:
            _log.warning(
                "znodes whose names are no encoded keys are left alone",
                path=self._path,
                count=len(new),
                names=new[:FOREIGN_NAMED],
            )
        self._told |= self._foreign


def checked(path: str) -> str:
    """A path as ZooKeeper writes it. Raises `ConfigurationError`."""
    if path != "/" and not (path.startswith("/") and all(is_legal(name) for name in path[1:].split("/"))):
        raise ConfigurationError(f"ZooKeeper path {path!r}: allowed is an absolute path such as /services, or /")
    return path
