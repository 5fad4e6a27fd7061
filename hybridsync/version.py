"""The version of the installed package, in one place for the probes, the metrics and `--version`."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """The version, or `0+source` when the code runs from a folder that was never installed."""
    try:
        return metadata.version("hybridsync")
    except metadata.PackageNotFoundError:
        return "0+source"
