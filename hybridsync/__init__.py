"""hybridsync: a ZooKeeper tree mirrored into MongoDB, with a manager that always knows how fresh the mirror is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("hybridsync")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+source"

__all__ = ["__version__"]
