"""A private ZooKeeper that can be put back to a copy of its data, and whose limits can shrink."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from hybridsync.embedded import ZooKeeperServer
from tests.servers import SUPER_PASSWORD

SMALL_BYTES = 65_536
"""Of jute.maxbuffer. More than any transaction of the writer has."""

_OWN_LOG_BYTES = 100_000_000
"""Beyond that, for what the server reads of its own log: it has larger transactions from before."""


class ChangeableZooKeeper(ZooKeeperServer):
    """Quotas are enforced. `largest_request`: jute.maxbuffer in bytes from the next start on; 0 is the default."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, super_password=SUPER_PASSWORD)
        self.largest_request = 0

    @property
    def _copied(self) -> Path:
        return self.directory / "copy"

    def copy(self) -> None:
        """Keeps a copy of all data, in the place of an earlier one. The server is stopped."""
        assert not self.running, "stop it first"
        shutil.rmtree(self._copied, ignore_errors=True)
        shutil.copytree(self.data, self._copied)

    def put_back(self) -> None:
        """Puts the copy in the place of the data. The server is stopped."""
        self.wipe()
        shutil.copytree(self._copied, self.data)

    def _command(self) -> list[str]:
        options = ["-Dzookeeper.enforceQuota=true"]
        if self.largest_request:
            options.append(f"-Djute.maxbuffer={self.largest_request}")
            options.append(f"-Dzookeeper.jute.maxbuffer.extrasize={_OWN_LOG_BYTES}")
        command = super()._command()
        at = command.index("-cp")
        return [*command[:at], *options, *command[at:]]


def as_super() -> Sequence[tuple[str, str]]:
    """The credentials that no access list stops."""
    return [("digest", f"super:{SUPER_PASSWORD}")]
