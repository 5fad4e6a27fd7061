"""hybridsync: a ZooKeeper tree mirrored into MongoDB, with a manager that always knows how fresh the mirror is.

For use as a library: `attach(app, settings)` gives an aiohttp application the manager and its routes,
`require_ready` is a middleware that answers 503 until the mirrors are ready, `publisher(settings, name)`
publishes single documents, `load_settings()` reads the environment, `Settings(...)` takes the same in
Python. They are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from hybridsync.version import version as _version

if TYPE_CHECKING:
    from hybridsync.manager import HybridSyncManager
    from hybridsync.publishing import publisher
    from hybridsync.service import attach, require_ready
    from hybridsync.settings import Settings, load_settings

__version__ = _version()

__all__ = ["HybridSyncManager", "Settings", "__version__", "attach", "load_settings", "publisher", "require_ready"]

_HOMES = {
    "HybridSyncManager": "hybridsync.manager",
    "Settings": "hybridsync.settings",
    "attach": "hybridsync.service",
    "load_settings": "hybridsync.settings",
    "publisher": "hybridsync.publishing",
    "require_ready": "hybridsync.service",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'hybridsync' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
