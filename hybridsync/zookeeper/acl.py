"""Who may do what with a znode that hybridsync creates: `open`, `creator`, `digest:user:password`. Pure."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

from hybridsync.errors import ConfigurationError

ALL_RIGHTS = 31
"""Read, write, create, delete and admin together (`ZooDefs.Perms`)."""

ALLOWED = "open, creator or digest:user:password"


class Entry(NamedTuple):
    """One line of an access list: rights for an identity of an authentication scheme."""

    rights: int
    scheme: str
    identity: str


@dataclass(frozen=True, slots=True)
class Access:
    """The access list of new znodes, and the credentials (`digest:user:password`) of the session that creates them."""

    entries: tuple[Entry, ...]
    auth: str | None = field(repr=False)


def access_of(acl: str, auth: str | None) -> Access:
    """What `acl` means for a session with the credentials `auth`.

    `open`: everybody may do everything. `creator`: only who has the session's credentials.
    `digest:user:password`: that user, and who has the session's credentials; a session without any
    takes these, or it could not change what it created. Raises `ConfigurationError`, without secrets.
    """
    if acl == "open":
        return Access((Entry(ALL_RIGHTS, "world", "anyone"),), auth)
    if acl == "creator":
        if not auth:
            raise ConfigurationError("acl = creator needs the credentials of a creator: set HYBRIDSYNC_ZOOKEEPER_AUTH")
        return Access((Entry(ALL_RIGHTS, "auth", ""),), auth)
    scheme, _, credential = acl.partition(":")
    user, _, password = credential.partition(":")
    if scheme != "digest" or not user or not password or acl != acl.strip():
        raise ConfigurationError(f"acl of a ZooKeeper sink: allowed is {ALLOWED}")
    entry = Entry(ALL_RIGHTS, "digest", f"{user}:{_digest(credential)}")
    if not auth or auth == acl:
        return Access((entry,), acl)
    return Access((Entry(ALL_RIGHTS, "auth", ""), entry), auth)


def _digest(credential: str) -> str:
    """As `DigestAuthenticationProvider.generateDigest` of ZooKeeper makes it."""
    return base64.b64encode(hashlib.sha1(credential.encode(), usedforsecurity=False).digest()).decode()
