"""What ZooKeeper says about a znode besides its bytes, as plain data, and its path. No I/O, no library.

The ZooKeeper room reads as much of it as it needs; sources carry it as `Record.meta` just as it came, and whoever
needs more of it reads that with `stat_of`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple


class Stat(NamedTuple):
    """The stat structure of a znode, in the order and with the names of ZooKeeper's wire format.

    `ctime` and `mtime` are milliseconds since 1970 in UTC; the `*zxid` fields are transaction ids;
    `ephemeralOwner` is the id of the owning session, 0 for a znode that is not ephemeral.
    """

    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    ephemeralOwner: int
    dataLength: int
    numChildren: int
    pzxid: int


_STAT = struct.Struct("!qqqqiiiqiiq")
STAT_BYTES = _STAT.size


def prefix_below(path: str) -> str:
    """What the path of everything below the znode `path` begins with, and of nothing else."""
    return path if path == "/" else path + "/"


def stat_of(sent: bytes) -> Stat:
    """The stat that these `STAT_BYTES` bytes are, as ZooKeeper sends it."""
    return Stat._make(_STAT.unpack(sent))


def version_of(stat: Stat) -> int:
    """The token that is equal exactly for the same state of the same znode; see `version_from`."""
    return version_from(stat.czxid, stat.mzxid, stat.mtime)


def version_from(czxid: int, mzxid: int, mtime: int) -> int:
    """The version of a state with these ids that was made at `mtime` (milliseconds).

    The ids are enough on one ensemble. One that was wiped and filled again by the same script counts
    through the same ids with other values; the time of the change tells those apart.
    Layout: `mtime << 128 | czxid << 64 | mzxid`, each taken as unsigned, so that it is never negative.
    """
    if mtime < 0 or czxid < 0 or mzxid < 0:
        return (mtime & _MASK) << 128 | (czxid & _MASK) << 64 | (mzxid & _MASK)
    return mtime << 128 | czxid << 64 | mzxid


_MASK = 0xFFFFFFFFFFFFFFFF
