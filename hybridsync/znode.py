"""What ZooKeeper says about a znode besides its bytes, as plain data. No I/O, no library.

The ZooKeeper room fills it in, sources carry it as `Record.meta`, sinks and codecs read it.
"""

from __future__ import annotations

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


def version_of(stat: Stat) -> int:
    """The token that is equal exactly for the same state of the same znode: `czxid << 64 | mzxid`.

    Both ids are unsigned here, so the token is never negative (a negative one would mean `ANY`).
    """
    return (stat.czxid & 0xFFFFFFFFFFFFFFFF) << 64 | (stat.mzxid & 0xFFFFFFFFFFFFFFFF)
